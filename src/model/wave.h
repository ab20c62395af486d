/* wave.h: the tokens that travel through the stages together, of one sequence or of many.
 *
 * A wave says all that a stage has to know, where keys and values are kept included: stages remember nothing of
 * sequences but the pages of their pool (model/kv_paging.h). */
#ifndef MODEL_WAVE_H
#define MODEL_WAVE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "model/kv_paging.h"
#include "model/shortlist.h"

/* What is wanted of the logits that follow a token: nothing, a shortlist, or all of them. */
typedef enum logits_kind { LOGITS_NONE, LOGITS_LISTED, LOGITS_ALL } logits_kind;

typedef struct logits_wish {
    uint32_t kind;      /* logits_kind; of others than LOGITS_LISTED the rest is 0 */
    uint32_t sums;      /* of the list, as the next: see shortlist_wish */
    double temperature; /* finite, at least 0 */
} logits_wish;

bool logits_wish_is_valid(const logits_wish *w);
shortlist_wish logits_wish_list(const logits_wish *w);

/* One token; also its form in messages between ranks, as the next two. */
typedef struct wave_token {
    uint32_t id;
    uint32_t run;      /* it belongs to */
    uint32_t position; /* in its sequence */
    uint32_t reserved; /* 0 */
    logits_wish logits;
} wave_token;
_Static_assert(sizeof(wave_token) == 32, "wave token");

/* The tokens of one sequence, and the pages that hold what they see, themselves included (kv_paging_seen). */
typedef struct wave_run {
    uint32_t count;        /* of tokens */
    uint32_t pages[2];     /* by kv_kind: where the numbers of its pages begin in wave.pages */
    uint32_t window_first; /* which page of the sequence the first of KV_WINDOW is; of KV_FULL it is 0 */
} wave_run;
_Static_assert(sizeof(wave_run) == 16 && KV_KINDS == 2, "wave run");

/* A page to be copied to another one before anything else happens. */
typedef struct wave_copy {
    uint32_t kind; /* kv_kind */
    uint32_t from, to;
    uint32_t reserved; /* 0 */
} wave_copy;
_Static_assert(sizeof(wave_copy) == 16, "wave copy");

typedef struct wave {
    uint32_t n_tokens, n_runs, n_copies, n_pages;
    wave_token *tokens; /* of run 0, of run 1, ... */
    wave_run *runs;
    wave_copy *copies;
    uint32_t *pages; /* full ones of run 0, windowed ones of run 0, full ones of run 1, ... */
} wave;

/* What a wave may hold: up to `chunk` tokens in up to `runs` runs, each number below its bound. */
typedef struct wave_limits {
    uint32_t chunk, n_vocab, runs, positions;
    kv_paging paging;
} wave_limits;

/* The most of each array that a wave within limits can have; their product with anything fits 64 bits, not always 32.
 */
uint32_t wave_most_copies(const wave_limits *limits);
uint64_t wave_most_pages(const wave_limits *limits);

/* ---- making one ---- */

/* An empty wave with room for all that limits allow. */
gptoss_status wave_open(const wave_limits *limits, wave *out, gptoss_error *err);
void wave_close(wave *w); /* a zeroed one is fine */
void wave_clear(wave *w);

/* Where a sequence's keys and values are: pages[kind][i] is the number of its page first[kind] + i. */
typedef struct wave_place {
    const uint32_t *pages[KV_KINDS];
    uint32_t first[KV_KINDS];
} wave_place;

/* Adds a run: ids[count] at positions from `position` on; for the last `logits_rows` <= count of them `wish` holds. It
 * must fit the limits, and the place hold all pages that it sees. */
void wave_add_run(wave *w, const wave_limits *limits, const uint32_t *ids, uint32_t count, uint32_t position,
                  uint32_t logits_rows, logits_wish wish, const wave_place *place);
void wave_add_copy(wave *w, kv_kind kind, uint32_t from, uint32_t to);

/* How many tokens want logits. */
uint32_t wave_logits_rows(const wave *w);

/* ---- checking one ---- */

/* A valid wave has 1 to chunk tokens, within the limits: those of a run stand side by side at consecutive positions,
 * the runs in order, and each has its pages and no others. No page that a run stores tokens in is another run's, nor
 * twice its own; copies go to such pages only, once each. So no two threads ever write to one place. marks: [pages of
 * both kinds] of scratch, all 0 before and after. */
bool wave_is_valid(const wave *w, const wave_limits *limits, uint32_t *marks);

#endif
