/* What can be done with a response that is kept: look at it, follow it, cancel it, delete it. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "serve/chat_answer.h"
#include "serve/json_input.h"
#include "serve/routes.h"
#include "serve/sse.h"

static gptoss_status not_found(const char *id, failure *why) {
    return failure_set(why, 404, "response_id", "not_found", "there is no response \"%.60s\" here", id);
}

/* 404 when there is none; *out is then empty. */
static gptoss_status find(const exchange *x, const char *id, store_entry *out, failure *why) {
    bool found = false;
    *out = (store_entry){0};
    gptoss_status status = store_find(x->server->responses->store, id, out, &found, &why->error);
    if (status == GPTOSS_OK && found) return status;
    store_entry_free(out);
    return status == GPTOSS_OK ? not_found(id, why) : status;
}

/* ---- queries ---- */

static gptoss_status query_bool(const exchange *x, const char *name, bool *out, failure *why) {
    const char *text = exchange_query(x, name);
    if (!text) return GPTOSS_OK;
    *out = strcmp(text, "true") == 0 || strcmp(text, "1") == 0;
    if (*out || strcmp(text, "false") == 0 || strcmp(text, "0") == 0) return GPTOSS_OK;
    return failure_field(why, name, "%s must be true or false, not \"%.40s\"", name, text);
}

static gptoss_status query_integer(const exchange *x, const char *name, int64_t low, int64_t high, int64_t *out,
                                   failure *why) {
    const char *text = exchange_query(x, name);
    char *end = NULL;
    if (!text) return GPTOSS_OK;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    bool is_number = text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0;
    if (!is_number || value < low || value > high)
        return failure_field(why, name, "%s must be a whole number from %lld to %lld, not \"%.40s\"", name,
                             (long long)low, (long long)high, text);
    *out = value;
    return GPTOSS_OK;
}

/* ---- following ---- */

typedef struct follower {
    responses *all;
    int socket;
    int64_t after;
    char id[]; /* with a NUL */
} follower;

static bool client_left(int socket) {
    struct pollfd fd = {.fd = socket, .events = POLLRDHUP};
    return poll(&fd, 1, 0) > 0 && fd.revents;
}

static bool follow_more(void *context, buffer *out) {
    static const double SILENCE_SECONDS = 10, LOOK_SECONDS = 1; /* the latter: for a client that left */
    follower *f = context;
    for (double began = clock_seconds(); clock_seconds() - began < SILENCE_SECONDS;) {
        gptoss_error err;
        uint64_t seen = responses_live_news(&f->all->live);
        bool is_written = responses_live_has(&f->all->live, f->id), running = false; /* before looking for events */
        if (store_read_events(f->all->store, f->id, &f->after, out, &running, &err) != GPTOSS_OK) return false;
        if (out->size > 0) return true;
        if (!running || !is_written || client_left(f->socket)) return false;
        responses_live_wait(&f->all->live, seen, LOOK_SECONDS);
    }
    return sse_comment(out, NULL) == GPTOSS_OK;
}

gptoss_status responses_follow(exchange *x, const char *id, int64_t after, failure *why) {
    follower *f;
    size_t size = strlen(id) + 1;
    TRY(mem_array(1, sizeof *f + size, "an answer", &f, &why->error));
    *f = (follower){.all = x->server->responses, .socket = exchange_socket(x), .after = after};
    memcpy(f->id, id, size);
    const exchange_stream stream = {f, follow_more, free};
    gptoss_status status = exchange_answer_stream(x, &stream, why);
    if (status != GPTOSS_OK) free(f);
    return status;
}

/* ---- routes ---- */

/* As it is now: of one that is being written, with what there is of its output. */
static gptoss_status answer_response(exchange *x, const char *id, failure *why) {
    store_entry entry;
    cJSON *output = responses_live_output(&x->server->responses->live, id); /* first: it may end meanwhile */
    gptoss_status status = find(x, id, &entry, why);
    cJSON *whole = status == GPTOSS_OK && output && entry.running ? cJSON_Parse(entry.response.data) : NULL;
    if (whole && cJSON_ReplaceItemInObjectCaseSensitive(whole, "output", output)) {
        output = NULL;
        status = exchange_answer_json(x, 200, whole, why);
    } else if (status == GPTOSS_OK) {
        cJSON_Delete(whole);
        status = exchange_answer_text(x, 200, "application/json", &entry.response, why);
    }
    cJSON_Delete(output);
    store_entry_free(&entry);
    return status;
}

gptoss_status route_response(exchange *x, const char *id, failure *why) {
    bool stream = false;
    int64_t after = -1;
    store_entry entry;
    TRY(query_bool(x, "stream", &stream, why));
    TRY(query_integer(x, "starting_after", 0, INT64_C(1) << 53, &after, why));
    if (after >= 0 && !stream) return failure_field(why, "starting_after", "starting_after needs stream=true");
    if (!stream) return answer_response(x, id, why);
    TRY(find(x, id, &entry, why));
    store_entry_free(&entry);
    return responses_follow(x, id, after, why);
}

/* One that is in the list may have its end in the store already, which whoever asks has then read of. */
static gptoss_status is_being_written(const exchange *x, const char *id, bool *out, failure *why) {
    store_entry entry;
    *out = responses_live_has(&x->server->responses->live, id);
    if (!*out) return GPTOSS_OK;
    TRY(find(x, id, &entry, why));
    *out = entry.running;
    store_entry_free(&entry);
    return GPTOSS_OK;
}

gptoss_status route_response_delete(exchange *x, const char *id, failure *why) {
    bool deleted = false, written;
    TRY(is_being_written(x, id, &written, why));
    if (written)
        return failure_set(
            why, 409, "response_id", "in_progress",
            "the response \"%.60s\" is still being written: cancel it before, if it is in the background", id);
    TRY(store_delete(x->server->responses->store, id, &deleted, &why->error));
    if (!deleted) return not_found(id, why);
    cJSON *whole = cJSON_CreateObject();
    cJSON_AddStringToObject(whole, "id", id);
    cJSON_AddStringToObject(whole, "object", "response");
    cJSON_AddTrueToObject(whole, "deleted");
    return exchange_answer_json(x, 200, whole, why);
}

static bool is_background(const store_entry *entry) {
    cJSON *response = cJSON_Parse(entry->response.data);
    bool background = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(response, "background"));
    cJSON_Delete(response);
    return background;
}

gptoss_status route_response_cancel(exchange *x, const char *id, failure *why) {
    store_entry entry;
    bool may = responses_live_cancel(&x->server->responses->live, id);
    TRY(find(x, id, &entry, why));
    if (!may || !is_background(&entry)) {
        store_entry_free(&entry);
        return failure_field(why, "response_id",
                             "the response \"%.60s\" is not in the background: it ends when its client leaves", id);
    }
    gptoss_status status = exchange_answer_text(x, 200, "application/json", &entry.response, why);
    store_entry_free(&entry);
    return status;
}

/* ---- input items ---- */

typedef struct page {
    int64_t limit;
    bool ascending;
    const char *after; /* id of the item before the first one, or NULL */
} page;

static gptoss_status read_page(const exchange *x, page *out, failure *why) {
    const char *order = exchange_query(x, "order");
    *out = (page){.limit = 20, .after = exchange_query(x, "after")};
    TRY(query_integer(x, "limit", 1, 100, &out->limit, why));
    out->ascending = order && strcmp(order, "asc") == 0;
    if (!order || out->ascending || strcmp(order, "desc") == 0) return GPTOSS_OK;
    return failure_field(why, "order", "order is asc or desc, not \"%.40s\"", order);
}

static const char *id_of(const cJSON *item) {
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(item, "id"));
}

/* The item before or after another; NULL at the end. */
static cJSON *beside(const cJSON *items, const cJSON *item, bool ascending) {
    if (ascending) return item->next;
    return item == items->child ? NULL : item->prev;
}

static gptoss_status first_item(const cJSON *items, const page *p, cJSON **out, failure *why) {
    cJSON *item = !items->child || p->ascending ? items->child : items->child->prev;
    bool found = !p->after;
    for (; item && !found; item = beside(items, item, p->ascending)) {
        const char *id = id_of(item);
        found = id && strcmp(id, p->after) == 0;
    }
    *out = item;
    return found ? GPTOSS_OK : failure_field(why, "after", "after is \"%.60s\", but no item has this id", p->after);
}

static void add_id(cJSON *whole, const char *name, const cJSON *item) {
    const char *id = item ? id_of(item) : NULL;
    cJSON_AddItemToObject(whole, name, id ? cJSON_CreateString(id) : cJSON_CreateNull());
}

static gptoss_status answer_page(exchange *x, const cJSON *items, const page *p, failure *why) {
    cJSON *item, *whole, *data;
    TRY(first_item(items, p, &item, why));
    whole = cJSON_CreateObject();
    cJSON_AddStringToObject(whole, "object", "list");
    data = cJSON_AddArrayToObject(whole, "data");
    for (int64_t i = 0; item && i < p->limit; i++, item = beside(items, item, p->ascending))
        cJSON_AddItemToArray(data, cJSON_Duplicate(item, true));
    add_id(whole, "first_id", data->child);
    add_id(whole, "last_id", data->child ? data->child->prev : NULL);
    cJSON_AddBoolToObject(whole, "has_more", item != NULL);
    return exchange_answer_json(x, 200, whole, why);
}

gptoss_status route_response_items(exchange *x, const char *id, failure *why) {
    page p;
    store_entry entry;
    TRY(read_page(x, &p, why));
    TRY(find(x, id, &entry, why));
    cJSON *items = cJSON_Parse(entry.input.data);
    store_entry_free(&entry);
    gptoss_status status = items ? answer_page(x, items, &p, why)
                                 : failure_set(why, 500, NULL, NULL, "the items of \"%.60s\" cannot be read", id);
    cJSON_Delete(items);
    return status;
}
