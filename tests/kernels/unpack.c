#include "unpack.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

double unpack_half(unsigned bits) {
    double sign = bits >= 0x8000 ? -1 : 1, fraction = bits % 1024 / 1024.0;
    int exponent = (int)(bits / 1024 % 32);
    if (exponent == 31) return fraction != 0 ? NAN : sign * INFINITY;
    return sign * (exponent ? ldexp(1 + fraction, exponent - 15) : ldexp(fraction, -14));
}

double unpack_e8m0(unsigned bits) { return bits == 255 ? NAN : ldexp(1, (int)bits - 127); }

/* Where reading has come to in a block. */
typedef struct reader {
    const uint8_t *at;
} reader;

static unsigned next_byte(reader *r) { return *r->at++; }

static float next_half(reader *r) {
    unsigned low = next_byte(r);
    return (float)unpack_half(low + 256 * next_byte(r));
}

/* Hands the low `bits` bits of *from to *to, at bit `place` and above, and drops them from *from. */
static void hand_over(unsigned *from, int bits, int *to, int place) {
    *to += (int)(*from % (1u << bits)) << place;
    *from >>= bits;
}

/* Integers of a block on their way to weights. */
typedef struct fields {
    int q[256], scale[16], min[16];
} fields;

/* 16 bytes of nibbles for 32 weights: first all low ones, then all high ones. */
static void read_nibbles(reader *r, int *q) {
    for (int j = 0; j < 16; j++) {
        unsigned byte = next_byte(r);
        hand_over(&byte, 4, &q[j], 0);
        hand_over(&byte, 4, &q[16 + j], 0);
    }
}

static void read_fifth_bits(reader *r, int *q) {
    for (int i = 0; i < 32; i += 8) {
        unsigned byte = next_byte(r);
        for (int bit = 0; bit < 8; bit++) hand_over(&byte, 1, &q[i + bit], 4);
    }
}

/* The four 32-weight types with binary16 scales. */
static size_t unpack_small(const uint8_t *block, float *out, bool has_min, bool has_fifth, int zero) {
    reader r = {block};
    fields f = {0};
    float d = next_half(&r), m = has_min ? next_half(&r) : 0;
    if (has_fifth) read_fifth_bits(&r, f.q);
    read_nibbles(&r, f.q);
    for (int i = 0; i < 32; i++) out[i] = has_min ? (float)(f.q[i] - zero) * d + m : (float)(f.q[i] - zero) * d;
    return (size_t)(r.at - block);
}

static size_t unpack_q4_0(const uint8_t *block, float *out) { return unpack_small(block, out, false, false, 8); }
static size_t unpack_q4_1(const uint8_t *block, float *out) { return unpack_small(block, out, true, false, 0); }
static size_t unpack_q5_0(const uint8_t *block, float *out) { return unpack_small(block, out, false, true, 16); }
static size_t unpack_q5_1(const uint8_t *block, float *out) { return unpack_small(block, out, true, true, 0); }

static size_t unpack_q8_0(const uint8_t *block, float *out) {
    reader r = {block};
    float d = next_half(&r);
    for (int i = 0; i < 32; i++) {
        int q = (int)next_byte(&r);
        out[i] = (float)(q < 128 ? q : q - 256) * d;
    }
    return (size_t)(r.at - block);
}

static float iq4_value(int q) {
    static const float values[] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
    return values[q];
}

static size_t unpack_iq4_nl(const uint8_t *block, float *out) {
    reader r = {block};
    fields f = {0};
    float d = next_half(&r);
    read_nibbles(&r, f.q);
    for (int i = 0; i < 32; i++) out[i] = d * iq4_value(f.q[i]);
    return (size_t)(r.at - block);
}

/* E2M1: a sign bit, two bits of exponent (bias 1), one of fraction. */
static double fp4_value(int q) {
    int exponent = q / 2 % 4, fraction = q % 2;
    double size = exponent == 0 ? fraction * 0.5 : ldexp(1 + fraction * 0.5, exponent - 1);
    return q >= 8 ? -size : size;
}

static size_t unpack_mxfp4(const uint8_t *block, float *out) {
    reader r = {block};
    fields f = {0};
    double scale = unpack_e8m0(next_byte(&r));
    read_nibbles(&r, f.q);
    for (int i = 0; i < 32; i++) out[i] = (float)(fp4_value(f.q[i]) * scale);
    return (size_t)(r.at - block);
}

static size_t unpack_f32(const uint8_t *block, float *out) {
    uint32_t bits = 0;
    for (int i = 3; i >= 0; i--) bits = bits << 8 | block[i];
    memcpy(out, &bits, 4);
    return 4;
}

static size_t unpack_f16(const uint8_t *block, float *out) {
    reader r = {block};
    *out = next_half(&r);
    return 2;
}

static size_t unpack_bf16(const uint8_t *block, float *out) {
    const uint8_t wide[4] = {0, 0, block[0], block[1]}; /* the upper half of a float32 */
    unpack_f32(wide, out);
    return 2;
}

/* ---- 256 weights ---- */

/* Fields of two bits: each 32 bytes hold 128 weights, 32 of them in the lowest fields, then the next 32 ... */
static void read_two_bit_fields(reader *r, int *q, int place) {
    for (int part = 0; part < 256; part += 128) {
        for (int l = 0; l < 32; l++) {
            unsigned byte = next_byte(r);
            for (int field = 0; field < 4; field++) hand_over(&byte, 2, &q[part + 32 * field + l], place);
        }
    }
}

static size_t unpack_q2_k(const uint8_t *block, float *out) {
    reader r = {block};
    fields f = {0};
    for (int g = 0; g < 16; g++) {
        unsigned byte = next_byte(&r);
        hand_over(&byte, 4, &f.scale[g], 0);
        hand_over(&byte, 4, &f.min[g], 0);
    }
    read_two_bit_fields(&r, f.q, 0);
    float d = next_half(&r), dmin = next_half(&r);
    for (int i = 0; i < 256; i++) {
        float scale = d * (float)f.scale[i / 16], min = dmin * (float)f.min[i / 16];
        out[i] = scale * (float)f.q[i] - min;
    }
    return (size_t)(r.at - block);
}

static size_t unpack_q3_k(const uint8_t *block, float *out) {
    reader r = {block};
    fields f = {0};
    for (int l = 0; l < 32; l++) { /* bit n of byte l: the third bit of weight 32 n + l */
        unsigned byte = next_byte(&r);
        for (int n = 0; n < 8; n++) hand_over(&byte, 1, &f.q[32 * n + l], 2);
    }
    read_two_bit_fields(&r, f.q, 0);
    for (int g = 0; g < 8; g++) {
        unsigned byte = next_byte(&r);
        hand_over(&byte, 4, &f.scale[g], 0);
        hand_over(&byte, 4, &f.scale[g + 8], 0);
    }
    for (int g = 0; g < 4; g++) {
        unsigned byte = next_byte(&r);
        for (int n = 0; n < 4; n++) hand_over(&byte, 2, &f.scale[g + 4 * n], 4);
    }
    float d = next_half(&r);
    for (int i = 0; i < 256; i++) out[i] = d * (float)(f.scale[i / 16] - 32) * (float)(f.q[i] - 4);
    return (size_t)(r.at - block);
}

/* The 12 bytes of Q4_K and Q5_K: six bits each of 8 scales and 8 mins. */
static void read_scales_and_mins(reader *r, fields *f) {
    int *const first[] = {f->scale, f->min};
    for (int which = 0; which < 2; which++) { /* six bits of the first four, two upper bits of the last four */
        for (int g = 0; g < 4; g++) {
            unsigned byte = next_byte(r);
            hand_over(&byte, 6, &first[which][g], 0);
            hand_over(&byte, 2, &first[which][g + 4], 4);
        }
    }
    for (int g = 4; g < 8; g++) { /* four lower bits of the last four */
        unsigned byte = next_byte(r);
        hand_over(&byte, 4, &f->scale[g], 0);
        hand_over(&byte, 4, &f->min[g], 0);
    }
}

static size_t unpack_q4_k_or_q5_k(const uint8_t *block, float *out, bool has_fifth) {
    reader r = {block};
    fields f = {0};
    float d = next_half(&r), dmin = next_half(&r);
    read_scales_and_mins(&r, &f);
    for (int l = 0; has_fifth && l < 32; l++) {
        unsigned byte = next_byte(&r);
        for (int n = 0; n < 8; n++) hand_over(&byte, 1, &f.q[32 * n + l], 4);
    }
    for (int part = 0; part < 256; part += 64) {
        for (int l = 0; l < 32; l++) {
            unsigned byte = next_byte(&r);
            hand_over(&byte, 4, &f.q[part + l], 0);
            hand_over(&byte, 4, &f.q[part + 32 + l], 0);
        }
    }
    for (int i = 0; i < 256; i++) {
        float scale = d * (float)f.scale[i / 32], min = dmin * (float)f.min[i / 32];
        out[i] = scale * (float)f.q[i] - min;
    }
    return (size_t)(r.at - block);
}

static size_t unpack_q4_k(const uint8_t *block, float *out) { return unpack_q4_k_or_q5_k(block, out, false); }
static size_t unpack_q5_k(const uint8_t *block, float *out) { return unpack_q4_k_or_q5_k(block, out, true); }

static size_t unpack_q6_k(const uint8_t *block, float *out) {
    reader r = {block};
    fields f = {0};
    for (int part = 0; part < 256; part += 128) {
        for (int l = 0; l < 64; l++) {
            unsigned byte = next_byte(&r);
            hand_over(&byte, 4, &f.q[part + l], 0);
            hand_over(&byte, 4, &f.q[part + 64 + l], 0);
        }
    }
    read_two_bit_fields(&r, f.q, 4);
    for (int g = 0; g < 16; g++) {
        int scale = (int)next_byte(&r);
        f.scale[g] = scale < 128 ? scale : scale - 256;
    }
    float d = next_half(&r);
    for (int i = 0; i < 256; i++) out[i] = d * (float)f.scale[i / 16] * (float)(f.q[i] - 32);
    return (size_t)(r.at - block);
}

static size_t unpack_iq4_xs(const uint8_t *block, float *out) {
    reader r = {block};
    fields f = {0};
    float d = next_half(&r);
    for (int g = 0; g < 8; g += 4) {
        unsigned byte = next_byte(&r);
        for (int n = 0; n < 4; n++) hand_over(&byte, 2, &f.scale[g + n], 4);
    }
    for (int g = 0; g < 8; g += 2) {
        unsigned byte = next_byte(&r);
        hand_over(&byte, 4, &f.scale[g], 0);
        hand_over(&byte, 4, &f.scale[g + 1], 0);
    }
    for (int g = 0; g < 8; g++) read_nibbles(&r, f.q + 32 * g);
    for (int i = 0; i < 256; i++) out[i] = d * (float)(f.scale[i / 32] - 32) * iq4_value(f.q[i]);
    return (size_t)(r.at - block);
}

#define NONE SIZE_MAX
const block_format block_formats[] = {
    {TYPE_F32, 1, 4, {NONE, NONE}, unpack_f32},        {TYPE_F16, 1, 2, {0, NONE}, unpack_f16},
    {TYPE_BF16, 1, 2, {NONE, NONE}, unpack_bf16},      {TYPE_Q4_0, 32, 18, {0, NONE}, unpack_q4_0},
    {TYPE_Q4_1, 32, 20, {0, 2}, unpack_q4_1},          {TYPE_Q5_0, 32, 22, {0, NONE}, unpack_q5_0},
    {TYPE_Q5_1, 32, 24, {0, 2}, unpack_q5_1},          {TYPE_Q8_0, 32, 34, {0, NONE}, unpack_q8_0},
    {TYPE_Q2_K, 256, 84, {80, 82}, unpack_q2_k},       {TYPE_Q3_K, 256, 110, {108, NONE}, unpack_q3_k},
    {TYPE_Q4_K, 256, 144, {0, 2}, unpack_q4_k},        {TYPE_Q5_K, 256, 176, {0, 2}, unpack_q5_k},
    {TYPE_Q6_K, 256, 210, {208, NONE}, unpack_q6_k},   {TYPE_IQ4_NL, 32, 18, {0, NONE}, unpack_iq4_nl},
    {TYPE_IQ4_XS, 256, 136, {0, NONE}, unpack_iq4_xs}, {TYPE_MXFP4, 32, 17, {NONE, NONE}, unpack_mxfp4},
};
const size_t block_format_count = sizeof block_formats / sizeof *block_formats;
