#include "text/constraint_plan.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/pattern.h"

enum { PATTERN_MASKS = 256, NAME_MAX_BYTES = 64, HEADER_BYTES = 160 };

/* Special tokens as bytes. */
#define START "\xF8"
#define MESSAGE "\xFA"
#define CHANNEL "\xFB"
#define CONSTRAIN "\xFD"
_Static_assert(CONSTRAINT_SPECIAL + HARMONY_START == 0xF8 && CONSTRAINT_SPECIAL + HARMONY_MESSAGE == 0xFA &&
                   CONSTRAINT_SPECIAL + HARMONY_CHANNEL == 0xFB && CONSTRAINT_SPECIAL + HARMONY_CONSTRAIN == 0xFD,
               "special tokens as bytes");

void constraint_plan_close(constraint_plan *p) {
    if (!p || atomic_fetch_sub(&p->users, 1) > 1) return;
    for (uint32_t i = 0; i < p->kind_count; i++) {
        json_grammar_close(p->kinds[i].grammar);
        mask_cache_close(&p->kinds[i].patterns);
    }
    for (uint32_t i = 0; i < p->header_count; i++) free(p->headers[i].text);
    free(p->kinds);
    free(p->headers);
    free(p);
}

/* ---- Kinds of messages ---- */

/* Takes over the grammar, which may be NULL. */
static gptoss_status add_kind(constraint_plan *p, constraint_role role, bool wanted, json_grammar *grammar,
                              gptoss_error *err) {
    constraint_kind *k = &p->kinds[p->kind_count++];
    *k = (constraint_kind){.role = role, .grammar = grammar, .wanted = wanted};
    if (!grammar) return GPTOSS_OK;
    if (64 + 2 * grammar->largest > p->margin) p->margin = 64 + 2 * grammar->largest;
    return mask_cache_open(&k->patterns, PATTERN_MASKS, p->masks->words, err);
}

/* One header of the newest kind. */
static gptoss_status add_header(constraint_plan *p, gptoss_error *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static gptoss_status add_header(constraint_plan *p, gptoss_error *err, const char *format, ...) {
    constraint_header header = {.kind = p->kind_count - 1};
    if (p->header_count == p->header_capacity) {
        uint32_t capacity = p->header_capacity ? 2 * p->header_capacity : 32;
        TRY(mem_resize(&p->headers, capacity, sizeof *p->headers, "constraint", err));
        p->header_capacity = capacity;
    }
    TRY(mem_array(HEADER_BYTES, 1, "constraint", &header.text, err));
    va_list arguments;
    va_start(arguments, format);
    header.size = (uint32_t)vsnprintf(header.text, HEADER_BYTES, format, arguments);
    va_end(arguments);
    p->headers[p->header_count++] = header;
    return GPTOSS_OK;
}

/* A header with a type in each of the ways that models write it. */
static gptoss_status add_typed(constraint_plan *p, const char *start, const char *type, gptoss_error *err) {
    TRY(add_header(p, err, "%s" MESSAGE, start));
    TRY(add_header(p, err, "%s %s" MESSAGE, start, type));
    if (p->harmony.ids[HARMONY_CONSTRAIN] == UINT32_MAX) return GPTOSS_OK;
    TRY(add_header(p, err, "%s " CONSTRAIN "%s" MESSAGE, start, type));
    return add_header(p, err, "%s" CONSTRAIN "%s" MESSAGE, start, type);
}

/* The recipient may stand in either place. */
static gptoss_status add_call(constraint_plan *p, const char *recipient, const char *channel, const char *type,
                              gptoss_error *err) {
    char start[HEADER_BYTES];
    snprintf(start, sizeof start, CHANNEL "%s to=%s", channel, recipient);
    TRY(add_typed(p, start, type, err));
    snprintf(start, sizeof start, " to=%s" CHANNEL "%s", recipient, channel);
    return add_typed(p, start, type, err);
}

/* ---- Rules ---- */

static bool is_name(const char *name) {
    size_t size = name ? strlen(name) : 0;
    for (size_t i = 0; i < size; i++) {
        char c = name[i], low = (char)(c | 0x20);
        if (!(low >= 'a' && low <= 'z') && !(c >= '0' && c <= '9') && c != '_' && c != '-' && c != '.') return false;
    }
    return size > 0 && size <= NAME_MAX_BYTES;
}

/* What a function is passed. */
static gptoss_status open_arguments(constraint_plan *p, const harmony_function *f, json_grammar **out,
                                    gptoss_error *err) {
    gptoss_error why;
    if (!f->parameters) return json_grammar_open_object(out, err);
    gptoss_status status = json_grammar_open_arguments(f->parameters, &p->pattern_work, out, &why);
    if (status == GPTOSS_BAD_INPUT && !f->strict) return json_grammar_open_object(out, err);
    if (status == GPTOSS_OK) return GPTOSS_OK;
    return error_set(err, status, "function %s: %s", f->name, why.text);
}

static gptoss_status add_function(constraint_plan *p, const constraint_rules *r, const harmony_function *f,
                                  gptoss_error *err) {
    json_grammar *grammar;
    char recipient[NAME_MAX_BYTES + 16];
    if (!is_name(f->name))
        return error_set(
            err, GPTOSS_MISUSE,
            "\"%s\" cannot be a function's name: 1 to 64 letters, digits, underscores, dashes and dots can",
            f->name ? f->name : "");
    bool named = r->choice != CONSTRAINT_NAMED || strcmp(f->name, r->name) == 0;
    if (r->choice == CONSTRAINT_NONE || !named || f->barred) return GPTOSS_OK;
    TRY(open_arguments(p, f, &grammar, err));
    TRY(add_kind(p, CONSTRAINT_CALL, true, grammar, err));
    snprintf(recipient, sizeof recipient, "functions.%s", f->name);
    return add_call(p, recipient, "commentary", "json", err);
}

static gptoss_status add_tool(constraint_plan *p, const char *recipient, bool json, gptoss_error *err) {
    json_grammar *grammar = NULL;
    if (json) TRY(json_grammar_open_object(&grammar, err));
    TRY(add_kind(p, CONSTRAINT_TOOL, true, grammar, err));
    TRY(add_call(p, recipient, "analysis", "code", err));
    return add_call(p, recipient, "commentary", "code", err);
}

static gptoss_status add_final(constraint_plan *p, const constraint_rules *r, bool wanted, gptoss_error *err) {
    json_grammar *grammar = NULL;
    gptoss_status status = GPTOSS_OK;
    if (r->schema) status = json_grammar_open(r->schema, &p->pattern_work, &grammar, err);
    if ((status == GPTOSS_BAD_INPUT && r->lenient) || (r->json && !r->schema))
        status = json_grammar_open_object(&grammar, err);
    TRY(status);
    TRY(add_kind(p, CONSTRAINT_FINAL, wanted, grammar, err));
    return grammar ? add_typed(p, CHANNEL "final", "json", err) : add_header(p, err, CHANNEL "final" MESSAGE);
}

static gptoss_status add_messages(constraint_plan *p, const constraint_rules *r, gptoss_error *err) {
    bool must_call = r->choice == CONSTRAINT_REQUIRED || r->choice == CONSTRAINT_NAMED;
    TRY(add_final(p, r, !must_call, err));
    if (r->plain) return GPTOSS_OK;
    TRY(add_kind(p, CONSTRAINT_ANALYSIS, true, NULL, err));
    TRY(add_header(p, err, CHANNEL "analysis" MESSAGE));
    if (!r->schema && !r->json) { /* a preamble would be part of the JSON that the user sees */
        TRY(add_kind(p, CONSTRAINT_PREAMBLE, true, NULL, err));
        TRY(add_header(p, err, CHANNEL "commentary" MESSAGE));
    }
    for (size_t i = 0; i < r->function_count; i++) TRY(add_function(p, r, &r->functions[i], err));
    if (must_call) return GPTOSS_OK; /* calls of other tools would not count */
    if (r->python) TRY(add_tool(p, "python", false, err));
    if (!r->browser) return GPTOSS_OK;
    TRY(add_tool(p, "browser.search", true, err));
    TRY(add_tool(p, "browser.open", true, err));
    return add_tool(p, "browser.find", true, err);
}

static gptoss_status check_rules(const constraint_rules *r, gptoss_error *err) {
    bool found = false, any = false;
    for (size_t i = 0; i < r->function_count; i++) {
        const harmony_function *f = &r->functions[i];
        any |= !f->barred;
        found |= !f->barred && r->name && f->name && strcmp(f->name, r->name) == 0;
    }
    if (r->plain && !r->json && !r->schema)
        return error_set(err, GPTOSS_MISUSE, "plain text can only be constrained to JSON");
    if (!r->plain && r->choice == CONSTRAINT_REQUIRED && !any)
        return error_set(err, GPTOSS_MISUSE, "a function must be called, but there is none that may be");
    if (!r->plain && r->choice == CONSTRAINT_NAMED && !found)
        return error_set(err, GPTOSS_MISUSE, "the function %s must be called, but there is no such one",
                         r->name ? r->name : "without a name");
    return GPTOSS_OK;
}

static int by_text(const void *a, const void *b) {
    return strcmp(((const constraint_header *)a)->text, ((const constraint_header *)b)->text);
}

static gptoss_status build(constraint_plan *p, const constraint_rules *r, gptoss_error *err) {
    TRY(mem_array(r->function_count + 8, sizeof *p->kinds, "constraint", &p->kinds, err));
    TRY(add_messages(p, r, err));
    qsort(p->headers, p->header_count, sizeof *p->headers, by_text);
    for (uint32_t i = 1; i < p->header_count; i++)
        if (strcmp(p->headers[i - 1].text, p->headers[i].text) == 0)
            return error_set(err, GPTOSS_MISUSE, "two functions have the same name");
    return GPTOSS_OK;
}

gptoss_status constraint_plan_open(const harmony *h, const token_mask *m, const constraint_rules *rules,
                                   constraint_plan **out, gptoss_error *err) {
    constraint_plan *p;
    TRY(check_rules(rules, err));
    TRY(mem_array(1, sizeof *p, "constraint", &p, err));
    p->harmony = *h;
    p->masks = m;
    p->users = 1;
    p->rules = *rules;
    p->rules.functions = NULL;
    p->rules.schema = NULL;
    p->rules.name = NULL;
    p->margin = 64;
    p->pattern_work = PATTERN_WORK;
    p->end_of_answer = h->ids[HARMONY_RETURN];
    p->end_of_call = h->ids[HARMONY_CALL] != UINT32_MAX ? h->ids[HARMONY_CALL] : p->end_of_answer;
    gptoss_status status = build(p, rules, err);
    if (status != GPTOSS_OK) {
        constraint_plan_close(p);
        return status;
    }
    *out = p;
    return GPTOSS_OK;
}
