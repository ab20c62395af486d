/* forecast.h: how fast a placement will be, and what would help where the memory is too small.
 *
 * A wave of b tokens takes, when few tokens stand before it and no two of them share their experts by more than chance,
 *
 *   in each layer of a stage    the slowest shard's time to read its heads' weights and what all shards have, once;
 *                               the expected time of the slowest to read the chosen experts (draw.h), which depends on
 *                               how they happen to fall on the shards; what a layer takes beside reading; and, with T
 *                               shards, two sums of b * hop_bytes, each the lesser of
 *                                 latency + (T - 1) * bytes / bandwidth         all send all to all
 *                                 2 * latency + 2 (T - 1)/T * bytes / bandwidth parts are summed, then spread
 *   before the first layer      with several shards: a message that tells them of the wave, and a sum of embeddings
 *   between stages              latency + b * hop_bytes / bandwidth + the time that a waiting rank takes to wake
 *   behind the last layer       a hop to all ranks with rows of the output, the slowest one's time to read these, and a
 *                               hop back with its results,
 *
 * but no less for each token than a fifth of what it takes alone: there reading gives way to computing. A link between
 * ranks that are not neighbours is as slow as the slowest on the way from one to the next. */
#ifndef PLAN_FORECAST_H
#define PLAN_FORECAST_H

#include "plan/placement.h"

typedef struct forecast {
    double token_seconds;   /* of one sequence: all stages, one after the other, and all hops */
    double network_seconds; /* the hops and sums among them */
    double one_stream;      /* tokens a second */
    double all_streams;     /* tokens a second of all sequences together, dealt to a wave for each stage */
} forecast;

gptoss_status forecast_of(const plan_model *m, const placement *p, const plan_node *nodes, const plan_traffic *traffic,
                          forecast *out, gptoss_error *err);

#endif
