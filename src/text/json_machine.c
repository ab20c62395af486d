#include "text/json_machine.h"

#include <stddef.h>
#include <string.h>

#include "text/json_number.h"
#include "text/json_text.h"

/* Where positions are collected. */
typedef struct collector {
    const json_grammar *g;
    json_position *out;
    size_t count, capacity;
} collector;

static size_t used_bytes(const json_position *p) {
    return offsetof(json_position, levels) + p->depth * sizeof p->levels[0];
}

static void copy(json_position *to, const json_position *from) { memcpy(to, from, used_bytes(from)); }

static void add(collector *c, const json_position *p) {
    for (size_t i = 0; i < c->count; i++)
        if (c->out[i].depth == p->depth && memcmp(&c->out[i], p, used_bytes(p)) == 0) return;
    if (c->count < c->capacity) copy(&c->out[c->count++], p);
}

void json_machine_start(const json_grammar *g, json_position *out) {
    *out = (json_position){.phase = JSON_AT_VALUE, .node = g->root};
}

static void set_phase(json_position *p, json_phase phase, uint32_t node) {
    p->phase = (uint8_t)phase;
    p->node = node;
    p->state = p->blanks = p->open = p->negative = 0;
    p->a = p->b = p->c = 0;
    p->number = 0;
}

static json_level *top(json_position *p) { return &p->levels[p->depth - 1]; }

static bool fits(const json_grammar *g, const json_position *p, uint32_t node) {
    return p->depth + (uint64_t)g->nodes[node].depth <= JSON_GRAMMAR_DEPTH;
}

static void end_value(const json_grammar *g, json_position *p) {
    set_phase(p, p->depth ? JSON_BEHIND_VALUE : JSON_AT_END, 0);
    if (p->depth == 0 || g->nodes[top(p)->node].kind != JSON_ARRAY) return;
    const json_node *n = &g->nodes[top(p)->node];
    uint32_t limit = n->max == JSON_GRAMMAR_NO_LIMIT ? n->min : n->max;
    if (top(p)->at < limit) top(p)->at++;
}

/* ---- Blanks ---- */

/* One space, or a line break and up to four spaces for each level. */
static bool take_blank(json_position *p, uint8_t byte) {
    bool space = byte == ' ' && (p->blanks == 0 || (p->blanks >= 2 && p->blanks < 2 + 4 * p->depth));
    bool line = byte == '\n' && p->blanks == 0;
    if (!space && !line) return false;
    p->blanks = (uint8_t)(line ? 2 : p->blanks + 1);
    return true;
}

/* ---- Literals ---- */

/* Narrows texts[*low, *high), which are sorted and agree in their first `at` bytes, to those whose next one is
 * `byte`. */
static void narrow(const json_grammar *g, const json_span *texts, uint32_t *low, uint32_t *high, uint32_t at,
                   uint8_t byte) {
    uint32_t bounds[2];
    for (unsigned i = 0; i < 2; i++) {
        uint32_t from = *low, to = *high;
        while (from < to) {
            uint32_t middle = from + (to - from) / 2;
            json_span text = texts[middle];
            unsigned next = text.size > at ? 1u + (uint8_t)g->bytes.data[text.at + at] : 0;
            if (next < 1u + byte + i)
                from = middle + 1;
            else
                to = middle;
        }
        bounds[i] = from;
    }
    *low = bounds[0];
    *high = bounds[1];
}

static bool literal_is_whole(const json_grammar *g, const json_position *p) {
    return p->a < p->b && g->texts[p->a].size == p->c; /* the shortest comes first */
}

static bool step_literal(const json_grammar *g, json_position *p, uint8_t byte) {
    uint32_t low = p->a, high = p->b;
    narrow(g, g->texts, &low, &high, p->c, byte);
    if (low == high) return false;
    p->a = low;
    p->b = high;
    p->c++;
    if (high - low == 1 && g->texts[low].size == p->c) end_value(g, p);
    return true;
}

/* ---- Strings ---- */

static bool step_string(const json_grammar *g, json_position *p, uint8_t byte) {
    const json_node *n = &g->nodes[p->node];
    if (byte == '"' && p->state != JSON_TEXT_ESCAPE) {
        if (p->state != JSON_TEXT_BETWEEN || p->a < n->min) return false;
        end_value(g, p);
        return true;
    }
    if (p->state == JSON_TEXT_BETWEEN) {
        if (p->a == n->max) return false;
        if (p->a < n->min || n->max != JSON_GRAMMAR_NO_LIMIT) p->a++;
    }
    p->state = json_text_step(p->state, byte);
    return p->state != JSON_TEXT_DEAD;
}

/* A quote inside the pattern is escaped, so that one that it does not expect ends the string. */
static bool step_pattern(const json_grammar *g, json_position *p, uint8_t byte) {
    const byte_dfa *d = &g->patterns[g->nodes[p->node].first];
    uint16_t next = byte_dfa_step(d, (uint16_t)p->a, byte);
    if (next != BYTE_DFA_DEAD) {
        p->a = next;
        return true;
    }
    if (byte != '"' || d->left[p->a] != 0) return false;
    end_value(g, p);
    return true;
}

/* ---- Keys ---- */

static const json_property *property(const json_grammar *g, const json_node *object, uint32_t index) {
    return &g->properties[object->first + index];
}

/* The last property that may come next, plus one: no required one may be passed over. */
static uint32_t window_end(const json_grammar *g, const json_position *p) {
    const json_level *level = &p->levels[p->depth - 1];
    const json_node *n = &g->nodes[level->node];
    uint32_t required = level->at < n->count ? property(g, n, level->at)->next_required : n->count;
    return required < n->count ? required + 1 : required;
}

static bool key_is_allowed(const json_grammar *g, const json_position *p, uint32_t index) {
    const json_level *level = &p->levels[p->depth - 1];
    const json_node *n = &g->nodes[level->node];
    return index >= level->at && index < window_end(g, p) && fits(g, p, property(g, n, index)->node);
}

static bool needs_more_keys(const json_grammar *g, const json_position *p) {
    const json_level *level = &p->levels[p->depth - 1];
    const json_node *n = &g->nodes[level->node];
    return level->at < n->count && property(g, n, level->at)->next_required < n->count;
}

/* Whether a name that is not listed may come. */
static bool others_are_allowed(const json_grammar *g, const json_position *p) {
    const json_node *n = &g->nodes[p->levels[p->depth - 1].node];
    return n->child != JSON_GRAMMAR_NONE && !needs_more_keys(g, p) && fits(g, p, n->child);
}

static bool any_key_is_allowed(const json_grammar *g, const json_position *p) {
    uint32_t end = window_end(g, p);
    if (others_are_allowed(g, p)) return true;
    for (uint32_t i = p->levels[p->depth - 1].at; i < end; i++)
        if (key_is_allowed(g, p, i)) return true;
    return false;
}

static void begin_key(const json_grammar *g, json_position *p) {
    const json_node *n = &g->nodes[top(p)->node];
    bool open = others_are_allowed(g, p);
    set_phase(p, JSON_IN_KEY, 0);
    p->open = open;
    p->b = n->count;
}

/* Narrows by_name[*low, *high) of the object as `narrow` does. */
static void narrow_names(const json_grammar *g, const json_node *n, uint32_t *low, uint32_t *high, uint32_t at,
                         uint8_t byte) {
    uint32_t bounds[2];
    for (unsigned i = 0; i < 2; i++) {
        uint32_t from = *low, to = *high;
        while (from < to) {
            uint32_t middle = from + (to - from) / 2;
            json_span text = property(g, n, g->by_name[n->first + middle])->name;
            unsigned next = text.size > at ? 1u + (uint8_t)g->bytes.data[text.at + at] : 0;
            if (next < 1u + byte + i)
                from = middle + 1;
            else
                to = middle;
        }
        bounds[i] = from;
    }
    *low = bounds[0];
    *high = bounds[1];
}

/* The closing quote of a key. */
static bool end_key(const json_grammar *g, json_position *p) {
    const json_node *n = &g->nodes[top(p)->node];
    uint32_t index = p->a < p->b ? g->by_name[n->first + p->a] : 0;
    if (p->a < p->b && property(g, n, index)->name.size == p->c) { /* the shortest comes first */
        if (!key_is_allowed(g, p, index)) return false;
        top(p)->at = index + 1;
        set_phase(p, JSON_AT_COLON, property(g, n, index)->node);
        return true;
    }
    if (!p->open || p->state != JSON_TEXT_BETWEEN) return false;
    top(p)->at = n->count;
    set_phase(p, JSON_AT_COLON, n->child);
    return true;
}

static bool step_key(const json_grammar *g, json_position *p, uint8_t byte) {
    const json_node *n = &g->nodes[top(p)->node];
    uint32_t low = p->a, high = p->b;
    narrow_names(g, n, &low, &high, p->c, byte);
    if (byte == '"' && low == high) return end_key(g, p); /* names have quotes only behind backslashes */
    uint8_t state = JSON_TEXT_DEAD;
    if (p->open && byte != '\\' && byte != '"' && (p->state != JSON_TEXT_BETWEEN || p->c < n->key_limit))
        state = json_text_step(p->state, byte);
    bool listed = false;
    for (uint32_t i = low; i < high && !listed; i++) listed = key_is_allowed(g, p, g->by_name[n->first + i]);
    p->open = state != JSON_TEXT_DEAD;
    if (!p->open && !listed) return false;
    p->state = p->open ? state : 0;
    p->a = low < high ? low : 0;
    p->b = low < high ? high : 0;
    p->c++;
    return true;
}

/* ---- Structure ---- */

static void begin_value(collector *c, const json_position *from, uint32_t node, uint8_t byte) {
    const json_node *n = &c->g->nodes[node];
    json_position p;
    if (!fits(c->g, from, node)) return;
    copy(&p, from);
    set_phase(&p, JSON_AT_VALUE, node);
    bool good = false;
    switch (n->kind) {
    case JSON_STRING:
        p.phase = JSON_IN_STRING;
        good = byte == '"';
        break;
    case JSON_PATTERN:
        p.phase = JSON_IN_PATTERN;
        p.a = BYTE_DFA_START;
        good = byte == '"';
        break;
    case JSON_NUMBER:
    case JSON_RANGE:
        p.phase = n->kind == JSON_NUMBER ? JSON_IN_NUMBER : JSON_IN_RANGE;
        good = json_number_step(n, &p, byte);
        break;
    case JSON_LITERALS:
        p.phase = JSON_IN_LITERAL;
        p.a = n->first;
        p.b = n->first + n->count;
        good = step_literal(c->g, &p, byte);
        break;
    case JSON_OBJECT:
    case JSON_ARRAY:
        good = byte == (n->kind == JSON_OBJECT ? '{' : '[');
        if (!good) break;
        p.levels[p.depth++] = (json_level){.node = node};
        set_phase(&p, n->kind == JSON_OBJECT ? JSON_AT_FIRST_KEY : JSON_AT_FIRST_ITEM, 0);
        break;
    case JSON_CHOICE: break; /* alternatives are none */
    }
    if (good) add(c, &p);
}

static void begin_values(collector *c, const json_position *p, uint32_t node, uint8_t byte) {
    const json_node *n = &c->g->nodes[node];
    if (n->kind != JSON_CHOICE) {
        begin_value(c, p, node, byte);
        return;
    }
    for (uint32_t i = n->first; i < n->first + n->count; i++) begin_value(c, p, c->g->choices[i], byte);
}

static bool may_close(const json_grammar *g, const json_position *p) {
    const json_level *level = &p->levels[p->depth - 1];
    const json_node *n = &g->nodes[level->node];
    return n->kind == JSON_OBJECT ? !needs_more_keys(g, p) : level->at >= n->min;
}

static bool more_items_fit(const json_grammar *g, const json_position *p) {
    const json_level *level = &p->levels[p->depth - 1];
    const json_node *n = &g->nodes[level->node];
    return (n->max == JSON_GRAMMAR_NO_LIMIT || level->at < n->max) && fits(g, p, n->child);
}

/* Takes the bracket or brace that closes the innermost level, if that is what `byte` is. */
static bool close_level(const json_grammar *g, json_position *p, uint8_t byte) {
    if (byte != (g->nodes[top(p)->node].kind == JSON_OBJECT ? '}' : ']') || !may_close(g, p)) return false;
    *top(p) = (json_level){0};
    p->depth--;
    end_value(g, p);
    return true;
}

static bool step_behind_value(const json_grammar *g, json_position *p, uint8_t byte) {
    bool object = g->nodes[top(p)->node].kind == JSON_OBJECT;
    if (close_level(g, p, byte)) return true;
    if (byte != ',' || p->blanks) return may_close(g, p) && take_blank(p, byte);
    if (object ? !any_key_is_allowed(g, p) : !more_items_fit(g, p)) return false;
    set_phase(p, object ? JSON_AT_KEY : JSON_AT_VALUE, object ? 0 : g->nodes[top(p)->node].child);
    return true;
}

static bool step_at_key(const json_grammar *g, json_position *p, uint8_t byte) {
    if (p->phase == JSON_AT_FIRST_KEY && close_level(g, p, byte)) return true;
    if (byte != '"') return take_blank(p, byte);
    if (!any_key_is_allowed(g, p)) return false;
    begin_key(g, p);
    return true;
}

/* Phases in which a byte has one meaning; false when it has none. */
static bool step_plain(const json_grammar *g, json_position *p, uint8_t byte) {
    switch ((json_phase)p->phase) {
    case JSON_IN_STRING: return step_string(g, p, byte);
    case JSON_IN_PATTERN: return step_pattern(g, p, byte);
    case JSON_IN_KEY: return step_key(g, p, byte);
    case JSON_AT_FIRST_KEY:
    case JSON_AT_KEY: return step_at_key(g, p, byte);
    case JSON_AT_COLON:
        if (byte != ':') return false;
        set_phase(p, JSON_AT_VALUE, p->node);
        return true;
    case JSON_BEHIND_VALUE: return step_behind_value(g, p, byte);
    default: return false;
    }
}

/* The value that just ended may be one that could have gone on: a number, or a literal that begins another one. */
static bool value_is_whole(const json_grammar *g, const json_position *p) {
    if (p->phase == JSON_IN_NUMBER || p->phase == JSON_IN_RANGE) return json_number_is_whole(&g->nodes[p->node], p);
    return p->phase == JSON_IN_LITERAL && literal_is_whole(g, p);
}

static void step_one(collector *c, const json_position *from, uint8_t byte) {
    json_position p;
    copy(&p, from);
    switch ((json_phase)from->phase) {
    case JSON_AT_FIRST_ITEM:
        if (close_level(c->g, &p, byte) || take_blank(&p, byte))
            add(c, &p);
        else if (more_items_fit(c->g, from))
            begin_values(c, from, c->g->nodes[top(&p)->node].child, byte);
        return;
    case JSON_AT_VALUE:
        if (from->depth && take_blank(&p, byte))
            add(c, &p);
        else
            begin_values(c, from, from->node, byte);
        return;
    case JSON_IN_NUMBER:
    case JSON_IN_RANGE:
    case JSON_IN_LITERAL: {
        bool literal = from->phase == JSON_IN_LITERAL;
        if (literal ? step_literal(c->g, &p, byte) : json_number_step(&c->g->nodes[p.node], &p, byte)) add(c, &p);
        if (!value_is_whole(c->g, from)) return;
        copy(&p, from);
        end_value(c->g, &p);
        if (step_plain(c->g, &p, byte)) add(c, &p);
        return;
    }
    default:
        if (step_plain(c->g, &p, byte)) add(c, &p);
    }
}

size_t json_machine_step(const json_grammar *g, const json_position *in, size_t count, uint8_t byte, json_position *out,
                         size_t capacity) {
    collector c = {.g = g, .out = out, .capacity = capacity};
    for (size_t i = 0; i < count; i++) step_one(&c, &in[i], byte);
    return c.count;
}

bool json_machine_may_end(const json_grammar *g, const json_position *p) {
    return p->phase == JSON_AT_END || (p->depth == 0 && value_is_whole(g, p));
}

/* ---- The shortest end ---- */

static uint32_t tail(const json_grammar *g, const json_node *object, uint32_t from) {
    return from < object->count ? property(g, object, from)->tail : 0;
}

/* From behind the quote of a name to the end of the required properties. */
static uint32_t entry_left(const json_grammar *g, const json_node *n, uint32_t value, uint32_t next) {
    return 1 + g->nodes[value].size + tail(g, n, next);
}

static uint32_t key_left(const json_grammar *g, const json_position *p) {
    const json_node *n = &g->nodes[p->levels[p->depth - 1].node];
    uint32_t best = UINT32_MAX;
    for (uint32_t i = p->a; i < p->b; i++) {
        uint32_t index = g->by_name[n->first + i];
        if (!key_is_allowed(g, p, index)) continue;
        const json_property *found = property(g, n, index);
        uint32_t left = found->name.size - p->c + 1 + entry_left(g, n, found->node, index + 1);
        if (left < best) best = left;
    }
    if (!p->open) return best;
    bool taken = p->a < p->b && property(g, n, g->by_name[n->first + p->a])->name.size == p->c;
    uint32_t left = json_text_left(p->state) + taken + 1 + entry_left(g, n, n->child, n->count);
    return left < best ? left : best;
}

/* From before a key. */
static uint32_t next_key_left(const json_grammar *g, const json_position *p) {
    json_position inside;
    copy(&inside, p);
    begin_key(g, &inside);
    return 1 + key_left(g, &inside);
}

/* What is still missing in an object or array besides the value at hand, and its closing. */
static uint32_t level_left(const json_grammar *g, const json_level *level, bool in_value) {
    const json_node *n = &g->nodes[level->node];
    if (n->kind == JSON_OBJECT) return 1 + tail(g, n, level->at);
    uint64_t items = level->at + (in_value ? 1u : 0u) < n->min ? n->min - level->at - (in_value ? 1u : 0u) : 0;
    uint64_t bytes = items ? items * (g->nodes[n->child].size + (uint64_t)1) : 0;
    return bytes < UINT32_MAX / 64 ? 1 + (uint32_t)bytes : UINT32_MAX / 64;
}

static uint32_t literal_left(const json_grammar *g, const json_position *p) {
    uint32_t best = UINT32_MAX;
    for (uint32_t i = p->a; i < p->b; i++)
        if (g->texts[i].size - p->c < best) best = g->texts[i].size - p->c;
    return best;
}

static uint32_t value_left(const json_grammar *g, const json_position *p) {
    const json_node *n = &g->nodes[p->node];
    switch ((json_phase)p->phase) {
    case JSON_AT_VALUE: return n->size;
    case JSON_AT_COLON: return 1 + n->size;
    case JSON_IN_STRING: return json_text_left(p->state) + (p->a < n->min ? n->min - p->a : 0) + 1;
    case JSON_IN_PATTERN: return g->patterns[n->first].left[p->a] + 1u;
    case JSON_IN_NUMBER:
    case JSON_IN_RANGE: return json_number_left(n, p);
    case JSON_IN_LITERAL: return literal_left(g, p);
    default: return 0;
    }
}

uint32_t json_machine_left(const json_grammar *g, const json_position *p) {
    uint64_t left = value_left(g, p);
    uint8_t depth = p->depth;
    bool in_value = p->phase <= JSON_IN_LITERAL || p->phase == JSON_AT_COLON;
    if (p->phase == JSON_AT_KEY || p->phase == JSON_IN_KEY) { /* its level's tail is in it */
        left = 1 + (p->phase == JSON_AT_KEY ? next_key_left(g, p) : key_left(g, p));
        depth--;
        in_value = true;
    } else if (p->phase == JSON_AT_FIRST_KEY && needs_more_keys(g, p)) {
        left = next_key_left(g, p) + 1;
        depth--;
        in_value = true;
    }
    for (uint8_t i = depth; i-- > 0; in_value = true) left += level_left(g, &p->levels[i], in_value);
    if (p->phase == JSON_AT_FIRST_ITEM && g->nodes[p->levels[p->depth - 1].node].min > 0) left--; /* needs no comma */
    return left < UINT32_MAX ? (uint32_t)left : UINT32_MAX;
}
