/* shortlist.h: what choosing a token needs of its logits, in a kilobyte: the likeliest tokens, and sums over all.
 *
 * Ranks that hold parts of the vocabulary make one each, and merging these gives that of the whole; only the sums' last
 * bits depend on how it was cut. */
#ifndef MODEL_SHORTLIST_H
#define MODEL_SHORTLIST_H

#include <stdbool.h>
#include <stdint.h>

enum { SHORTLIST_MOST = 128 }; /* entries; the answers of a language model seldom come from further behind */

/* Which sums are wanted: each costs an exponential a token. */
typedef struct shortlist_wish {
    double temperature; /* of `mass`; 0: no mass */
    bool sums;          /* `sum` and `weighted` */
} shortlist_wish;

typedef struct shortlist_entry {
    uint32_t token;
    float logit; /* may be minus infinity */
} shortlist_entry;

/* Also its form in messages between ranks. With `most` for entries[0].logit, which the sums are relative to: */
typedef struct shortlist {
    uint32_t count;   /* entries: SHORTLIST_MOST, or as many tokens as there are */
    uint32_t damaged; /* 1: a logit is NaN or plus infinity, entries[0] tells which, and nothing else has a meaning */
    double sum;       /* of exp(logit - most) */
    double weighted;  /* of exp(logit - most) (logit - most) */
    double mass;      /* of exp((logit - most) / temperature) */
    shortlist_entry entries[SHORTLIST_MOST]; /* the likeliest first, of equals the one with the lower number */
} shortlist;

/* Of logits[count], which belong to tokens [first, first + count). */
void shortlist_make(const float *logits, uint32_t first, uint32_t count, shortlist_wish wish, shortlist *out);

/* Adds what is told of other tokens. The wishes were the same. */
void shortlist_merge(shortlist *into, const shortlist *other, shortlist_wish wish);

/* Whether it can be one of tokens [first, first + count) as a message from elsewhere: counts, tokens and order. */
bool shortlist_is_valid(const shortlist *l, uint32_t first, uint32_t count);

#endif
