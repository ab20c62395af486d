/* All bytes of a block are drawn at random first; then those that would make weights too large or no numbers at all,
 * the block's scales, are replaced by a choice out of 256 that the drawn byte makes. That leaves one table lookup a
 * block. */
#include "gguf/random_blocks.h"

#include <math.h>
#include <string.h>

/* Where the types with 16-bit floating-point scales keep them. */
typedef struct layout {
    gguf_type type;
    int scale_at;     /* byte offset in the block */
    int minimum_at;   /* of a second one, which shifts the weights; -1 without */
    double minimum;   /* the second for a first of 1, so that the mean weight is 0 */
    bool either_sign; /* the scale may be negative, which makes the mean 0 where the quants alone do not */
    double size;      /* root mean square of the weights for a scale of 1 and random quants and sub-scales */
} layout;

static const layout layouts[] = {
    {TYPE_Q4_0, 0, -1, 0, true, 4.6368},      {TYPE_Q4_1, 0, 2, -7.5, false, 4.6098},
    {TYPE_Q5_0, 0, -1, 0, true, 9.2466},      {TYPE_Q5_1, 0, 2, -15.5, false, 9.2331},
    {TYPE_Q8_0, 0, -1, 0, false, 73.895},     {TYPE_IQ4_NL, 0, -1, 0, true, 67.439},
    {TYPE_Q2_K, 80, 82, 1.5, false, 13.8744}, {TYPE_Q3_K, 108, -1, 0, true, 43.339},
    {TYPE_Q4_K, 0, 2, 7.5, false, 258.32},    {TYPE_Q5_K, 0, 2, 15.5, false, 526.93},
    {TYPE_Q6_K, 208, -1, 0, true, 1365.69},   {TYPE_IQ4_XS, 0, -1, 0, true, 1246.25},
};
static const double mxfp4_size = 2.92618; /* of sixteen equally likely FP4 values */

static const layout *find_layout(gguf_type type) {
    for (size_t i = 0; i < sizeof layouts / sizeof layouts[0]; i++)
        if (layouts[i].type == type) return &layouts[i];
    return NULL;
}

bool random_blocks_supports(gguf_type type) {
    return type == TYPE_F32 || type == TYPE_F16 || type == TYPE_BF16 || type == TYPE_MXFP4 || find_layout(type);
}

/* IEEE binary16, rounded to nearest; values beyond its range become its largest. */
static uint16_t half_of(double x) {
    uint16_t sign = x < 0 ? 0x8000 : 0;
    double size = fmin(fabs(x), 65504.0);
    if (size < 0x1p-14) return (uint16_t)(sign | (unsigned)(size * 0x1p24 + 0.5)); /* subnormal, or 0 */
    int exponent;
    double fraction = frexp(size, &exponent); /* size = fraction * 2^exponent, fraction in [0.5, 1) */
    /* A fraction that rounds up to 1 carries into the exponent, which is right. */
    return (uint16_t)(sign | (((unsigned)(exponent + 14) << 10) + (unsigned)((2 * fraction - 1) * 1024 + 0.5)));
}

static uint16_t bfloat_of(double x) {
    float f = (float)x;
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return (uint16_t)((bits + 0x8000) >> 16);
}

/* 4096 equidistant values with the wanted standard deviation. */
static void init_values(random_blocks *r, double deviation) {
    for (int i = 0; i < 4096; i++) {
        double x = deviation * sqrt(3.0) * (2 * i + 1 - 4096) / 4096;
        r->values[i] = r->type == TYPE_F16 ? half_of(x) : bfloat_of(x);
    }
}

/* Scales from half to one and a half times the wanted one, so that blocks differ as they do in real files. */
static void init_scales(random_blocks *r, const layout *l, double deviation) {
    double scale = deviation / l->size / 1.0412; /* the root mean square of the factors below */
    for (int i = 0; i < 256; i++) {
        double factor = 0.5 + (i ^ 1) / 255.0; /* so that neither sign, the lowest bit, has the larger ones */
        double signed_factor = l->either_sign && i % 2 ? -factor : factor;
        r->values[i] = half_of(scale * signed_factor);
        r->minima[i] = half_of(scale * signed_factor * l->minimum);
    }
}

/* Powers of two, mixed so that their mean square is right. */
static void init_exponents(random_blocks *r, double deviation) {
    double scale = deviation / mxfp4_size, power = floor(log2(scale));
    r->exponent = (uint8_t)fmin(fmax(power + 127, 1), 250);
    double ratio = scale / exp2(power); /* in [1, 2) */
    r->larger = (unsigned)((ratio * ratio - 1) / 3 * 256 + 0.5);
}

void random_blocks_init(random_blocks *r, gguf_type type, double center, double deviation) {
    *r = (random_blocks){.type = type, .center = (float)center, .step = (float)(deviation * sqrt(3.0) * 0x1p-31)};
    if (type == TYPE_F16 || type == TYPE_BF16) init_values(r, deviation);
    if (type == TYPE_MXFP4) init_exponents(r, deviation);
    const layout *l = find_layout(type);
    if (l) init_scales(r, l, deviation);
}

/* --- filling --- */

static void fill_random(uint64_t seed, uint8_t *out, size_t bytes) {
    uint64_t state = random_blocks_mix(seed ^ 0x5851F42D4C957F2Du);
    size_t words = bytes / 8;
    for (size_t i = 0; i <= words; i++) {
        uint64_t word = random_blocks_mix(state + i * 0x9E3779B97F4A7C15u);
        memcpy(out + 8 * i, &word, i < words ? 8 : bytes % 8);
    }
}

static void shape_f32(const random_blocks *r, uint8_t *out, size_t bytes) {
    for (size_t at = 0; at < bytes; at += 4) {
        int32_t drawn;
        memcpy(&drawn, out + at, 4);
        float weight = r->center + r->step * (float)drawn;
        memcpy(out + at, &weight, 4);
    }
}

static void shape_values(const random_blocks *r, uint8_t *out, size_t bytes) {
    for (size_t at = 0; at < bytes; at += 2) {
        uint16_t drawn;
        memcpy(&drawn, out + at, 2);
        memcpy(out + at, &r->values[drawn % 4096], 2);
    }
}

static void shape_mxfp4(const random_blocks *r, uint8_t *out, size_t bytes) {
    for (size_t at = 0; at < bytes; at += 17) out[at] = (uint8_t)(r->exponent + (out[at] < r->larger));
}

/* Quantizers never give -128, and fast kernels rely on that. */
static void shape_q8_0(const random_blocks *r, uint8_t *out, size_t bytes) {
    for (uint8_t *block = out; block < out + bytes; block += 34) {
        memcpy(block, &r->values[block[0]], 2);
        for (int i = 2; i < 34; i++) block[i] = block[i] == 0x80 ? 0x81 : block[i];
    }
}

static void shape_scaled(const random_blocks *r, const layout *l, uint8_t *out, size_t bytes) {
    size_t block_bytes = gguf_type_traits(r->type)->block_bytes;
    for (uint8_t *block = out; block < out + bytes; block += block_bytes) {
        uint8_t drawn = block[l->scale_at];
        memcpy(block + l->scale_at, &r->values[drawn], 2);
        if (l->minimum_at >= 0) memcpy(block + l->minimum_at, &r->minima[drawn], 2);
    }
}

void random_blocks_fill(const random_blocks *r, uint64_t seed, void *out, size_t bytes) {
    fill_random(seed, out, bytes);
    switch (r->type) {
    case TYPE_F32: shape_f32(r, out, bytes); break;
    case TYPE_F16:
    case TYPE_BF16: shape_values(r, out, bytes); break;
    case TYPE_MXFP4: shape_mxfp4(r, out, bytes); break;
    case TYPE_Q8_0: shape_q8_0(r, out, bytes); break;
    default: shape_scaled(r, find_layout(r->type), out, bytes);
    }
}
