#include "text/constraint.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/constraint_plan.h"

enum {
    MAX_MESSAGES = 24, /* of reasoning and preambles in a turn; then it must come to an end */
    MAX_CALLS = 16
};

/* What stands before the header of every message but the first; the first byte is a special token. */
static const char opening[] = "\xF8"
                              "assistant";
enum { OPENING_SIZE = sizeof opening - 1 };

typedef enum phase { IN_OPENING, IN_HEADER, IN_TEXT, ENDED } phase;

/* A place in a turn: everything that changes. */
typedef struct place {
    phase phase;
    uint32_t at;              /* bytes of the opening or the header so far */
    uint32_t low, high;       /* headers[low, high) begin like that */
    uint32_t kind;            /* of the message, in its text */
    uint32_t messages, calls; /* begun so far */
    bool limited;
    uint64_t tokens; /* that may still come, if limited */
} place;

struct constraint {
    constraint_plan *plan;
    place place;
    json_position *positions; /* [JSON_MACHINE_POSITIONS] in the text, if it has a grammar */
    json_position *next;      /* [JSON_MACHINE_POSITIONS] scratch */
    size_t count;
    token_walk walk;
    place *places; /* [deepest + 1] scratch */
};

void constraint_close(constraint *c) {
    if (!c) return;
    constraint_plan_close(c->plan);
    token_walk_close(&c->walk);
    free(c->positions);
    free(c->next);
    free(c->places);
    free(c);
}

static const constraint_kind *kind_of(const constraint *c) { return &c->plan->kinds[c->place.kind]; }

static void begin_text(constraint *c, uint32_t kind) {
    c->place.phase = IN_TEXT;
    c->place.kind = kind;
    constraint_role role = kind_of(c)->role;
    if (role == CONSTRAINT_ANALYSIS || role == CONSTRAINT_PREAMBLE) c->place.messages++;
    if (role == CONSTRAINT_CALL) c->place.calls++;
    if (!kind_of(c)->grammar) return;
    json_machine_start(kind_of(c)->grammar, &c->positions[0]);
    c->count = 1;
}

void constraint_reset(constraint *c) {
    c->place = (place){.phase = IN_HEADER, .high = c->plan->header_count};
    if (c->plan->rules.plain) begin_text(c, 0);
}

/* Takes over the plan. */
static gptoss_status open_state(constraint_plan *plan, constraint **out, gptoss_error *err) {
    constraint *c;
    const token_mask *m = plan->masks;
    size_t deepest = m->inside.deepest > m->others.deepest ? m->inside.deepest : m->others.deepest;
    gptoss_status status = mem_array(1, sizeof *c, "constraint", &c, err);
    if (status != GPTOSS_OK) {
        constraint_plan_close(plan);
        return status;
    }
    c->plan = plan;
    status = mem_array(JSON_MACHINE_POSITIONS, sizeof *c->positions, "constraint", &c->positions, err);
    if (status == GPTOSS_OK) status = mem_array(JSON_MACHINE_POSITIONS, sizeof *c->next, "constraint", &c->next, err);
    if (status == GPTOSS_OK) status = mem_array(deepest + 1, sizeof *c->places, "constraint", &c->places, err);
    if (status == GPTOSS_OK) status = token_walk_open(m, &c->walk, err);
    if (status != GPTOSS_OK) {
        constraint_close(c);
        return status;
    }
    constraint_reset(c);
    *out = c;
    return GPTOSS_OK;
}

gptoss_status constraint_open(const harmony *h, const token_mask *m, const constraint_rules *rules, constraint **out,
                              gptoss_error *err) {
    constraint_plan *plan;
    TRY(constraint_plan_open(h, m, rules, &plan, err));
    return open_state(plan, out, err);
}

gptoss_status constraint_clone(const constraint *c, constraint **out, gptoss_error *err) {
    constraint *copy;
    atomic_fetch_add(&c->plan->users, 1);
    TRY(open_state(c->plan, &copy, err));
    copy->place = c->place;
    copy->count = c->count;
    memcpy(copy->positions, c->positions, c->count * sizeof *c->positions);
    *out = copy;
    return GPTOSS_OK;
}

/* ---- Headers ---- */

static bool ends_turn(const constraint_kind *k) { return k->role >= CONSTRAINT_FINAL; }

/* Whether a message of this kind may come next, by what came before it. */
static bool kind_is_allowed(const place *p, const constraint_kind *k) {
    if (!k->wanted) return false;
    if (p->calls > 0) return k->role == CONSTRAINT_CALL && p->calls < MAX_CALLS;
    return ends_turn(k) || p->messages < MAX_MESSAGES;
}

static bool header_is_allowed(const constraint *c, const place *p, uint32_t header) {
    return kind_is_allowed(p, &c->plan->kinds[c->plan->headers[header].kind]);
}

/* The first of headers[low, high), which begin alike, whose byte `at` is not below `byte`. */
static uint32_t first_from(const constraint_header *headers, uint32_t low, uint32_t high, uint32_t at, unsigned byte) {
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if ((uint8_t)headers[middle].text[at] < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The next byte of a header or of what stands before it; false when it cannot follow. *ended: it was the last. */
static bool step_header(const constraint *c, place *p, uint8_t byte, bool *ended) {
    *ended = false;
    if (p->phase == IN_OPENING) {
        if ((uint8_t)opening[p->at] != byte) return false;
        if (++p->at < OPENING_SIZE) return true;
        p->phase = IN_HEADER;
        p->at = 0;
        p->low = 0;
        p->high = c->plan->header_count;
        return true;
    }
    const constraint_header *headers = c->plan->headers;
    uint32_t low = first_from(headers, p->low, p->high, p->at, byte);
    uint32_t end = first_from(headers, low, p->high, p->at, byte + 1u);
    bool allowed = false;
    for (uint32_t i = low; i < end && !allowed; i++) allowed = header_is_allowed(c, p, i);
    if (!allowed) return false;
    p->low = low;
    p->high = end;
    p->at++;
    *ended = headers[low].size == p->at;
    return true;
}

/* The bytes of a text token; a header does not end within one, since a special token ends it. */
static bool step_header_text(const constraint *c, place *p, const char *bytes, size_t size) {
    bool ended;
    for (size_t i = 0; i < size; i++)
        if ((uint8_t)bytes[i] >= CONSTRAINT_SPECIAL || !step_header(c, p, (uint8_t)bytes[i], &ended)) return false;
    return true;
}

/* ---- How far it is to the end of the turn ---- */

static uint64_t kind_left(const constraint_kind *k) { return constraint_kind_size(k) + (uint64_t)1; }

/* From the beginning of a header. */
static uint64_t goal(const constraint_plan *plan, const place *p) {
    uint64_t best = UINT64_MAX;
    for (uint32_t i = 0; i < plan->header_count; i++) {
        const constraint_header *h = &plan->headers[i];
        const constraint_kind *k = &plan->kinds[h->kind];
        uint64_t left = h->size + kind_left(k);
        if (ends_turn(k) && kind_is_allowed(p, k) && left < best) best = left;
    }
    return best;
}

/* From within a header: to the end of the shortest one that ends the turn, or else of any. */
static uint64_t header_left(const constraint *c, const place *p) {
    uint64_t best = UINT64_MAX, other = UINT64_MAX;
    for (uint32_t i = p->low; i < p->high; i++) {
        const constraint_header *h = &c->plan->headers[i];
        const constraint_kind *k = &c->plan->kinds[h->kind];
        uint64_t left = h->size - p->at;
        if (!kind_is_allowed(p, k)) continue;
        if (ends_turn(k) && left + kind_left(k) < best) best = left + kind_left(k);
        if (left < other) other = left;
    }
    return best != UINT64_MAX ? best : other + 1 + OPENING_SIZE + goal(c->plan, p);
}

static uint64_t text_left(const constraint *c) {
    const constraint_kind *k = kind_of(c);
    uint64_t best = UINT64_MAX;
    if (!ends_turn(k)) return 1 + OPENING_SIZE + goal(c->plan, &c->place);
    if (!k->grammar) return 1;
    for (size_t i = 0; i < c->count; i++) {
        uint64_t left = json_machine_left(k->grammar, &c->positions[i]);
        if (left < best) best = left;
    }
    return best + 1;
}

static uint64_t left(const constraint *c) {
    switch (c->place.phase) {
    case IN_OPENING: return OPENING_SIZE - c->place.at + goal(c->plan, &c->place);
    case IN_HEADER: return header_left(c, &c->place);
    case IN_TEXT: return text_left(c);
    case ENDED: break;
    }
    return 0;
}

void constraint_limit(constraint *c, uint64_t most) {
    c->place.limited = true;
    c->place.tokens = most;
}

uint64_t constraint_least(const constraint *c) { return left(c); }

bool constraint_runs_short(const constraint *c) {
    return c->place.limited && c->place.tokens <= left(c) + c->plan->margin;
}

/* ---- Masks ---- */

static bool may_end(const constraint *c) {
    const json_grammar *g = kind_of(c)->grammar;
    if (!g) return true;
    for (size_t i = 0; i < c->count; i++)
        if (json_machine_may_end(g, &c->positions[i])) return true;
    return false;
}

/* All that is left is to end. */
static bool must_end(const constraint *c) {
    for (size_t i = 0; i < c->count; i++)
        if (c->positions[i].phase != JSON_AT_END) return false;
    return kind_of(c)->grammar;
}

static void allow(const constraint *c, uint32_t token, uint64_t *mask) {
    if (token < tokenizer_count(c->plan->masks->tokenizer)) token_mask_set(mask, token);
}

/* The tokens that end the message at hand. */
static void allow_ends(const constraint *c, bool short_of_tokens, uint64_t *mask) {
    constraint_role role = kind_of(c)->role;
    uint32_t end = c->plan->harmony.ids[HARMONY_END];
    if (c->plan->rules.plain) {
        for (size_t i = 0; i < c->plan->masks->words; i++) mask[i] |= c->plan->masks->ends[i];
        return;
    }
    if (!ends_turn(kind_of(c)))
        allow(c, end, mask);
    else
        allow(c, role == CONSTRAINT_FINAL ? c->plan->end_of_answer : c->plan->end_of_call, mask);
    bool another = role == CONSTRAINT_CALL && c->plan->rules.parallel && c->place.calls < MAX_CALLS;
    if (another && !short_of_tokens) allow(c, end, mask);
}

/* Tries the tokens of a tree as parts of a header. */
static void walk_headers(const constraint *c, const token_trie *t, uint64_t *mask) {
    c->places[0] = c->place;
    for (uint32_t i = 0; i < t->count;) {
        uint16_t depth = t->depth[i];
        bool ended;
        c->places[depth] = c->places[depth - 1];
        if (t->byte[i] >= CONSTRAINT_SPECIAL || !step_header(c, &c->places[depth], t->byte[i], &ended)) {
            i = t->skip[i];
            continue;
        }
        if (t->token[i] != TOKEN_TRIE_NONE) token_mask_set(mask, t->token[i]);
        i++;
    }
}

static void mask_header(const constraint *c, uint64_t *mask) {
    walk_headers(c, &c->plan->masks->inside, mask);
    walk_headers(c, &c->plan->masks->others, mask);
    for (unsigned i = 0; i < HARMONY_SPECIALS; i++) {
        place p = c->place;
        bool ended;
        if (step_header(c, &p, (uint8_t)(CONSTRAINT_SPECIAL + i), &ended)) allow(c, c->plan->harmony.ids[i], mask);
    }
}

/* In a header, when tokens run short: the one byte or special token that leads on by the shortest way. */
static void mask_short_header(const constraint *c, uint64_t *mask) {
    uint64_t best = UINT64_MAX;
    uint32_t token = UINT32_MAX;
    for (unsigned byte = 0; byte < 256; byte++) {
        constraint next = *c;
        bool ended, special = byte >= CONSTRAINT_SPECIAL;
        if (special && byte - CONSTRAINT_SPECIAL >= HARMONY_SPECIALS) continue;
        if (!step_header(c, &next.place, (uint8_t)byte, &ended)) continue;
        const constraint_kind *k = &c->plan->kinds[ended ? c->plan->headers[next.place.low].kind : 0];
        uint64_t then = !ended         ? left(&next)
                        : ends_turn(k) ? kind_left(k)
                                       : 1 + OPENING_SIZE + goal(c->plan, &next.place);
        if (then >= best) continue;
        best = then;
        token = special ? c->plan->harmony.ids[byte - CONSTRAINT_SPECIAL] : c->plan->masks->single[byte];
    }
    allow(c, token, mask);
}

/* In JSON, when tokens run short: the bytes that lead nearer to the end. False when there is none. */
static bool mask_short_json(constraint *c, uint64_t *mask) {
    const json_grammar *g = kind_of(c)->grammar;
    uint64_t before = text_left(c) - 1;
    bool any = false;
    for (unsigned byte = 0; byte < 256; byte++) {
        size_t count = json_machine_step(g, c->positions, c->count, (uint8_t)byte, c->next, JSON_MACHINE_POSITIONS);
        uint64_t best = UINT64_MAX;
        for (size_t i = 0; i < count; i++) {
            uint64_t own = json_machine_left(g, &c->next[i]);
            if (own < best) best = own;
        }
        if (best >= before) continue;
        allow(c, c->plan->masks->single[byte], mask);
        any = true;
    }
    return any;
}

static gptoss_status mask_text(constraint *c, uint64_t *mask, gptoss_error *err) {
    const token_mask *m = c->plan->masks;
    const constraint_kind *k = kind_of(c);
    bool short_of_tokens = constraint_runs_short(c);
    if (may_end(c)) allow_ends(c, short_of_tokens, mask);
    if (short_of_tokens && may_end(c)) return GPTOSS_OK;
    if (!k->grammar) {
        for (size_t i = 0; i < m->words; i++) mask[i] |= m->normal[i];
        return GPTOSS_OK;
    }
    if (short_of_tokens && mask_short_json(c, mask)) return GPTOSS_OK;
    return token_mask_json(m, k->grammar, &c->plan->kinds[c->place.kind].patterns, c->positions, c->count, &c->walk,
                           mask, err);
}

gptoss_status constraint_mask(constraint *c, uint64_t *mask, gptoss_error *err) {
    memset(mask, 0, c->plan->masks->words * sizeof *mask);
    if (c->place.phase == IN_TEXT) return mask_text(c, mask, err);
    if (c->place.phase == ENDED) return GPTOSS_OK;
    if (constraint_runs_short(c))
        mask_short_header(c, mask);
    else
        mask_header(c, mask);
    return GPTOSS_OK;
}

gptoss_status constraint_mask_unlimited(constraint *c, uint64_t *mask, gptoss_error *err) {
    bool limited = c->place.limited;
    c->place.limited = false;
    gptoss_status status = constraint_mask(c, mask, err);
    c->place.limited = limited;
    return status;
}

/* ---- Taking tokens ---- */

static gptoss_status refuse(uint32_t token, gptoss_error *err) {
    return error_set(err, GPTOSS_BAD_INPUT, "token %u is not allowed here", token);
}

static bool is_end(const constraint *c, uint32_t token) {
    bool found = false;
    constraint_role role = kind_of(c)->role;
    const harmony *h = &c->plan->harmony;
    if (c->plan->rules.plain) return tokenizer_ends_text(c->plan->masks->tokenizer, token);
    if (!ends_turn(kind_of(c))) return token == h->ids[HARMONY_END];
    found = token == (role == CONSTRAINT_FINAL ? c->plan->end_of_answer : c->plan->end_of_call);
    if (token != h->ids[HARMONY_END] || role != CONSTRAINT_CALL) return found;
    return c->plan->rules.parallel && c->place.calls < MAX_CALLS;
}

static void end_message(constraint *c, uint32_t token) {
    bool over = c->plan->rules.plain || token != c->plan->harmony.ids[HARMONY_END];
    c->place.phase = over ? ENDED : IN_OPENING;
    c->place.at = 0;
    c->count = 0;
}

/* Where the bytes lead from c->positions, which stay as they are: *count positions, in scratch; NULL when nowhere. */
static const json_position *try_json(constraint *c, const char *bytes, size_t size, size_t *out) {
    const json_grammar *g = kind_of(c)->grammar;
    size_t count = c->count;
    json_position *from = c->walk.positions, *to = c->next;
    memcpy(from, c->positions, count * sizeof *from);
    for (size_t i = 0; i < size && count > 0; i++) {
        json_position *other = from;
        count = json_machine_step(g, from, count, (uint8_t)bytes[i], to, JSON_MACHINE_POSITIONS);
        from = to;
        to = other;
    }
    *out = count;
    return count ? from : NULL;
}

/* Where a token leads in a header or in what stands before it. *ended: it was the header's last. */
static bool try_header(const constraint *c, uint32_t token, const char *bytes, size_t size, place *p, bool *ended) {
    *p = c->place;
    *ended = false;
    for (unsigned i = 0; i < HARMONY_SPECIALS; i++)
        if (token == c->plan->harmony.ids[i]) return step_header(c, p, (uint8_t)(CONSTRAINT_SPECIAL + i), ended);
    return token_mask_has(c->plan->masks->normal, token) && step_header_text(c, p, bytes, size);
}

static bool accept_text(constraint *c, uint32_t token, const char *bytes, size_t size) {
    if (may_end(c) && is_end(c, token)) {
        end_message(c, token);
        return true;
    }
    if (!token_mask_has(c->plan->masks->normal, token)) return false;
    if (!kind_of(c)->grammar) return true;
    const json_position *to = try_json(c, bytes, size, &size);
    if (!to) return false;
    memcpy(c->positions, to, size * sizeof *to);
    c->count = size;
    return true;
}

static bool accept_header(constraint *c, uint32_t token, const char *bytes, size_t size) {
    place p;
    bool ended;
    if (!try_header(c, token, bytes, size, &p, &ended)) return false;
    c->place = p;
    if (ended) begin_text(c, c->plan->headers[p.low].kind);
    return true;
}

gptoss_status constraint_accept(constraint *c, uint32_t token, gptoss_error *err) {
    size_t size;
    const char *bytes = tokenizer_bytes(c->plan->masks->tokenizer, token, &size);
    if (!bytes || c->place.phase == ENDED) return refuse(token, err);
    bool good = c->place.phase == IN_TEXT ? accept_text(c, token, bytes, size) : accept_header(c, token, bytes, size);
    if (!good) return refuse(token, err);
    if (c->place.limited && c->place.tokens > 0) c->place.tokens--;
    return GPTOSS_OK;
}

bool constraint_allows(constraint *c, uint32_t token) {
    size_t size;
    place p;
    bool ended;
    const char *bytes = tokenizer_bytes(c->plan->masks->tokenizer, token, &size);
    if (!bytes || c->place.phase == ENDED) return false;
    if (c->place.phase != IN_TEXT) return try_header(c, token, bytes, size, &p, &ended);
    if (may_end(c) && is_end(c, token)) return true;
    if (!token_mask_has(c->plan->masks->normal, token)) return false;
    return !kind_of(c)->grammar || try_json(c, bytes, size, &size);
}

constraint_state constraint_where(const constraint *c) {
    if (c->place.phase == ENDED) return CONSTRAINT_ENDED;
    if (c->place.phase != IN_TEXT || !ends_turn(kind_of(c)) || !may_end(c)) return CONSTRAINT_GOES_ON;
    return must_end(c) || constraint_runs_short(c) ? CONSTRAINT_MUST_END : CONSTRAINT_MAY_END;
}
