/* kv_sizing.h: how many pages the KV pool gets. */
#ifndef ENGINE_KV_SIZING_H
#define ENGINE_KV_SIZING_H

#include "model/kv_cache.h"

typedef struct kv_demand {
    kv_room room;           /* its pages are what is asked for; those that are not 0 are taken as they are */
    uint32_t resume_points; /* of the prefix cache */
    uint64_t memory;        /* bytes for this rank's layers, at most; 0: as much as all sequences at full length need */
} kv_demand;

/* Bytes for a KV cache where nobody says how many: a quarter of the memory to use here, shared by so many ranks. */
uint64_t kv_usual_memory(int local_ranks);

/* pages[]: enough windowed ones for all sequences and resume points, and full ones as far as memory goes. On a rank
 * without full layers memory bounds nothing. GPTOSS_MISUSE when it is too little for anything; the text says how much
 * would do. */
gptoss_status kv_sizing(const hparams *hp, uint32_t layer_begin, uint32_t layer_end, const kv_demand *demand,
                        uint32_t pages[KV_KINDS], gptoss_error *err);

#endif
