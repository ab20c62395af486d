/* POST /v1/responses: from a request to a response that is told at once, streamed, or written in the background. */
#include "serve/responses.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "serve/chat_turn.h"
#include "serve/reply.h"
#include "serve/responses_answer.h"
#include "serve/responses_items.h"
#include "serve/responses_request.h"
#include "serve/routes.h"
#include "serve/sse.h"

static const double SILENCE_SECONDS = 10, A_WHILE = 3600;
enum { STACK_BYTES = 512 << 10 }; /* of a background response's thread */

/* One response, from its request to its end. */
typedef struct response_run {
    server *server;
    responses_request request;
    chat_turn turn;
    reply reply;
    responses_answer answer;
    pthread_mutex_t writing; /* held while its items change, which others may look at once it is live */
    buffer beginning;        /* events before the model's first, for a stream */
    live_response live;
    bool is_live; /* in the list, and running in the store */
} response_run;

/* ---- keeping ---- */

static gptoss_status no_memory(gptoss_error *err) {
    return error_set(err, GPTOSS_NO_MEMORY, "out of memory for an answer");
}

static gptoss_status add_to_store(response_run *r, gptoss_error *err) {
    store *kept = r->server->responses->store;
    store_item *items;
    size_t count;
    char *response = cJSON_PrintUnformatted(r->answer.response), *input = cJSON_PrintUnformatted(r->request.items);
    gptoss_status status = response && input ? GPTOSS_OK : no_memory(err);
    const cJSON *first = cJSON_GetArrayItem(r->request.items, r->request.earlier);
    if (status == GPTOSS_OK) {
        status = responses_items_print(first, &items, &count, err);
        const store_change change = {.items = items, .item_count = count};
        if (status == GPTOSS_OK) status = store_add(kept, r->answer.id, response, input, err);
        if (status == GPTOSS_OK) status = store_write(kept, r->answer.id, &change, err);
        responses_items_free(items, count);
    }
    cJSON_free(response);
    cJSON_free(input);
    return status;
}

/* Adds the response as it is now, and its output when there is no more to come. */
static gptoss_status print_response(const responses_answer *a, store_item **items, char **text, store_change *out,
                                    gptoss_error *err) {
    const cJSON *output = a->ended ? cJSON_GetObjectItemCaseSensitive(a->response, "output") : NULL;
    TRY(responses_items_print(output ? output->child : NULL, items, &out->item_count, err));
    out->items = *items;
    out->response = *text = cJSON_PrintUnformatted(a->response);
    out->ended = a->ended;
    return *text ? GPTOSS_OK : no_memory(err);
}

/* Nobody finds the run from here on. */
static void leave(response_run *r) {
    if (r->is_live) responses_live_remove(&r->server->responses->live, &r->live);
    r->is_live = false;
}

/* Writes down the events that have come, and with the last one, or when its status is another, the response. One that
 * has ended is then no longer live: before anybody is told of its end, who may delete it at once. */
static gptoss_status keep_news(response_run *r, gptoss_error *err) {
    const responses_answer *a = &r->answer;
    responses *all = r->server->responses;
    if (!r->is_live || a->event_count == 0) return GPTOSS_OK;
    store_event *events = responses_answer_events(a);
    store_item *items = NULL;
    char *response = NULL;
    store_change change = {.events = events, .count = a->event_count};
    gptoss_status status = events ? GPTOSS_OK : no_memory(err);
    if (status == GPTOSS_OK && (a->ended || a->moved)) status = print_response(a, &items, &response, &change, err);
    if (status == GPTOSS_OK) status = store_write(all->store, a->id, &change, err);
    responses_items_free(items, change.item_count);
    cJSON_free(response);
    free(events);
    if (status == GPTOSS_OK && a->ended)
        leave(r);
    else
        responses_live_tell(&all->live);
    return status;
}

static void cancel(response_run *r) {
    gptoss_error err;
    pthread_mutex_lock(&r->writing);
    responses_answer_cancel(&r->answer, &err);
    pthread_mutex_unlock(&r->writing);
}

static void fail(response_run *r, const char *message) {
    gptoss_error err;
    pthread_mutex_lock(&r->writing);
    responses_answer_fail(&r->answer, message, &err);
    pthread_mutex_unlock(&r->writing);
}

/* A response that nobody waits for any more is cancelled, wherever that is found out. */
static void run_close(void *context) {
    response_run *r = context;
    gptoss_error err;
    if (r->is_live && !r->answer.ended) {
        cancel(r);
        keep_news(r, &err);
    }
    leave(r); /* its end could not be kept */
    reply_close(&r->reply);
    responses_answer_close(&r->answer);
    buffer_free(&r->beginning);
    chat_turn_free(&r->turn);
    responses_request_free(&r->request);
    pthread_mutex_destroy(&r->writing);
    free(r);
}

/* ---- working ---- */

static gptoss_status on_letter(void *context, const letter *l, gptoss_error *err) {
    response_run *r = context;
    pthread_mutex_lock(&r->writing);
    gptoss_status status = responses_answer_add(&r->answer, l, err);
    pthread_mutex_unlock(&r->writing);
    return status;
}

static gptoss_status on_end(void *context, uint32_t sender, const turn_end *end, gptoss_error *err) {
    response_run *r = context;
    (void)sender;
    pthread_mutex_lock(&r->writing);
    gptoss_status status = responses_answer_end(&r->answer, end, err);
    pthread_mutex_unlock(&r->writing);
    return status;
}

/* Waits for news for up to `seconds`; after it the answer has the events that tell them, which are kept already. On
 * REPLY_GONE and REPLY_FAILED the response has ended, too. */
static reply_news advance(response_run *r, double seconds, failure *why) {
    responses_live *live = &r->server->responses->live;
    gptoss_error err;
    reply_news news = reply_step(&r->reply, seconds, why);
    if (news == REPLY_GONE || (news == REPLY_FAILED && r->is_live && responses_live_is_cancelled(live, &r->live)))
        cancel(r);
    else if (news == REPLY_FAILED)
        fail(r, why->error.text);
    if (keep_news(r, &why->error) == GPTOSS_OK || news == REPLY_FAILED) return news;
    why->http = 500;
    fail(r, why->error.text);
    keep_news(r, &err); /* there may be room for this one */
    return REPLY_FAILED;
}

static bool goes_on(reply_news news) { return news == REPLY_GOES_ON || news == REPLY_SILENCE; }

static gptoss_status move_events(response_run *r, buffer *out, gptoss_error *err) {
    gptoss_status status = buffer_append(out, r->answer.events.data, r->answer.events.size, err);
    responses_answer_forget(&r->answer);
    return status;
}

static bool stream_more(void *context, buffer *out) {
    response_run *r = context;
    failure why = {0};
    if (r->beginning.size > 0) {
        gptoss_status status = buffer_append(out, r->beginning.data, r->beginning.size, &why.error);
        buffer_free(&r->beginning);
        return status == GPTOSS_OK;
    }
    reply_news news = advance(r, SILENCE_SECONDS, &why);
    if (news == REPLY_SILENCE) return sse_comment(out, &why.error) == GPTOSS_OK;
    return move_events(r, out, &why.error) == GPTOSS_OK && goes_on(news);
}

static gptoss_status answer_whole(response_run *r, exchange *x, failure *why) {
    reply_news news;
    do {
        news = advance(r, A_WHILE, why);
        responses_answer_forget(&r->answer);
    } while (goes_on(news));
    if (news == REPLY_GONE) return failure_set(why, 499, NULL, NULL, "the client went away"); /* nobody will read it */
    if (news == REPLY_FAILED) return why->error.status;
    return exchange_answer_json(x, 200, cJSON_Duplicate(r->answer.response, true), why);
}

static void *work_in_background(void *context) {
    response_run *r = context;
    responses_live *live = &r->server->responses->live;
    failure why = {0};
    while (goes_on(advance(r, A_WHILE, &why))) responses_answer_forget(&r->answer);
    run_close(r);
    responses_live_end_writer(live);
    return NULL;
}

/* The run is the thread's when this is GPTOSS_OK. */
static gptoss_status start_in_background(response_run *r, failure *why) {
    responses_live *live = &r->server->responses->live;
    pthread_t thread;
    pthread_attr_t attributes;
    reply_detach(&r->reply);
    responses_live_begin_writer(live);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    int problem = pthread_create(&thread, &attributes, work_in_background, r);
    pthread_attr_destroy(&attributes);
    if (!problem) return GPTOSS_OK;
    responses_live_end_writer(live);
    return failure_set(why, 503, NULL, NULL, "the server cannot start a thread for this response");
}

/* ---- beginning ---- */

/* Plans the turn for the conversation from the first question at or after message *from on; *from becomes that. */
static gptoss_status plan_from(response_run *r, const harmony_message *all, size_t count, size_t *from, failure *why) {
    harmony_prompt *p = &r->request.chat.prompt;
    while (*from < count && all[*from].role != HARMONY_USER) ++*from;
    p->messages = all + *from;
    p->message_count = count - *from;
    chat_turn_free(&r->turn);
    r->turn = (chat_turn){0};
    if (*from == count) return why->error.status; /* no question is left */
    return chat_turn_plan(r->server, &r->request.chat, &r->turn, why);
}

/* With "truncation": "auto" whole turns are left out at the beginning of a conversation that is too long (`why`), as
 * few as will do: found by bisection, as a shorter one fits where a longer one does. */
static gptoss_status plan_shortened(response_run *r, failure *why) {
    answer_options *o = &r->request.chat.options;
    const server *s = r->server;
    const harmony_message *all = r->request.chat.prompt.messages;
    size_t count = r->request.chat.prompt.message_count, low = 0, high = count;
    uint32_t wanted = o->max_tokens, quarter = s->model.positions / 4;
    if (!wanted) o->max_tokens = s->config.answer_tokens < quarter ? s->config.answer_tokens : quarter;
    while (low < high) {
        size_t middle = (low + high) / 2, from = middle;
        failure other = *why;
        if (plan_from(r, all, count, &from, &other) == GPTOSS_OK)
            high = middle;
        else
            low = middle + 1;
    }
    o->max_tokens = wanted;
    return plan_from(r, all, count, &high, why);
}

static gptoss_status plan(response_run *r, failure *why) {
    gptoss_status status = chat_turn_plan(r->server, &r->request.chat, &r->turn, why);
    if (status != GPTOSS_OK && failure_http(why) == 422 && r->request.truncate) status = plan_shortened(r, why);
    r->turn.plan.by_message = true;
    return status;
}

static gptoss_status begin(response_run *r, exchange *x, failure *why) {
    const server *s = r->server;
    const chat_request *c = &r->request.chat;
    const reply_reader reader = {r, on_letter, on_end};
    const responses_terms terms = {.model = c->model ? c->model : s->model.name,
                                   .tokenizer = s->model.tokenizer,
                                   .logprobs = c->logprobs,
                                   .queued = r->request.background,
                                   .n_top = c->n_top,
                                   .echo = r->request.echo};
    TRY(plan(r, why));
    TRY(responses_answer_open(&terms, &r->answer, &why->error));
    TRY(reply_open(x, 1, reader, &r->reply, why));
    TRY(reply_begin(&r->reply, &r->turn.plan, why));
    if (r->request.store) {
        TRY(add_to_store(r, &why->error));
        r->live = (live_response){.id = r->answer.id,
                                  .background = r->request.background,
                                  .turn = r->reply.turns,
                                  .writing = &r->writing,
                                  .answer = &r->answer};
        r->is_live = true;
        responses_live_add(&r->server->responses->live, &r->live);
        TRY(keep_news(r, &why->error));
    }
    return move_events(r, &r->beginning, &why->error);
}

/* The run is no longer the caller's when this is GPTOSS_OK. */
static gptoss_status answer_from_background(response_run *r, exchange *x, failure *why) {
    char id[ID_BYTES];
    bool streams = r->request.chat.options.stream;
    cJSON *queued = streams ? NULL : cJSON_Duplicate(r->answer.response, true);
    memcpy(id, r->answer.id, sizeof id);
    gptoss_status status = start_in_background(r, why);
    if (status != GPTOSS_OK) {
        cJSON_Delete(queued);
        return status;
    }
    status = streams ? responses_follow(x, id, -1, why) : exchange_answer_json(x, 200, queued, why);
    if (status != GPTOSS_OK) exchange_answer_failure(x, why); /* it goes on nevertheless */
    return GPTOSS_OK;
}

gptoss_status route_responses(exchange *x, const char *rest, failure *why) {
    server *s = x->server;
    cJSON *body;
    response_run *r;
    (void)rest;
    TRY(json_input_parse(&x->body, &body, why));
    if (mem_array(1, sizeof *r, "a request", &r, &why->error) != GPTOSS_OK) {
        cJSON_Delete(body);
        return GPTOSS_NO_MEMORY;
    }
    r->server = s;
    pthread_mutex_init(&r->writing, NULL);
    gptoss_status status =
        responses_request_read(body, tokenizer_count(s->model.tokenizer), s->responses->store, &r->request, why);
    if (status == GPTOSS_OK) status = models_check(s, r->request.chat.model, why);
    if (status == GPTOSS_OK) status = models_check_engine(s, r->request.chat.body, why);
    if (status == GPTOSS_OK) status = begin(r, x, why);
    if (status == GPTOSS_OK && r->request.background) {
        status = answer_from_background(r, x, why);
        if (status == GPTOSS_OK) return status;
    } else if (status == GPTOSS_OK && r->request.chat.options.stream) {
        const exchange_stream stream = {r, stream_more, run_close};
        status = exchange_answer_stream(x, &stream, why);
        if (status == GPTOSS_OK) return status; /* the stream closes it */
    } else if (status == GPTOSS_OK) {
        status = answer_whole(r, x, why);
    }
    run_close(r);
    return status;
}

/* ---- what there is beyond one request ---- */

/* A response that an earlier process left behind has failed. */
static gptoss_status give_up(store *s, const char *id, gptoss_error *err) {
    store_entry entry = {0};
    bool found = false;
    buffer event = {0};
    gptoss_status status = store_find(s, id, &entry, &found, err);
    cJSON *response = found ? cJSON_Parse(entry.response.data) : NULL;
    if (!response) response = cJSON_CreateObject(); /* damaged: this much can be said of it */
    if (status == GPTOSS_OK) status = responses_answer_abandon(response, entry.last_event + 1, &event, err);
    char *text = status == GPTOSS_OK ? cJSON_PrintUnformatted(response) : NULL;
    const store_event last = {entry.last_event + 1, event.data, event.size};
    const store_change change = {.events = &last, .count = 1, .response = text ? text : "{}", .ended = true};
    if (status == GPTOSS_OK) status = store_write(s, id, &change, err);
    cJSON_free(text);
    cJSON_Delete(response);
    buffer_free(&event);
    store_entry_free(&entry);
    return status;
}

static gptoss_status give_up_all(store *s, gptoss_error *err) {
    buffer id = {0};
    bool found = false;
    gptoss_status status;
    do {
        buffer_clear(&id);
        status = store_find_running(s, &id, &found, err);
        if (status == GPTOSS_OK && found) status = give_up(s, id.data, err);
    } while (status == GPTOSS_OK && found);
    buffer_free(&id);
    return status;
}

gptoss_status responses_open(const char *path, uint64_t limit, responses **out, gptoss_error *err) {
    responses *r;
    TRY(mem_array(1, sizeof *r, "responses", &r, err));
    gptoss_status status = responses_live_open(&r->live, err);
    if (status != GPTOSS_OK) {
        free(r);
        return status;
    }
    status = store_open(path, limit, &r->store, err);
    if (status == GPTOSS_OK) status = give_up_all(r->store, err);
    if (status == GPTOSS_OK) {
        *out = r;
        return status;
    }
    responses_close(r);
    return status;
}

void responses_finish(responses *r) { responses_live_wait_for_writers(&r->live); }

void responses_close(responses *r) {
    if (!r) return;
    responses_live_close(&r->live);
    store_close(r->store);
    free(r);
}
