/* row.h: what comes back to rank 0 for a token that wanted logits. */
#ifndef CLUSTER_ROW_H
#define CLUSTER_ROW_H

#include "model/shortlist.h"

/* Borrowed. */
typedef struct logits_row {
    const shortlist *list; /* as it was wished for; NULL when all logits were */
    float *logits;         /* [n_vocab], writable; NULL when they are with other ranks: see pipeline_fetch */
} logits_row;

#endif
