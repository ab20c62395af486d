#include "kernels/attend.h"

#include <math.h>
#include <string.h>

#include "kernels/attend_kernels.h"
#include "kernels/dequant.h"
#include "kernels/exp.h"
#include "kernels/isa.h"

/* ---- types ---- */

kv_type kv_type_used(kv_type wanted) {
    if (wanted != KV_DEFAULT) return wanted;
    return isa_used() == ISA_REFERENCE ? KV_F32 : KV_I16;
}

static const char *const type_names[] = {"default", "i16", "f16", "f32", "q8_0"};

const char *kv_type_name(kv_type type) { return type_names[type]; }

bool kv_type_by_name(const char *name, kv_type *out) {
    for (kv_type type = KV_I16; type < KV_TYPES; type++) {
        if (strcmp(name, type_names[type]) != 0) continue;
        *out = type;
        return true;
    }
    return false;
}

/* ---- kernels ---- */

static const attend_kernels *kernels_for(uint32_t head_dim) {
    const attend_kernels *best = &attend_portable;
#if defined(__x86_64__)
    if (isa_has_avx2(isa_used())) best = &attend_avx2;
#elif defined(__aarch64__)
    if (isa_used() == ISA_NEON) best = &attend_neon;
#endif
    return head_dim % best->multiple == 0 ? best : &attend_portable;
}

/* ---- the cache ---- */

size_t kv_head_bytes(kv_type type, uint32_t head_dim, uint32_t blocks) {
    size_t scales = attend_has_scales(type) ? ATTEND_BLOCK * sizeof(float) : 0;
    return blocks * (ATTEND_BLOCK * head_dim * attend_number_bytes(type) + scales);
}

/* Writes the numbers of x[count] to `to`, `stride` bytes from one to the next. */
static void store_f32(const float *x, uint32_t count, uint8_t *to, size_t stride) {
    for (uint32_t i = 0; i < count; i++) memcpy(to + i * stride, &x[i], sizeof *x);
}

static void store_f16(const float *x, uint32_t count, uint8_t *to, size_t stride) {
    for (uint32_t i = 0; i < count; i++) {
        half h = half_from_float(x[i]);
        memcpy(to + i * stride, &h, sizeof h);
    }
}

/* As whole numbers of magnitude up to `most`, of `bytes` bytes. */
static void store_scaled(const float *x, uint32_t count, uint8_t *to, size_t stride, uint8_t *scale_to, float most,
                         size_t bytes) {
    const float rounder = 0x1.8p+23f; /* adding it leaves a whole number in the lowest bits */
    float largest = 0;
    bool finite = true;
    for (uint32_t i = 0; i < count; i++) {
        float magnitude = fabsf(x[i]);
        largest = magnitude > largest ? magnitude : largest;
        finite &= magnitude < INFINITY;
    }
    bool usable = finite && largest > 1e-30f; /* smaller ones, whose reciprocal could overflow, become zero */
    float scale = finite ? usable ? largest / most : 0 : NAN, factor = usable ? most / largest : 0;
    memcpy(scale_to, &scale, sizeof scale);
    for (uint32_t i = 0; i < count; i++) {
        float rounded = (usable ? x[i] * factor : 0) + rounder;
        uint32_t bits;
        memcpy(&bits, &rounded, sizeof bits);
        uint16_t low = (uint16_t)bits;
        uint8_t lowest = (uint8_t)bits;
        memcpy(to + i * stride, bytes == 1 ? (void *)&lowest : (void *)&low, bytes);
    }
}

void kv_head_store(const kv_head *kv, uint32_t position, const float *key, const float *value) {
    size_t block = attend_offset(kv, position);
    size_t lane = position % ATTEND_BLOCK, bytes = attend_number_bytes(kv->type), row = ATTEND_BLOCK * bytes;
    const float most = kv->type == KV_Q8_0 ? 127 : 32767;
    uint8_t *keys = kv->keys + block, *values = kv->values + block;
    uint8_t *k = keys + lane * bytes, *v = values + lane * bytes * kv->head_dim;
    switch (kv->type) {
    case KV_F32:
        store_f32(key, kv->head_dim, k, row);
        store_f32(value, kv->head_dim, v, bytes);
        break;
    case KV_F16:
        store_f16(key, kv->head_dim, k, row);
        store_f16(value, kv->head_dim, v, bytes);
        break;
    default: {
        size_t scale = row * kv->head_dim + lane * sizeof(float);
        store_scaled(key, kv->head_dim, k, row, keys + scale, most, bytes);
        store_scaled(value, kv->head_dim, v, bytes, values + scale, most, bytes);
    }
    }
}

/* ---- pieces ---- */

size_t attend_state_size(uint32_t heads, uint32_t head_dim) { return (size_t)heads * (head_dim + 2); }

/* Rows of ATTEND_PIECE come first, so that they begin on a cache line when scratch does. */
size_t attend_scratch_size(uint32_t heads, uint32_t head_dim) {
    return (size_t)heads * ATTEND_PIECE + 2 * attend_state_size(heads, head_dim);
}

void attend_begin(const attend_query *query, uint32_t head_dim, float *state) {
    memset(state, 0, attend_state_size(query->heads, head_dim) * sizeof *state);
    for (uint32_t h = 0; h < query->heads; h++) {
        state[h] = query->sinks[h];
        state[query->heads + h] = 1; /* exp(sink - sink) */
    }
}

void attend_piece(const attend_query *query, const kv_head *kv, uint32_t begin, uint32_t end, float *scratch,
                  float *piece) {
    const attend_kernels *kernels = kernels_for(kv->head_dim);
    uint32_t heads = query->heads;
    kernels->score(query, kv, begin, end, scratch);
    for (uint32_t h = 0; h < heads; h++)
        piece[heads + h] = kernels->weigh(scratch + (size_t)h * ATTEND_PIECE, begin, end, &piece[h]);
    kernels->mix(scratch, heads, kv, begin, end, piece + 2 * (size_t)heads);
}

void attend_merge(uint32_t heads, uint32_t head_dim, const float *piece, float *state) {
    const attend_kernels *kernels = kernels_for(head_dim);
    for (uint32_t h = 0; h < heads; h++) {
        float max = piece[h] > state[h] ? piece[h] : state[h];
        float a = exp_f32(state[h] - max), b = exp_f32(piece[h] - max);
        size_t mixture = 2 * (size_t)heads + (size_t)h * head_dim;
        state[h] = max;
        state[heads + h] = fmaf(piece[heads + h], b, state[heads + h] * a);
        kernels->blend(state + mixture, a, piece + mixture, b, head_dim);
    }
}

void attend_finish(uint32_t heads, uint32_t head_dim, const float *state, float *out) {
    const float *mixture = state + 2 * (size_t)heads;
    for (uint32_t h = 0; h < heads; h++) {
        const float sum = state[heads + h];
        for (uint32_t i = 0; i < head_dim; i++) out[h * head_dim + i] = mixture[h * head_dim + i] / sum;
    }
}

void attend(const attend_query *query, const kv_head *kv, uint32_t begin, uint32_t end, float *scratch, float *out) {
    float *piece = scratch + (size_t)query->heads * ATTEND_PIECE;
    float *state = piece + attend_state_size(query->heads, kv->head_dim);
    attend_begin(query, kv->head_dim, state);
    while (begin < end) {
        uint32_t next = (begin / ATTEND_PIECE + 1) * ATTEND_PIECE;
        if (next > end) next = end;
        attend_piece(query, kv, begin, next, scratch, piece);
        attend_merge(query->heads, kv->head_dim, piece, state);
        begin = next;
    }
    attend_finish(query->heads, kv->head_dim, state, out);
}
