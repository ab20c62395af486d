#include "text/json_grammar.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/json_schema.h"

enum { HUGE_SIZE = 1 << 30, KEY_LIMIT = 64 };

void json_grammar_close(json_grammar *g) {
    if (!g) return;
    for (uint32_t i = 0; i < g->pattern_count; i++) byte_dfa_close(&g->patterns[i]);
    free(g->nodes);
    free(g->properties);
    free(g->by_name);
    free(g->texts);
    free(g->choices);
    free(g->patterns);
    buffer_free(&g->bytes);
    free(g);
}

static uint32_t add_sizes(uint64_t a, uint64_t b) { return a + b < HUGE_SIZE ? (uint32_t)(a + b) : HUGE_SIZE; }

static uint32_t multiply(uint64_t a, uint64_t b) { return a * b < HUGE_SIZE ? (uint32_t)(a * b) : HUGE_SIZE; }

/* ---- How deep and how long the least value of each node is ---- */

static uint32_t one_deeper(uint32_t depth) { return depth >= JSON_GRAMMAR_DEPTH ? JSON_GRAMMAR_NEVER : depth + 1; }

static uint32_t object_depth(const json_grammar *g, const json_node *n) {
    uint32_t depth = 0;
    for (uint32_t i = n->first; i < n->first + n->count; i++) {
        uint32_t own = g->nodes[g->properties[i].node].depth;
        if (g->properties[i].required && own > depth) depth = own;
    }
    return one_deeper(depth);
}

static uint32_t depth_of(const json_grammar *g, const json_node *n) {
    uint32_t depth = JSON_GRAMMAR_NEVER;
    switch (n->kind) {
    case JSON_STRING: return n->min <= n->max ? 0 : JSON_GRAMMAR_NEVER;
    case JSON_PATTERN: return g->patterns[n->first].states > 1 ? 0 : JSON_GRAMMAR_NEVER;
    case JSON_RANGE: return n->low <= n->high ? 0 : JSON_GRAMMAR_NEVER;
    case JSON_LITERALS: return n->count ? 0 : JSON_GRAMMAR_NEVER;
    case JSON_NUMBER: return 0;
    case JSON_OBJECT: return object_depth(g, n);
    case JSON_ARRAY:
        if (n->min > n->max) return JSON_GRAMMAR_NEVER;
        return one_deeper(n->min ? g->nodes[n->child].depth : 0);
    case JSON_CHOICE:
        for (uint32_t i = n->first; i < n->first + n->count; i++)
            if (g->nodes[g->choices[i]].depth < depth) depth = g->nodes[g->choices[i]].depth;
    }
    return depth;
}

static uint32_t object_size(const json_grammar *g, const json_node *n) {
    uint32_t size = 1;
    for (uint32_t i = n->first; i < n->first + n->count; i++)
        if (g->properties[i].required)
            size = add_sizes(size, add_sizes(g->properties[i].name.size + 4, g->nodes[g->properties[i].node].size));
    return size == 1 ? 2 : add_sizes(size, 0); /* the first has no comma, but there is a second brace */
}

static uint32_t size_of(const json_grammar *g, const json_node *n) {
    uint32_t size = HUGE_SIZE;
    switch (n->kind) {
    case JSON_STRING: return add_sizes(n->min, 2);
    case JSON_PATTERN: return (uint32_t)g->patterns[n->first].left[BYTE_DFA_START] + 2;
    case JSON_NUMBER: return 1;
    case JSON_RANGE: return JSON_GRAMMAR_DIGITS + 3; /* at most */
    case JSON_LITERALS:
        for (uint32_t i = n->first; i < n->first + n->count; i++)
            if (g->texts[i].size < size) size = g->texts[i].size;
        return size;
    case JSON_OBJECT: return object_size(g, n);
    case JSON_ARRAY:
        if (n->min == 0) return 2;
        return add_sizes(multiply(n->min, add_sizes(g->nodes[n->child].size, 1)), 1);
    case JSON_CHOICE:
        for (uint32_t i = n->first; i < n->first + n->count; i++)
            if (g->nodes[g->choices[i]].size < size) size = g->nodes[g->choices[i]].size;
    }
    return size;
}

/* From the last node to the first, since what a node consists of mostly comes after it; again until nothing changes.
 * What has no depth after so many rounds needs more levels than are allowed. */
static void measure(json_grammar *g) {
    bool changed = true;
    for (uint32_t i = 0; i < g->node_count; i++) {
        g->nodes[i].depth = JSON_GRAMMAR_NEVER;
        g->nodes[i].size = HUGE_SIZE;
    }
    for (int round = 0; changed && round < 2 * JSON_GRAMMAR_DEPTH; round++) {
        changed = false;
        for (uint32_t i = g->node_count; i-- > 0;) {
            json_node *n = &g->nodes[i];
            uint32_t depth = depth_of(g, n), size = depth == JSON_GRAMMAR_NEVER ? HUGE_SIZE : size_of(g, n);
            changed |= depth != n->depth || size != n->size;
            n->depth = depth;
            n->size = size;
        }
    }
    for (uint32_t i = 0; i < g->node_count; i++)
        if (g->nodes[i].size > g->largest && g->nodes[i].depth != JSON_GRAMMAR_NEVER) g->largest = g->nodes[i].size;
}

/* ---- Choices of choices become plain ones ---- */

typedef struct flattening {
    json_schema *s;
    uint32_t *seen;  /* [node_count] the last choice that met a node */
    uint32_t *stack; /* [choice_count + 1] */
    uint32_t *flat;  /* [JSON_GRAMMAR_ALTERNATIVES] */
    uint64_t work;
} flattening;

static gptoss_status flatten(flattening *f, uint32_t node, uint32_t *count, gptoss_error *err) {
    const json_grammar *g = f->s->g;
    uint32_t height = 0;
    *count = 0;
    f->stack[height++] = node;
    while (height > 0) {
        uint32_t at = f->stack[--height];
        const json_node *n = &g->nodes[at];
        if (f->seen[at] == node + 1 || n->depth == JSON_GRAMMAR_NEVER) continue;
        f->seen[at] = node + 1;
        if (n->kind != JSON_CHOICE) {
            if (*count == JSON_GRAMMAR_ALTERNATIVES)
                return error_set(err, GPTOSS_BAD_INPUT, "the schema's \"anyOf\" has more than %d alternatives",
                                 JSON_GRAMMAR_ALTERNATIVES);
            f->flat[(*count)++] = at;
            continue;
        }
        if ((f->work += n->count) > 4000000)
            return error_set(err, GPTOSS_BAD_INPUT, "the schema's \"anyOf\" and \"$ref\" are nested too often");
        for (uint32_t i = n->count; i-- > 0;)
            if (f->seen[g->choices[n->first + i]] != node + 1) f->stack[height++] = g->choices[n->first + i];
    }
    return GPTOSS_OK;
}

static gptoss_status flatten_all(flattening *f, gptoss_error *err) {
    json_grammar *g = f->s->g;
    uint32_t count, first;
    for (uint32_t i = 0; i < g->node_count; i++) {
        if (g->nodes[i].kind != JSON_CHOICE) continue;
        TRY(flatten(f, i, &count, err));
        TRY(json_schema_reserve_choices(f->s, count, &first, err));
        memcpy(g->choices + first, f->flat, count * sizeof *g->choices);
        g->nodes[i].low = first; /* kept aside: the others still need the nested ones */
        g->nodes[i].high = count;
    }
    for (uint32_t i = 0; i < g->node_count; i++) {
        if (g->nodes[i].kind != JSON_CHOICE) continue;
        g->nodes[i].first = (uint32_t)g->nodes[i].low;
        g->nodes[i].count = (uint32_t)g->nodes[i].high;
    }
    return GPTOSS_OK;
}

static gptoss_status flatten_choices(json_schema *s, gptoss_error *err) {
    flattening f = {.s = s};
    gptoss_status status = mem_array(s->g->node_count, sizeof *f.seen, "JSON grammar", &f.seen, err);
    if (status == GPTOSS_OK)
        status = mem_array((size_t)s->g->choice_count + 1, sizeof *f.stack, "JSON grammar", &f.stack, err);
    if (status == GPTOSS_OK)
        status = mem_array(JSON_GRAMMAR_ALTERNATIVES, sizeof *f.flat, "JSON grammar", &f.flat, err);
    if (status == GPTOSS_OK) status = flatten_all(&f, err);
    free(f.seen);
    free(f.stack);
    free(f.flat);
    return status;
}

/* ---- Objects ---- */

/* For sorting: qsort has no context of its own. */
typedef struct named {
    gguf_text name;
    uint32_t index;
} named;

static int by_bytes(const void *a, const void *b) {
    const named *x = a, *y = b;
    size_t size = x->name.size < y->name.size ? x->name.size : y->name.size;
    int order = memcmp(x->name.bytes, y->name.bytes, size);
    return order ? order : (x->name.size > y->name.size) - (x->name.size < y->name.size);
}

static gptoss_status sort_names(json_grammar *g, const json_node *n, gptoss_error *err) {
    named *names;
    TRY(mem_array(n->count, sizeof *names, "JSON grammar", &names, err));
    for (uint32_t i = 0; i < n->count; i++)
        names[i] = (named){json_grammar_text(g, g->properties[n->first + i].name), i};
    qsort(names, n->count, sizeof *names, by_bytes);
    for (uint32_t i = 0; i < n->count; i++) g->by_name[n->first + i] = names[i].index;
    free(names);
    return GPTOSS_OK;
}

static void finish_object(json_grammar *g, json_node *n) {
    uint32_t next = n->count, tail = 0;
    n->key_limit = KEY_LIMIT;
    for (uint32_t i = n->count; i-- > 0;) {
        json_property *p = &g->properties[n->first + i];
        if (p->required) {
            next = i;
            tail = add_sizes(tail, add_sizes(p->name.size + 4, g->nodes[p->node].size));
        }
        p->next_required = next;
        p->tail = tail;
        if (p->name.size >= n->key_limit) n->key_limit = p->name.size + 1;
    }
    if (n->child != JSON_GRAMMAR_NONE && g->nodes[n->child].depth == JSON_GRAMMAR_NEVER) n->child = JSON_GRAMMAR_NONE;
}

static gptoss_status finish(json_schema *s, gptoss_error *err) {
    json_grammar *g = s->g;
    measure(g);
    if (g->nodes[g->root].depth == JSON_GRAMMAR_NEVER)
        return error_set(
            err, GPTOSS_BAD_INPUT,
            "no value satisfies the schema: it contradicts itself, has a \"$ref\" that never ends, or needs "
            "more than %d levels",
            JSON_GRAMMAR_DEPTH);
    TRY(flatten_choices(s, err));
    TRY(mem_array(g->property_count, sizeof *g->by_name, "JSON grammar", &g->by_name, err));
    for (uint32_t i = 0; i < g->node_count; i++) {
        if (g->nodes[i].kind != JSON_OBJECT) continue;
        TRY(sort_names(g, &g->nodes[i], err));
        finish_object(g, &g->nodes[i]);
    }
    return GPTOSS_OK;
}

static gptoss_status open_schema(json_schema *s, json_grammar **out, gptoss_error *err) {
    json_grammar *g;
    TRY(mem_array(1, sizeof *g, "JSON grammar", &g, err));
    s->g = g;
    gptoss_status status = json_schema_read(s, err);
    if (status == GPTOSS_OK) status = finish(s, err);
    free(s->refs);
    buffer_free(&s->path);
    if (status != GPTOSS_OK) {
        json_grammar_close(g);
        return status;
    }
    *out = g;
    return GPTOSS_OK;
}

gptoss_status json_grammar_open(const cJSON *schema, uint32_t *pattern_work, json_grammar **out, gptoss_error *err) {
    json_schema s = {.root = schema, .any = JSON_GRAMMAR_NONE, .pattern_work = pattern_work};
    return open_schema(&s, out, err);
}

gptoss_status json_grammar_open_arguments(const cJSON *schema, uint32_t *pattern_work, json_grammar **out,
                                          gptoss_error *err) {
    json_schema s = {.root = schema, .of_object = true, .any = JSON_GRAMMAR_NONE, .pattern_work = pattern_work};
    return open_schema(&s, out, err);
}

gptoss_status json_grammar_open_object(json_grammar **out, gptoss_error *err) {
    const cJSON anything = {.type = cJSON_Object};
    return json_grammar_open_arguments(&anything, NULL, out, err);
}
