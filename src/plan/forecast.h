/* forecast.h: how fast a placement will be, and what would help where the memory is too small. */
#ifndef PLAN_FORECAST_H
#define PLAN_FORECAST_H

#include "plan/placement.h"

typedef struct plan_link {
    double latency;   /* seconds, one way */
    double bandwidth; /* bytes a second */
} plan_link;

/* What goes over the links. */
typedef struct plan_traffic {
    uint64_t hop_bytes;    /* of one token, from stage to stage */
    uint64_t result_bytes; /* from the last stage to the first */
    uint32_t streams;      /* sequences at once */
} plan_traffic;

typedef struct forecast {
    double token_seconds;   /* of one sequence: all stages, one after the other, and all hops */
    double network_seconds; /* the hops among them */
    double one_stream;      /* tokens a second */
    double all_streams;     /* tokens a second of all sequences together, each in waves of its own */
} forecast;

/* links[i] leads from node i to the next, the last one back to node 0. */
forecast forecast_of(const placement *p, const plan_link *links, const plan_traffic *traffic);

/* The last node reads the output matrix for every token, a fifth of all that a 20b model reads. *last: the node that
 * should be it, all others keeping their order; n - 1 where no other would make the whole faster by a twentieth.
 * *speed: what would be predicted then. */
gptoss_status forecast_best_last(const plan_model *m, const plan_node *nodes, const plan_link *links, uint32_t n,
                                 plan_goal goal, const plan_traffic *traffic, uint32_t *last, forecast *speed,
                                 gptoss_error *err);

/* For nodes that a model does not fit. */
typedef struct advice {
    uint64_t missing;      /* bytes that the nodes lack together; 0: it is only that layers cannot be cut so */
    uint64_t each_more;    /* bytes with which the model fits when each node has so much more */
    uint64_t another_node; /* memory of one more node, behind the others, with which it fits; 0: none does */
    uint32_t layers;       /* so many first layers fit; 0: none */
} advice;

/* GPTOSS_OK also when nothing helps. */
gptoss_status advise(const plan_model *m, const plan_node *nodes, uint32_t n, advice *out, gptoss_error *err);

#endif
