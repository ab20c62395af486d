/* stage_internal.h: the state that the files of one stage's arithmetic share. */
#ifndef MODEL_STAGE_INTERNAL_H
#define MODEL_STAGE_INTERNAL_H

#include "model/stage.h"

/* Which tokens go to which experts. A slot is one (token, expert) pair, the expert being one of the slice; slots are
 * sorted by expert, then token. */
typedef struct routing {
    uint32_t *chosen;      /* [chunk][experts_used], as routed */
    float *chosen_weights; /* the same shape */
    uint32_t *slot_token;  /* [chunk * most_slots] */
    float *slot_weight;
    uint32_t *expert_begin; /* [experts + 1]: the slots of expert e are [expert_begin[e], expert_begin[e + 1]) */
    uint32_t most_slots;    /* of a token */
    float *router_logits;   /* [chunk][experts] */
    float *gate, *up;       /* [slots][d_ff]; gate becomes the hidden activation */
    activations hidden;     /* [slots][d_ff]: gate, rounded */
} routing;

/* What a worker did of items that are not its alone; see attention.c. */
typedef struct attention_share {
    uint32_t tail; /* pieces of the item that began before its share */
    uint32_t head; /* pieces, behind these, of the item that goes on behind its share */
    bool begins;   /* items begin in it; the last one is kv_head's of token: */
    bool open;     /* that one goes on */
    uint32_t token, kv_head;
} attention_share;

typedef struct attention {
    double *frequencies; /* [head_dim / 2] */
    float magnitude, scale;
    float *cosines, *sines; /* [chunk][head_dim / 2] */
    float *scratch;         /* [workers][scratch_size] */
    float *states;          /* [workers][state_size] */
    float *pieces;          /* [workers][most_pieces][state_size] */
    size_t scratch_size, state_size;
    uint32_t most_pieces;
    attention_share *shares; /* [workers] */
} attention;

struct stage {
    hparams hp;
    const weights *weights;
    team *team;
    stage_peers peers;
    kv_cache kv;
    kv_room room;
    uint32_t chunk;               /* room.chunk */
    uint32_t n_heads, n_kv_heads; /* of the slice */

    /* the call of stage_forward under way */
    float *x;         /* [count][d_model], borrowed */
    const wave *wave; /* borrowed */
    uint32_t count;   /* of tokens */
    const layer_weights *layer;
    kv_layer *kv_layer;
    uint32_t layer_number;

    stage_times spent;
    bool simulated; /* see stage_simulate */
    stage_times pace;

    float *normed;               /* [chunk][d_model] */
    float *q, *k, *v, *attended; /* [chunk][heads * head_dim], kv likewise */
    float *scratch;              /* [workers][scratch_size] */
    size_t scratch_size;

    /* Without rows when all is multiplied in float32. */
    activations rounded_normed, rounded_attended;
    shortlist *shortlists; /* [workers] */
    packed_tokens packed;  /* room for the tokens, or slots, of one product */
    attention attention;
    routing routing;
};

/* Whether this shard keeps what is in the residual stream already, while the others' begin at 0. */
bool stage_keeps_stream(const stage *s);

/* Makes x[tokens][d_model], of which each shard has its part, the sum of all parts on all of them. */
void stage_sum(const stage *s, float *x, size_t tokens);

/* Rounds rows [begin, end) of x[][a->cols] into a, if a has rows. */
void stage_round(activations *a, const float *x, uint64_t begin, uint64_t end);

/* The place in s->packed of `tokens` rows of a's width, `first` rows from its beginning; no tokens in it when packing
 * them is not worth it, or a has no rows. */
packed_tokens stage_packed(const stage *s, const activations *a, size_t first, size_t tokens);

/* `tokens` rows as an operand: row 0 on of x[][a->cols], rounded to a; packed, if at all, `first` rows from the
 * beginning of s->packed. *packed is where the operand points. */
operand stage_operand(const stage *s, const activations *a, const float *x, size_t first, size_t tokens,
                      packed_tokens *packed);

/* A worker's own scratch for matmul. */
float *stage_scratch(const stage *s, int worker);

#endif
