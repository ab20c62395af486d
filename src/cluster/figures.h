/* figures.h: what a rank's time went to, as rank 0 hears of it: with each of its results. */
#ifndef CLUSTER_FIGURES_H
#define CLUSTER_FIGURES_H

#include <stdint.h>

/* Since the pipeline was opened. Seconds. */
typedef struct rank_figures {
    uint64_t waves; /* that came to its stage */
    double busy;    /* at layers and logits */
    double sums;    /* in the midst of layers, for sums with other shards; most of it waiting */
    double waited;  /* for waves, jobs and results */
} rank_figures;

#endif
