/* One function a type, written to be read beside formats.h. These are the definition that every faster kernel is tested
 * against. */
#include "kernels/dequant.h"

#include <string.h>

static float bits_to_float(uint32_t bits) {
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

float half_to_float(half h) {
    uint32_t bits = (uint32_t)(h.bytes[0] | h.bytes[1] << 8);
    uint32_t sign = (bits & 0x8000) << 16, exponent = bits >> 10 & 31, fraction = bits & 1023;
    if (exponent == 31) return bits_to_float(sign | 0x7f800000 | fraction << 13);
    if (exponent != 0) return bits_to_float(sign | (exponent + 112) << 23 | fraction << 13);
    float subnormal = (float)fraction * 0x1p-24f;
    return sign ? -subnormal : subnormal;
}

half half_from_float(float f) {
    uint32_t bits, sign, rounded;
    memcpy(&bits, &f, sizeof bits);
    sign = bits >> 16 & 0x8000;
    bits &= 0x7fffffff;
    if (bits > 0x7f800000) {
        rounded = 0x7e00 | (bits >> 13 & 0x3ff); /* NaN */
    } else if (bits >= 0x47800000) {
        rounded = 0x7c00; /* 65536 and more */
    } else if (bits >= 0x38800000) {
        rounded =
            (bits - 0x38000000 + 0xfff + (bits >> 13 & 1)) >> 13; /* a carry goes into the exponent, as it should */
    } else {
        float shifted = bits_to_float(bits) + 0.5f; /* leaves multiples of 2^-24, the step of subnormal halves */
        memcpy(&rounded, &shifted, sizeof rounded);
        rounded -= 0x3f000000;
    }
    rounded |= sign;
    return (half){{(uint8_t)rounded, (uint8_t)(rounded >> 8)}};
}

float e8m0_to_float(uint8_t e) {
    if (e == 0) return 0x1p-127f;
    if (e == 255) return bits_to_float(0x7fc00000);
    return bits_to_float((uint32_t)e << 23);
}

static uint32_t load_u32(const uint8_t bytes[4]) {
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static void dequant_f32(const void *row, size_t count, float *out) { memcpy(out, row, count * sizeof *out); }

static void dequant_f16(const void *row, size_t count, float *out) {
    const half *h = row;
    for (size_t i = 0; i < count; i++) out[i] = half_to_float(h[i]);
}

static void dequant_bf16(const void *row, size_t count, float *out) {
    const uint8_t *b = row;
    for (size_t i = 0; i < count; i++) out[i] = bits_to_float((uint32_t)b[2 * i] << 16 | (uint32_t)b[2 * i + 1] << 24);
}

static void dequant_q4_0(const void *row, size_t count, float *out) {
    for (const block_q4_0 *b = row; count; b++, out += 32, count -= 32) {
        float d = half_to_float(b->d);
        for (int j = 0; j < 16; j++) {
            out[j] = d * (float)((b->qs[j] & 15) - 8);
            out[j + 16] = d * (float)((b->qs[j] >> 4) - 8);
        }
    }
}

static void dequant_q4_1(const void *row, size_t count, float *out) {
    for (const block_q4_1 *b = row; count; b++, out += 32, count -= 32) {
        float d = half_to_float(b->d), m = half_to_float(b->m);
        for (int j = 0; j < 16; j++) {
            out[j] = d * (float)(b->qs[j] & 15) + m;
            out[j + 16] = d * (float)(b->qs[j] >> 4) + m;
        }
    }
}

static int fifth_bit(uint32_t qh, int weight) { return (int)(qh >> weight & 1) << 4; }

static void dequant_q5_0(const void *row, size_t count, float *out) {
    for (const block_q5_0 *b = row; count; b++, out += 32, count -= 32) {
        float d = half_to_float(b->d);
        uint32_t qh = load_u32(b->qh);
        for (int j = 0; j < 16; j++) {
            out[j] = d * (float)(((b->qs[j] & 15) | fifth_bit(qh, j)) - 16);
            out[j + 16] = d * (float)(((b->qs[j] >> 4) | fifth_bit(qh, j + 16)) - 16);
        }
    }
}

static void dequant_q5_1(const void *row, size_t count, float *out) {
    for (const block_q5_1 *b = row; count; b++, out += 32, count -= 32) {
        float d = half_to_float(b->d), m = half_to_float(b->m);
        uint32_t qh = load_u32(b->qh);
        for (int j = 0; j < 16; j++) {
            out[j] = d * (float)((b->qs[j] & 15) | fifth_bit(qh, j)) + m;
            out[j + 16] = d * (float)((b->qs[j] >> 4) | fifth_bit(qh, j + 16)) + m;
        }
    }
}

static void dequant_q8_0(const void *row, size_t count, float *out) {
    for (const block_q8_0 *b = row; count; b++, out += 32, count -= 32) {
        float d = half_to_float(b->d);
        for (int j = 0; j < 32; j++) out[j] = d * (float)b->qs[j];
    }
}

/* ggml's table for IQ4_NL and IQ4_XS. */
static const int8_t iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

static void dequant_iq4_nl(const void *row, size_t count, float *out) {
    for (const block_iq4_nl *b = row; count; b++, out += 32, count -= 32) {
        float d = half_to_float(b->d);
        for (int j = 0; j < 16; j++) {
            out[j] = d * (float)iq4_values[b->qs[j] & 15];
            out[j + 16] = d * (float)iq4_values[b->qs[j] >> 4];
        }
    }
}

static void dequant_mxfp4(const void *row, size_t count, float *out) {
    static const float fp4[16] = {0.0f,  0.5f,  1.0f,  1.5f,  2.0f,  3.0f,  4.0f,  6.0f,
                                  -0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f};
    for (const block_mxfp4 *b = row; count; b++, out += 32, count -= 32) {
        float d = e8m0_to_float(b->e);
        for (int j = 0; j < 16; j++) {
            out[j] = d * fp4[b->qs[j] & 15];
            out[j + 16] = d * fp4[b->qs[j] >> 4];
        }
    }
}

/* Each half of a block (128 weights) keeps 32 bytes of 2-bit fields: field f of byte l is weight 32 f + l. */
static void dequant_q2_k(const void *row, size_t count, float *out) {
    for (const block_q2_k *b = row; count; b++, out += 256, count -= 256) {
        float d = half_to_float(b->d), dmin = half_to_float(b->dmin);
        for (int i = 0; i < 256; i++) {
            int q = b->qs[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
            int scale = b->scales[i / 16];
            out[i] = d * (float)(scale & 15) * (float)q - dmin * (float)(scale >> 4);
        }
    }
}

/* Scale g of 16: its low four bits stand in the nibbles of bytes 0 to 7, its high two bits in bytes 8 to 11. */
static int q3_k_scale(const uint8_t scales[12], int g) {
    int low = g < 8 ? scales[g] & 15 : scales[g - 8] >> 4;
    int high = scales[8 + g % 4] >> (g / 4 * 2) & 3;
    return (low | high << 4) - 32;
}

static void dequant_q3_k(const void *row, size_t count, float *out) {
    for (const block_q3_k *b = row; count; b++, out += 256, count -= 256) {
        float d = half_to_float(b->d);
        for (int i = 0; i < 256; i++) {
            int q = b->qs[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
            int high = b->hmask[i % 32] >> (i / 32) & 1;
            out[i] = d * (float)q3_k_scale(b->scales, i / 16) * (float)(q + 4 * high - 4);
        }
    }
}

/* Groups 0 to 3 keep six plain bits; groups 4 to 7 a nibble and two bits left over in the bytes of groups 0 to 3. */
static void k_scale_and_min(const uint8_t scales[12], int g, int *scale, int *min) {
    if (g < 4) {
        *scale = scales[g] & 63;
        *min = scales[g + 4] & 63;
    } else {
        *scale = (scales[g + 4] & 15) | (scales[g - 4] >> 6) << 4;
        *min = (scales[g + 4] >> 4) | (scales[g] >> 6) << 4;
    }
}

/* Weights 64 p to 64 p + 63 share 32 bytes: low nibbles are the first 32 of them, high nibbles the others. */
static int k_nibble(const uint8_t qs[128], int i) { return qs[i / 64 * 32 + i % 32] >> (i % 64 / 32 * 4) & 15; }

static void dequant_q4_k(const void *row, size_t count, float *out) {
    for (const block_q4_k *b = row; count; b++, out += 256, count -= 256) {
        float d = half_to_float(b->d), dmin = half_to_float(b->dmin);
        for (int g = 0; g < 8; g++) {
            int scale, min;
            k_scale_and_min(b->scales, g, &scale, &min);
            for (int i = 32 * g; i < 32 * g + 32; i++)
                out[i] = d * (float)scale * (float)k_nibble(b->qs, i) - dmin * (float)min;
        }
    }
}

static void dequant_q5_k(const void *row, size_t count, float *out) {
    for (const block_q5_k *b = row; count; b++, out += 256, count -= 256) {
        float d = half_to_float(b->d), dmin = half_to_float(b->dmin);
        for (int g = 0; g < 8; g++) {
            int scale, min;
            k_scale_and_min(b->scales, g, &scale, &min);
            for (int i = 32 * g; i < 32 * g + 32; i++) {
                int q = k_nibble(b->qs, i) | (b->qh[i % 32] >> g & 1) << 4;
                out[i] = d * (float)scale * (float)q - dmin * (float)min;
            }
        }
    }
}

/* Each half of a block: weight 32 f + l takes nibble f / 2 of byte ql[32 (f % 2) + l] and bits 2 f of byte qh[l]. */
static void dequant_q6_k(const void *row, size_t count, float *out) {
    for (const block_q6_k *b = row; count; b++, out += 256, count -= 256) {
        float d = half_to_float(b->d);
        for (int i = 0; i < 256; i++) {
            int part = i / 128, field = i % 128 / 32, l = i % 32;
            int low = b->ql[part * 64 + field % 2 * 32 + l] >> (field / 2 * 4) & 15;
            int high = b->qh[part * 32 + l] >> (field * 2) & 3;
            out[i] = d * (float)b->scales[i / 16] * (float)((low | high << 4) - 32);
        }
    }
}

static void dequant_iq4_xs(const void *row, size_t count, float *out) {
    for (const block_iq4_xs *b = row; count; b++, out += 256, count -= 256) {
        float d = half_to_float(b->d);
        int scales_h = b->scales_h[0] | b->scales_h[1] << 8;
        for (int g = 0; g < 8; g++) {
            int scale = (b->scales_l[g / 2] >> (g % 2 * 4) & 15) | (scales_h >> (2 * g) & 3) << 4;
            float dg = d * (float)(scale - 32);
            const uint8_t *qs = b->qs + 16 * g;
            for (int j = 0; j < 16; j++) {
                out[32 * g + j] = dg * (float)iq4_values[qs[j] & 15];
                out[32 * g + j + 16] = dg * (float)iq4_values[qs[j] >> 4];
            }
        }
    }
}

dequant_row *dequant_for(gguf_type type) {
    switch (type) {
    case TYPE_F32: return dequant_f32;
    case TYPE_F16: return dequant_f16;
    case TYPE_BF16: return dequant_bf16;
    case TYPE_Q4_0: return dequant_q4_0;
    case TYPE_Q4_1: return dequant_q4_1;
    case TYPE_Q5_0: return dequant_q5_0;
    case TYPE_Q5_1: return dequant_q5_1;
    case TYPE_Q8_0: return dequant_q8_0;
    case TYPE_Q2_K: return dequant_q2_k;
    case TYPE_Q3_K: return dequant_q3_k;
    case TYPE_Q4_K: return dequant_q4_k;
    case TYPE_Q5_K: return dequant_q5_k;
    case TYPE_Q6_K: return dequant_q6_k;
    case TYPE_IQ4_NL: return dequant_iq4_nl;
    case TYPE_IQ4_XS: return dequant_iq4_xs;
    case TYPE_MXFP4: return dequant_mxfp4;
    default: return NULL;
    }
}
