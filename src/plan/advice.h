/* advice.h: what would help where the memory is too small. */
#ifndef PLAN_ADVICE_H
#define PLAN_ADVICE_H

#include "base/buffer.h"
#include "plan/placement.h"

/* For nodes that a model does not fit. */
typedef struct advice {
    uint64_t missing;      /* bytes that the nodes lack together; 0: it is only that nothing can be cut so */
    uint64_t each_more;    /* bytes with which the model fits when each node has so much more */
    uint32_t more_nodes;   /* that a further stage would take, or one where any grid will do */
    uint64_t another_node; /* memory of each of these, behind the others, with which it fits; 0: none does */
    uint32_t layers;       /* so many first layers fit; 0: none */
    uint32_t shards;       /* so many shards a stage instead of those wished for make the same nodes do; 0: none do */
} advice;

/* GPTOSS_OK also when nothing helps. */
gptoss_status advise(const plan_model *m, const plan_node *nodes, uint32_t n, const plan_wish *wish, advice *out,
                     gptoss_error *err);

/* Appends that for people: "1.20 GiB are missing in all. It would fit with ...; or ...". */
gptoss_status advice_describe(const advice *a, uint32_t ranks, buffer *out, gptoss_error *err);

#endif
