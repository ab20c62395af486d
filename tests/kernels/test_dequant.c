/* Every block format, bit for bit against a second, independent reading of it. */
#include <math.h>
#include <stdbool.h>

#include "kernels/dequant.h"
#include "random.h"
#include "support.h"
#include "unpack.h"

static uint32_t bits_of(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

/* Equal bits, or both NaN (a NaN's payload means nothing). */
static bool same(float a, float b) { return bits_of(a) == bits_of(b) || (isnan(a) && isnan(b)); }

static void check_number(const char *what, unsigned bits, float got, double want) {
    if (!same(got, (float)want)) fail_msg("%s 0x%x: %a, not %a", what, bits, (double)got, want);
}

static void all_halves(void **state) {
    (void)state;
    for (unsigned bits = 0; bits < 65536; bits++)
        check_number("half", bits, half_to_float((half){{(uint8_t)bits, (uint8_t)(bits >> 8)}}), unpack_half(bits));
}

static float float_near(float f, int32_t steps) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    bits += (uint32_t)steps;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static void check_rounding(float f, unsigned want) {
    for (unsigned sign = 0; sign < 2; sign++) {
        half h = half_from_float(sign ? -f : f);
        unsigned got = (unsigned)(h.bytes[0] | h.bytes[1] << 8);
        if (got != (want | sign << 15)) fail_msg("%a became half %04x, not %04x", (double)f, got, want);
    }
}

static void floats_become_the_nearest_halves(void **state) {
    (void)state;
    for (unsigned bits = 0; bits < 0x7c00; bits++) {
        float low = (float)unpack_half(bits), high = bits == 0x7bff ? 65536 : (float)unpack_half(bits + 1);
        float middle = (low + high) / 2;
        check_rounding(low, bits);
        check_rounding(middle, bits + bits % 2);
        check_rounding(float_near(middle, -1), bits);
        check_rounding(float_near(middle, 1), bits + 1);
    }
    check_rounding(1e30f, 0x7c00);
    check_rounding(INFINITY, 0x7c00);
    assert_true(isnan(half_to_float(half_from_float(NAN))));
    assert_true(isnan(half_to_float(half_from_float(float_near(INFINITY, 1))))); /* a NaN of low bits only */
}

static void all_e8m0_scales(void **state) {
    (void)state;
    for (unsigned bits = 0; bits < 256; bits++)
        check_number("E8M0", bits, e8m0_to_float((uint8_t)bits), unpack_e8m0(bits));
}

/* `count` blocks at `row`, which needs no alignment, and nothing read or written beyond them. */
static void check_row(const block_format *format, const uint8_t *row, size_t count) {
    size_t weights = count * format->weights;
    float *got = malloc(weights * sizeof *got), *want = malloc(weights * sizeof *want);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(format->unpack(row + i * format->bytes, want + i * format->weights), format->bytes);
    dequant_for(format->type)(row, weights, got);
    for (size_t i = 0; i < weights; i++)
        if (!same(got[i], want[i]))
            fail_msg("%s: weight %zu of %zu is %a, not %a", gguf_type_traits(format->type)->name, i, weights,
                     (double)got[i], (double)want[i]);
    free(got);
    free(want);
}

static void random_rows_of_every_type(void **state) {
    (void)state;
    uint64_t seed = 1;
    for (size_t f = 0; f < block_format_count; f++) {
        const block_format *format = &block_formats[f];
        for (size_t round = 0; round < 300; round++) {
            size_t count = round % 5 + (format->weights == 1 ? 20 : 0), bytes = count * format->bytes,
                   offset = round % 3;
            uint8_t *memory = malloc(offset + bytes + 1);
            for (size_t i = 0; i < bytes; i++) memory[offset + i] = (uint8_t)random_bits(&seed);
            uint8_t *row = realloc(memory, offset + bytes ? offset + bytes : 1); /* ends where the heap's block ends */
            check_row(format, row + offset, count);
            free(row);
        }
    }
}

/* Every number that a scale can be is tried with random weights: zeros, subnormals, infinities, NaN among them. */
static void every_scale_of_every_type(void **state) {
    (void)state;
    static const unsigned special[] = {0x0000, 0x8000, 0x0001, 0x8001, 0x03ff, 0x0400, 0x3c00, 0xbc00,
                                       0x7bff, 0xfbff, 0x7c00, 0xfc00, 0x7c01, 0x7e00, 0xffff};
    enum { SPECIALS = sizeof special / sizeof *special };
    uint64_t seed = 2;
    for (size_t f = 0; f < block_format_count; f++) {
        const block_format *format = &block_formats[f];
        uint8_t block[256];
        for (size_t i = 0; i < sizeof block; i++) block[i] = (uint8_t)random_bits(&seed);
        for (unsigned n = 0; n < SPECIALS * SPECIALS; n++) {
            const unsigned values[] = {special[n % SPECIALS], special[n / SPECIALS]};
            for (int h = 0; h < 2; h++) {
                if (format->halves[h] == SIZE_MAX) continue;
                block[format->halves[h]] = (uint8_t)values[h];
                block[format->halves[h] + 1] = (uint8_t)(values[h] >> 8);
            }
            if (format->type == TYPE_MXFP4) block[0] = (uint8_t)n;
            check_row(format, block, 1);
        }
        /* Bytes that hold packed scales among them: each byte of the block in turn, all 256 values. */
        for (size_t i = 0; i < format->bytes && format->weights == 256; i++) {
            uint8_t kept = block[i];
            for (unsigned value = 0; value < 256; value += 5) {
                block[i] = (uint8_t)value;
                check_row(format, block, 1);
            }
            block[i] = kept;
        }
    }
}

/* Each weight takes every value that its bits can spell, and no other weight hears of it. */
static void weights_do_not_leak_into_each_other(void **state) {
    (void)state;
    for (size_t f = 0; f < block_format_count; f++) {
        const block_format *format = &block_formats[f];
        if (format->weights == 1) continue;
        uint8_t block[256] = {0};
        float base[256], changed[256];
        for (size_t i = 0; i < format->bytes; i++) block[i] = 0x11; /* scales that are not 0 */
        dequant_for(format->type)(block, format->weights, base);
        size_t touched[256] = {0};
        for (size_t bit = 0; bit < 8 * format->bytes; bit++) {
            block[bit / 8] ^= (uint8_t)(1 << bit % 8);
            dequant_for(format->type)(block, format->weights, changed);
            block[bit / 8] ^= (uint8_t)(1 << bit % 8);
            size_t differing = 0, last = 0;
            for (size_t i = 0; i < format->weights; i++)
                if (!same(base[i], changed[i])) {
                    differing++;
                    last = i;
                }
            if (differing == 1) touched[last]++;
        }
        /* All weights of a format have the same number of bits of their own. */
        for (size_t i = 0; i < format->weights; i++) assert_int_equal(touched[i], touched[0]);
        assert_in_range(touched[0], 2, 8);
    }
}

static void only_these_types_can_be_computed_with(void **state) {
    (void)state;
    for (gguf_type type = 0; type < 300; type++) {
        const block_format *format = NULL;
        for (size_t f = 0; f < block_format_count; f++)
            if (block_formats[f].type == type) format = &block_formats[f];
        assert_int_equal(dequant_for(type) != NULL, format != NULL);
        if (!format) continue;
        assert_int_equal(gguf_type_traits(type)->block_elements, format->weights);
        assert_int_equal(gguf_type_traits(type)->block_bytes, format->bytes);
    }
    assert_null(dequant_for(UINT32_MAX));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_halves),
        cmocka_unit_test(floats_become_the_nearest_halves),
        cmocka_unit_test(all_e8m0_scales),
        cmocka_unit_test(random_rows_of_every_type),
        cmocka_unit_test(every_scale_of_every_type),
        cmocka_unit_test(weights_do_not_leak_into_each_other),
        cmocka_unit_test(only_these_types_can_be_computed_with),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
