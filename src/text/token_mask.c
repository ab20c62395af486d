#include "text/token_mask.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/json_text.h"

enum {
    NEVER = 255,        /* in `characters` and `last` */
    INSIDE_BYTES = 200, /* of a token of `inside`, so that its characters can be counted in a byte */
    STRING_MASKS = 512  /* of 200,000 tokens: 13 MB */
};

/* ---- The vocabulary ---- */

/* Follows a token that begins between two characters of a string. */
static void measure_token(token_mask *m, uint32_t id, const uint8_t *bytes, size_t size) {
    uint8_t state = JSON_TEXT_BETWEEN, characters = 0, last = 0;
    bool escapes = false;
    for (size_t i = 0; i < size && state != JSON_TEXT_DEAD; i++) {
        if (state == JSON_TEXT_BETWEEN) {
            characters++;
            last = (uint8_t)i;
        }
        escapes |= bytes[i] == '\\';
        state = json_text_step(state, bytes[i]);
    }
    if (state == JSON_TEXT_DEAD) return;
    m->characters[id] = characters;
    if (!escapes) m->last[id] = last;
}

static gptoss_status sort_tokens(token_mask *m, uint32_t *inside, uint32_t *others, gptoss_error *err) {
    uint32_t count = tokenizer_count(m->tokenizer), n_inside = 0, n_others = 0;
    for (uint32_t id = 0; id < count; id++) {
        size_t size;
        const char *bytes = tokenizer_bytes(m->tokenizer, id, &size);
        m->characters[id] = m->last[id] = NEVER;
        if (tokenizer_ends_text(m->tokenizer, id)) token_mask_set(m->ends, id);
        if (size == 0 || size > UINT16_MAX || tokenizer_is_special(m->tokenizer, id)) continue;
        token_mask_set(m->normal, id);
        if (size == 1) m->single[(uint8_t)bytes[0]] = id;
        if (size > INSIDE_BYTES || memchr(bytes, '"', size)) {
            others[n_others++] = id;
            continue;
        }
        inside[n_inside++] = id;
        measure_token(m, id, (const uint8_t *)bytes, size);
    }
    TRY(token_trie_open(m->tokenizer, inside, n_inside, &m->inside, err));
    return token_trie_open(m->tokenizer, others, n_others, &m->others, err);
}

static gptoss_status build(token_mask *m, gptoss_error *err) {
    uint32_t count = tokenizer_count(m->tokenizer), *ids;
    m->words = (count + 63) / 64;
    TRY(mem_array(m->words, sizeof *m->ends, "token masks", &m->ends, err));
    TRY(mem_array(m->words, sizeof *m->normal, "token masks", &m->normal, err));
    TRY(mem_array(count, 1, "token masks", &m->characters, err));
    TRY(mem_array(count, 1, "token masks", &m->last, err));
    TRY(mem_array(1, sizeof *m->strings, "token masks", &m->strings, err));
    TRY(mask_cache_open(m->strings, STRING_MASKS, m->words, err));
    TRY(mem_array(2 * (size_t)count, sizeof *ids, "token masks", &ids, err));
    gptoss_status status = sort_tokens(m, ids, ids + count, err);
    free(ids);
    return status;
}

gptoss_status token_mask_open(const tokenizer *t, token_mask **out, gptoss_error *err) {
    token_mask *m;
    TRY(mem_array(1, sizeof *m, "token masks", &m, err));
    m->tokenizer = t;
    gptoss_status status = build(m, err);
    if (status != GPTOSS_OK) {
        token_mask_close(m);
        return status;
    }
    *out = m;
    return GPTOSS_OK;
}

void token_mask_close(token_mask *m) {
    if (!m) return;
    if (m->strings) mask_cache_close(m->strings);
    token_trie_close(&m->inside);
    token_trie_close(&m->others);
    free(m->strings);
    free(m->ends);
    free(m->normal);
    free(m->characters);
    free(m->last);
    free(m);
}

/* ---- Walks ---- */

gptoss_status token_walk_open(const token_mask *m, token_walk *out, gptoss_error *err) {
    size_t deepest = m->inside.deepest > m->others.deepest ? m->inside.deepest : m->others.deepest;
    token_walk w = {.capacity = 2 * JSON_MACHINE_POSITIONS};
    gptoss_status status = mem_array(w.capacity, sizeof *w.positions, "token masks", &w.positions, err);
    if (status == GPTOSS_OK) status = mem_array(deepest + 2, sizeof *w.ends, "token masks", &w.ends, err);
    if (status == GPTOSS_OK) status = mem_array(deepest + 2, sizeof *w.states, "token masks", &w.states, err);
    if (status == GPTOSS_OK) status = mem_array(m->words, sizeof *w.mask, "token masks", &w.mask, err);
    if (status != GPTOSS_OK) {
        token_walk_close(&w);
        return status;
    }
    *out = w;
    return GPTOSS_OK;
}

void token_walk_close(token_walk *w) {
    free(w->positions);
    free(w->ends);
    free(w->states);
    free(w->mask);
    *w = (token_walk){0};
}

/* Makes room for one more step on top of `used` positions. */
static gptoss_status make_room(token_walk *w, size_t used, gptoss_error *err) {
    if (used + JSON_MACHINE_POSITIONS <= w->capacity) return GPTOSS_OK;
    TRY(mem_resize(&w->positions, 2 * w->capacity, sizeof *w->positions, "token masks", err));
    w->capacity *= 2;
    return GPTOSS_OK;
}

/* Tries all tokens of a tree from the positions at the bottom of the stack, w->ends[0] of them. */
static gptoss_status walk_all(const token_trie *t, const json_grammar *g, token_walk *w, uint64_t *mask,
                              gptoss_error *err) {
    for (uint32_t i = 0; i < t->count;) {
        uint16_t depth = t->depth[i];
        size_t begin = depth > 1 ? w->ends[depth - 2] : 0, end = w->ends[depth - 1];
        TRY(make_room(w, end, err));
        size_t count = json_machine_step(g, w->positions + begin, end - begin, t->byte[i], w->positions + end,
                                         JSON_MACHINE_POSITIONS);
        w->ends[depth] = end + count;
        if (count && t->token[i] != TOKEN_TRIE_NONE) token_mask_set(mask, t->token[i]);
        i = count ? i + 1 : t->skip[i];
    }
    return GPTOSS_OK;
}

/* Within a character: tokens of `inside` that go on from `state`, and then may add `room` more characters or, in a
 * key, begin characters in their first `room` bytes. */
static void walk_string(const token_mask *m, uint8_t state, uint32_t room, bool key, token_walk *w, uint64_t *mask) {
    const token_trie *t = &m->inside;
    uint16_t *states = w->states; /* the state in the low byte, characters begun in the high one */
    states[0] = state;
    for (uint32_t i = 0; i < t->count;) {
        uint16_t depth = t->depth[i], before = states[depth - 1];
        uint8_t at = (uint8_t)before, begun = (uint8_t)(before >> 8), byte = t->byte[i];
        bool begins = at == JSON_TEXT_BETWEEN;
        bool fits = !begins || (key ? depth - 1u < room : begun < room);
        uint8_t next = fits && !(key && byte == '\\') ? json_text_step(at, byte) : JSON_TEXT_DEAD;
        states[depth] = (uint16_t)(next | (begun + begins) << 8);
        if (next == JSON_TEXT_DEAD) {
            i = t->skip[i];
            continue;
        }
        if (t->token[i] != TOKEN_TRIE_NONE) token_mask_set(mask, t->token[i]);
        i++;
    }
}

static void walk_pattern(const token_mask *m, const byte_dfa *d, uint16_t state, token_walk *w, uint64_t *mask) {
    const token_trie *t = &m->inside;
    uint16_t *states = w->states;
    states[0] = state;
    for (uint32_t i = 0; i < t->count;) {
        uint16_t depth = t->depth[i], next = byte_dfa_step(d, states[depth - 1], t->byte[i]);
        states[depth] = next;
        if (next == BYTE_DFA_DEAD) {
            i = t->skip[i];
            continue;
        }
        if (t->token[i] != TOKEN_TRIE_NONE) token_mask_set(mask, t->token[i]);
        i++;
    }
}

static void add_mask(const token_mask *m, const uint64_t *from, uint64_t *mask) {
    for (size_t i = 0; i < m->words; i++) mask[i] |= from[i];
}

/* Adds the tokens whose measure is at most `most`. */
static void add_up_to(const token_mask *m, const uint8_t *measures, uint32_t most, uint64_t *mask) {
    uint32_t count = tokenizer_count(m->tokenizer);
    uint8_t limit = most < NEVER - 1 ? (uint8_t)most : NEVER - 1;
    for (uint32_t i = 0; i < count / 64; i++) {
        uint64_t word = 0;
        for (uint32_t j = 0; j < 64; j++) word |= (uint64_t)(measures[64 * i + j] <= limit) << j;
        mask[i] |= word;
    }
    for (uint32_t id = count / 64 * 64; id < count; id++)
        if (measures[id] <= limit) token_mask_set(mask, id);
}

/* Tokens of `inside` in a string, or in a key that may be any. */
static void add_string(const token_mask *m, uint8_t state, uint32_t room, bool key, token_walk *w, uint64_t *mask) {
    if (room > INSIDE_BYTES) room = INSIDE_BYTES;
    if (state == JSON_TEXT_BETWEEN && room == 0) return;
    uint64_t id = (uint64_t)state << 32 | (uint64_t)key << 31 | room;
    if (mask_cache_find(m->strings, id, mask)) return;
    memset(w->mask, 0, m->words * sizeof *w->mask);
    if (state == JSON_TEXT_BETWEEN)
        add_up_to(m, key ? m->last : m->characters, key ? room - 1 : room, w->mask);
    else
        walk_string(m, state, room, key, w, w->mask);
    mask_cache_add(m->strings, id, w->mask);
    add_mask(m, w->mask, mask);
}

static void add_pattern(const token_mask *m, const json_grammar *g, mask_cache *patterns, const json_position *p,
                        token_walk *w, uint64_t *mask) {
    uint32_t pattern = g->nodes[p->node].first;
    uint64_t id = (uint64_t)pattern << 32 | p->a;
    if (mask_cache_find(patterns, id, mask)) return;
    memset(w->mask, 0, m->words * sizeof *w->mask);
    walk_pattern(m, &g->patterns[pattern], (uint16_t)p->a, w, w->mask);
    mask_cache_add(patterns, id, w->mask);
    add_mask(m, w->mask, mask);
}

/* Adds the tokens of `inside` that may come at *p, if they can be told without a walk. Otherwise *rest is what a walk
 * must begin from. */
static bool add_known(const token_mask *m, const json_grammar *g, mask_cache *patterns, const json_position *p,
                      token_walk *w, uint64_t *mask, json_position *rest) {
    *rest = *p;
    switch ((json_phase)p->phase) {
    case JSON_IN_STRING: {
        uint32_t most = g->nodes[p->node].max;
        add_string(m, p->state, most == JSON_GRAMMAR_NO_LIMIT ? UINT32_MAX : most - p->a, false, w, mask);
        return true;
    }
    case JSON_IN_PATTERN: add_pattern(m, g, patterns, p, w, mask); return true;
    case JSON_IN_KEY: {
        uint32_t limit = g->nodes[p->levels[p->depth - 1].node].key_limit;
        if (p->open) add_string(m, p->state, limit > p->c ? limit - p->c : 0, true, w, mask);
        rest->open = rest->state = 0; /* what is left are the listed names */
        return p->open && p->a == p->b;
    }
    default: return false;
    }
}

gptoss_status token_mask_json(const token_mask *m, const json_grammar *g, mask_cache *patterns,
                              const json_position *positions, size_t count, token_walk *walk, uint64_t *mask,
                              gptoss_error *err) {
    size_t kept = 0;
    for (size_t i = 0; i < count; i++)
        if (!add_known(m, g, patterns, &positions[i], walk, mask, &walk->positions[kept])) kept++;
    walk->ends[0] = kept;
    if (kept) TRY(walk_all(&m->inside, g, walk, mask, err));
    memcpy(walk->positions, positions, count * sizeof *positions);
    walk->ends[0] = count;
    return walk_all(&m->others, g, walk, mask, err);
}
