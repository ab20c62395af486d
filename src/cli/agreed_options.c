#include "cli/agreed_options.h"

#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "base/mem.h"

static bool is_one_of(const char *name, const char *const *names) {
    for (; *names; names++)
        if (strcmp(name, *names) == 0) return true;
    return false;
}

static uint64_t mark_of_text(const char *text) { return text ? digest_of(text, strlen(text)).low : 0; }

/* The mark of a list that goes on with a text; the order counts. */
static uint64_t mark_with(uint64_t mark, const char *text) { return mark * 0x100000001B3u + mark_of_text(text); }

static uint64_t mark_of_texts(const option_texts *list) {
    uint64_t mark = list->count;
    for (size_t i = 0; i < list->count; i++) mark = mark_with(mark, list->items[i]);
    return mark;
}

/* Equal for equal values, and hardly for others. */
static uint64_t mark_of(const option *o) {
    static const char *const of_a_machine[] = {"gguf", "cache", "threads", "cpu-bind", "isa", "config", NULL};
    const option_counts *counts = o->target;
    if (is_one_of(o->name, of_a_machine))
        return o->kind == OPTION_COUNTS ? counts->count : 0; /* are gone through together */
    switch (o->kind) {
    case OPTION_SWITCH: return *(const bool *)o->target;
    case OPTION_TEXT: return mark_of_text(*(const char *const *)o->target);
    case OPTION_PATH: return *(const char *const *)o->target != NULL; /* another machine, another name */
    case OPTION_COUNT: return *(const uint64_t *)o->target;
    case OPTION_COUNTS: return digest_of(counts->items, counts->count * sizeof *counts->items).low;
    case OPTION_NUMBER: return digest_of(o->target, sizeof(double)).low;
    case OPTION_LIST: return mark_of_texts(o->target);
    }
    return 0;
}

static gptoss_status compare(const cluster *c, const option *options, size_t count, uint64_t *of_rank_0,
                             gptoss_error *err) {
    gptoss_status status = GPTOSS_OK;
    for (size_t i = 0; i < count; i++) of_rank_0[i] = mark_of(&options[i]);
    cluster_broadcast(c, of_rank_0, count * sizeof *of_rank_0);
    for (size_t i = 0; i < count && status == GPTOSS_OK; i++)
        if (mark_of(&options[i]) != of_rank_0[i])
            status = error_set(err, GPTOSS_MISUSE, "--%s differs from that of rank 0; give every rank the same",
                               options[i].name);
    return cluster_agree(c, status, err);
}

/* Each command has flags of its own. */
static uint64_t mark_of_command(const option *options, size_t count) {
    uint64_t mark = count;
    for (size_t i = 0; i < count; i++) mark = mark_with(mark, options[i].name);
    return mark;
}

static gptoss_status share_model(const cluster *c, const char **name, buffer *model, gptoss_error *err) {
    uint64_t size = *name ? strlen(*name) : 0;
    cluster_broadcast(c, &size, sizeof size);
    if (size == 0) return GPTOSS_OK;
    TRY(cluster_agree(c, mem_array(size + 1, 1, "the model's name", &model->data, err), err));
    if (c->rank == 0) memcpy(model->data, *name, size);
    cluster_broadcast(c, model->data, size);
    if (!*name) *name = model->data;
    return GPTOSS_OK;
}

gptoss_status agreed_options(const cluster *c, const option *options, size_t count, buffer *model, gptoss_error *err) {
    uint64_t *marks = NULL;
    if (c->size == 1) return GPTOSS_OK;
    TRY(cluster_same(c, mark_of_command(options, count), "the command, or the program's version,", err));
    gptoss_status status = cluster_agree(c, mem_array(count, sizeof *marks, "command line", &marks, err), err);
    if (status == GPTOSS_OK) status = compare(c, options, count, marks, err);
    free(marks);
    for (size_t i = 0; status == GPTOSS_OK && i < count; i++)
        if (strcmp(options[i].name, "gguf") == 0) status = share_model(c, options[i].target, model, err);
    return status;
}
