#include "text/pieces.h"

#include <stdlib.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/mem.h"

struct piece_pattern {
    pcre2_code *code;
    pcre2_match_context *limits;
};

/* The pattern of o200k (published with tiktoken), with one difference in notation: \s is written out as the characters
 * with the White_Space property, since PCRE2's own \s includes U+180E besides. Which characters are letters, marks and
 * numbers is up to the Unicode version of the PCRE2 library.
 *
 * Every character begins a match of some alternative, and what an alternative reads beyond its match is consumed by the
 * next match or the one after, which is why cutting up a text takes linear time. */
#define SPACE "\\t-\\r\\x{85}\\p{Z}"
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define LEAD "[^\\r\\n\\p{L}\\p{N}]?"
#define CONTRACTION "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"

#define WORD LEAD UPPER "*" LOWER "+" CONTRACTION
#define CAPITALS LEAD UPPER "+" LOWER "*" CONTRACTION
#define NUMBER "\\p{N}{1,3}"
#define SYMBOLS " ?[^" SPACE "\\p{L}\\p{N}]+[\\r\\n/]*"
#define LINES "[" SPACE "]*[\\r\\n]+"
#define SPACES "[" SPACE "]+(?![^" SPACE "])" /* leaves the last one to the word that follows */

static const char pattern_text[] = WORD "|" CAPITALS "|" NUMBER "|" SYMBOLS "|" LINES "|" SPACES "|[" SPACE "]+";

void pieces_close(piece_pattern *pattern) {
    if (!pattern) return;
    pcre2_code_free(pattern->code);
    pcre2_match_context_free(pattern->limits);
    free(pattern);
}

gptoss_status pieces_open(piece_pattern **out, gptoss_error *err) {
    piece_pattern *pattern;
    TRY(mem_array(1, sizeof *pattern, "tokenizer's pattern", &pattern, err));
    int number = 0;
    size_t where;
    /* Anchored here and not at match time, which the JIT compiler would not support. */
    uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_ANCHORED | PCRE2_NO_UTF_CHECK;
    pattern->code = pcre2_compile((PCRE2_SPTR)pattern_text, PCRE2_ZERO_TERMINATED, options, &number, &where, NULL);
    pattern->limits = pcre2_match_context_create(NULL);
    if (!pattern->code || !pattern->limits) {
        pieces_close(pattern);
        return error_set(err, GPTOSS_INTERNAL, "the PCRE2 library does not take the tokenizer's pattern (error %d)",
                         number);
    }
    /* The default limits guard against patterns that explode; this one cannot, but a long word may reach them. */
    pcre2_set_match_limit(pattern->limits, UINT32_MAX);
    pcre2_set_depth_limit(pattern->limits, UINT32_MAX);
    pcre2_set_heap_limit(pattern->limits, UINT32_MAX);
    pcre2_jit_compile(pattern->code, PCRE2_JIT_COMPLETE); /* where there is no JIT, matching is only slower */
    *out = pattern;
    return GPTOSS_OK;
}

gptoss_status pieces_begin(const piece_pattern *pattern, const char *text, size_t size, pieces *out,
                           gptoss_error *err) {
    void *match = pcre2_match_data_create(1, NULL);
    if (!match) return error_set(err, GPTOSS_NO_MEMORY, "cannot allocate memory for cutting up text");
    *out = (pieces){.pattern = pattern, .text = text, .size = size, .match = match};
    return GPTOSS_OK;
}

void pieces_end(pieces *walk) { pcre2_match_data_free(walk->match); }

gptoss_status pieces_next(pieces *walk, size_t *piece, gptoss_error *err) {
    *piece = 0;
    if (walk->at == walk->size) return GPTOSS_OK;
    const piece_pattern *pattern = walk->pattern;
    PCRE2_SPTR text = (PCRE2_SPTR)walk->text;
    uint32_t options = PCRE2_NO_UTF_CHECK; /* or each call would check the whole rest of the text */
    int found = pcre2_match(pattern->code, text, walk->size, walk->at, options, walk->match, pattern->limits);
    if (found == PCRE2_ERROR_JIT_STACKLIMIT)
        found = pcre2_match(pattern->code, text, walk->size, walk->at, options | PCRE2_NO_JIT, walk->match,
                            pattern->limits);
    size_t end = found > 0 ? pcre2_get_ovector_pointer(walk->match)[1] : walk->at;
    if (end <= walk->at)
        return error_set(err, found == PCRE2_ERROR_NOMEMORY ? GPTOSS_NO_MEMORY : GPTOSS_INTERNAL,
                         "cannot cut the text into words at byte %zu (PCRE2 error %d)", walk->at, found);
    *piece = end - walk->at;
    walk->at = end;
    return GPTOSS_OK;
}
