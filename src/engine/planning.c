#include "engine/planning.h"

#include "model/shortlist.h"

enum { USUAL_POSITIONS = 4096 };

uint32_t planning_chunk(uint32_t stages) { return stages == 1 ? 512 : 128; }

/* While the grid is not known the chunk may be that of one stage, the larger one. */
static uint32_t chunk_of(const planning *p) {
    uint32_t stages = p->stages ? p->stages : p->shards ? p->ranks / p->shards : 1;
    return p->chunk ? p->chunk : planning_chunk(stages);
}

plan_wish planning_wish(const planning *p, const hparams *hp) {
    return (plan_wish){.stages = p->stages,
                       .shards = p->shards,
                       .goal = p->goal,
                       .traffic = {.hop_bytes = hp->d_model * sizeof(float),
                                   .result_bytes = sizeof(shortlist),
                                   .streams = p->sequences ? p->sequences : 1}};
}

kv_room planning_room(const planning *p, const hparams *hp) {
    uint32_t positions = p->positions ? p->positions : USUAL_POSITIONS;
    return (kv_room){.sequences = p->sequences ? p->sequences : 1,
                     .positions = positions < hp->context ? positions : hp->context,
                     .chunk = chunk_of(p),
                     .type = p->kv_type};
}
