/* Attention kernels: plain C against double precision, the others against plain C, bit for bit. */
#include "kernels/attend.h"

#include <math.h>

#include "kernels/attend_kernels.h"
#include "kernels/dequant.h"
#include "kernels/isa.h"
#include "random.h"
#include "support.h"

enum { POSITIONS = 900, MOST_HEADS = 11, MOST_DIM = 128 };

/* What is attended to: plain arrays, and pages filled from them position by position. */
typedef struct scene {
    uint32_t heads, dim;
    float *q, *sinks, *keys, *values; /* [heads][dim], [heads], [POSITIONS][dim] each */
    kv_head kv;
    void *memory[2];
    uint32_t *pages;
    float scale;
} scene;

static void *aligned(size_t bytes, size_t skew, void **memory) {
    *memory = malloc(bytes + 128);
    uint8_t *p = (uint8_t *)*memory;
    p += 64 - (uintptr_t)p % 64 + skew;
    memset(p, 0xff, bytes); /* NaN, in both types: what was never stored must not be used */
    return p;
}

static void make_storable(kv_type type, float *x, uint32_t count) {
    float largest = 0;
    for (uint32_t i = 0; i < count; i++) largest = fmaxf(largest, fabsf(x[i]));
    for (uint32_t i = 0; i < count; i++)
        x[i] = type == KV_F16    ? half_to_float(half_from_float(x[i]))
               : type == KV_Q8_0 ? (float)(rint((double)x[i] / largest * 127) * largest / 127)
                                 : (float)(rint((double)x[i] / largest * 32767) * largest / 32767);
}

/* count of the numbers below count + spare, in any order. */
static uint32_t *shuffled(uint32_t count, uint32_t spare, uint64_t *seed) {
    uint32_t *numbers = malloc((count + spare) * sizeof *numbers);
    for (uint32_t i = 0; i < count + spare; i++) {
        uint32_t other = (uint32_t)random_below(seed, i + 1);
        numbers[i] = numbers[other];
        numbers[other] = i;
    }
    return numbers;
}

/* The pages of the last `window` of positions [0, end), scattered over as many and `spare` more. */
static scene scene_open(kv_type type, uint32_t heads, uint32_t dim, uint32_t end, uint32_t window, uint32_t spare,
                        float size, size_t skew, uint64_t *seed) {
    uint32_t bits = 4 + (uint32_t)random_below(seed, 6), page = 1u << bits;
    uint32_t first = (end - window) / page, count = (end - 1) / page - first + 1;
    scene s = {.heads = heads, .dim = dim, .scale = 0.25f, .pages = shuffled(count, spare, seed)};
    size_t in_page = kv_head_bytes(type, dim, page / ATTEND_BLOCK), stride = in_page + 64 * spare,
           bytes = (count + spare) * stride;
    assert_int_equal(in_page, (size_t)page * dim *
                                      (type == KV_F32    ? 4
                                       : type == KV_Q8_0 ? 1
                                                         : 2) +
                                  (type == KV_I16 || type == KV_Q8_0 ? page * 4 : 0));
    s.kv = (kv_head){
        .type = type, .head_dim = dim, .page_bits = bits, .pages = s.pages, .first_page = first, .stride = stride};
    s.kv.keys = aligned(bytes, skew, &s.memory[0]);
    s.kv.values = aligned(bytes, skew, &s.memory[1]);
    s.q = malloc(heads * dim * sizeof *s.q);
    s.sinks = malloc(heads * sizeof *s.sinks);
    s.keys = malloc(POSITIONS * dim * sizeof *s.keys);
    s.values = malloc(POSITIONS * dim * sizeof *s.values);
    random_floats(seed, s.q, heads * dim);
    random_floats(seed, s.sinks, heads);
    random_floats(seed, s.keys, POSITIONS * dim);
    random_floats(seed, s.values, POSITIONS * dim);
    for (uint32_t i = 0; i < heads * dim; i++) s.q[i] *= size;
    for (uint32_t i = 0; i < POSITIONS * dim && type != KV_F32; i += dim) { /* so that storing them loses nothing */
        make_storable(type, s.keys + i, dim);
        make_storable(type, s.values + i, dim);
    }
    for (uint32_t p = first * page; p < end; p++) kv_head_store(&s.kv, p, s.keys + p * dim, s.values + p * dim);
    return s;
}

static void scene_close(scene *s) {
    void *all[] = {s->memory[0], s->memory[1], s->pages, s->q, s->sinks, s->keys, s->values};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

/* out[heads][dim] by the formula, in double. */
static void attend_plainly(const scene *s, uint32_t begin, uint32_t end, double *out) {
    for (uint32_t h = 0; h < s->heads; h++, out += s->dim) {
        double max = s->sinks[h], sum = 0, scores[POSITIONS];
        for (uint32_t p = begin; p < end; p++) {
            scores[p] = 0;
            for (uint32_t i = 0; i < s->dim; i++)
                scores[p] += (double)s->scale * s->q[h * s->dim + i] * s->keys[p * s->dim + i];
            max = fmax(max, scores[p]);
        }
        for (uint32_t i = 0; i < s->dim; i++) out[i] = 0;
        for (uint32_t p = begin; p < end; p++) {
            sum += exp(scores[p] - max);
            for (uint32_t i = 0; i < s->dim; i++) out[i] += exp(scores[p] - max) * s->values[p * s->dim + i];
        }
        for (uint32_t i = 0; i < s->dim; i++) out[i] /= sum + exp(s->sinks[h] - max);
    }
}

static float *attend_with(isa which, const scene *s, uint32_t begin, uint32_t end) {
    isa_use(which);
    const attend_query query = {s->q, s->sinks, s->heads, s->scale};
    float *scratch = malloc(attend_scratch_size(s->heads, s->dim) * sizeof *scratch);
    float *out = malloc(s->heads * s->dim * sizeof *out);
    memset(scratch, 0xff, attend_scratch_size(s->heads, s->dim) * sizeof *scratch);
    attend(&query, &s->kv, begin, end, scratch, out);
    free(scratch);
    return out;
}

/* The same from pieces that were computed in descending order, as different threads might. */
static float *attend_in_pieces(const scene *s, uint32_t begin, uint32_t end) {
    const attend_query query = {s->q, s->sinks, s->heads, s->scale};
    size_t size = attend_state_size(s->heads, s->dim);
    float *scratch = malloc(attend_scratch_size(s->heads, s->dim) * sizeof *scratch);
    float *pieces = malloc((POSITIONS / ATTEND_PIECE + 1) * size * sizeof *pieces),
          *state = malloc(size * sizeof *state);
    float *out = malloc(s->heads * s->dim * sizeof *out);
    uint32_t first = begin / ATTEND_PIECE, last = begin < end ? (end - 1) / ATTEND_PIECE + 1 : first;
    for (uint32_t n = last; n-- > first;) {
        uint32_t from = n * ATTEND_PIECE, to = from + ATTEND_PIECE;
        attend_piece(&query, &s->kv, from < begin ? begin : from, to < end ? to : end, scratch, pieces + n * size);
    }
    attend_begin(&query, s->dim, state);
    for (uint32_t n = first; n < last; n++) attend_merge(s->heads, s->dim, pieces + n * size, state);
    attend_finish(s->heads, s->dim, state, out);
    free(scratch);
    free(pieces);
    free(state);
    return out;
}

/* Checks [begin, end) with every instruction set there is. */
static void check(const scene *s, uint32_t begin, uint32_t end, double tolerance) {
    size_t count = (size_t)s->heads * s->dim;
    double want[MOST_HEADS * MOST_DIM];
    attend_plainly(s, begin, end, want);
    float *plain = attend_with(ISA_PORTABLE, s, begin, end), *pieces = attend_in_pieces(s, begin, end);
    for (size_t i = 0; i < count; i++)
        if (!(fabs(plain[i] - want[i]) <= tolerance))
            fail_msg("heads %u, dim %u, [%u, %u): number %zu is %.9g, not %.9g", s->heads, s->dim, begin, end, i,
                     (double)plain[i], want[i]);
    assert_memory_equal(pieces, plain, count * sizeof *plain);
    for (isa which = 0; which < ISA_COUNT; which++) {
        if (!isa_available(which)) continue;
        float *fast = attend_with(which, s, begin, end);
        if (memcmp(fast, plain, count * sizeof *plain) != 0)
            fail_msg("%s, heads %u, dim %u, [%u, %u): other bits than plain C", isa_name(which), s->heads, s->dim,
                     begin, end);
        free(fast);
    }
    free(plain);
    free(pieces);
}

static void every_shape_and_range(void **state) {
    (void)state;
    uint64_t seed = 5;
    static const uint32_t dims[] = {64, 64, 64, 2, 6, 16, 18, 32, 48, 80, 96, 128};
    for (uint32_t round = 0; round < 160; round++) {
        kv_type type = KV_I16 + (round + round / 12) % 4;
        uint32_t heads = 1 + (uint32_t)random_below(&seed, MOST_HEADS), dim = dims[round % 12];
        uint32_t end = 1 + (uint32_t)random_below(&seed, round % 4 ? POSITIONS : 40);
        uint32_t window = 1 + (uint32_t)random_below(&seed, end);
        if (round % 5 == 0) window = end;
        size_t skew = round % 7 ? 0 : 16;
        scene s = scene_open(type, heads, dim, end, window, (uint32_t)random_below(&seed, 3), 1, skew, &seed);
        check(&s, end - window, end, 2e-6);
        check(&s, end - 1, end, 2e-6);                                         /* itself alone */
        check(&s, end - 1 - (uint32_t)random_below(&seed, window), end, 2e-6); /* part of what is there */
        check(&s, end - window, end - (uint32_t)random_below(&seed, window), 2e-6);
        scene_close(&s);
    }
}

static void windows_at_every_phase(void **state) {
    (void)state;
    uint64_t seed = 8;
    for (uint32_t window = 1; window <= 40; window += 3)
        for (uint32_t end = ATTEND_PIECE - 20 + window; end < ATTEND_PIECE + 20 + window; end += 1) {
            scene s = scene_open(KV_I16, 3, 16, end, window, 0, 1, 0, &seed);
            check(&s, end - window, end, 2e-6);
            scene_close(&s);
        }
}

static void large_scores_do_not_overflow(void **state) {
    (void)state;
    uint64_t seed = 6;
    static const float sinks[] = {0, 500, -500, 3e38f, -3e38f};
    for (int round = 0; round < 20; round++) {
        scene s =
            scene_open(KV_I16 + (uint32_t)round % 4, 8, 64, 600, 600, 0, 300, 0, &seed); /* scores of some hundreds */
        for (uint32_t h = 0; h < s.heads; h++) s.sinks[h] = sinks[((uint32_t)round + h) % 5];
        check(&s, 0, 600, 1e-3);
        check(&s, 599, 600, 1e-3);
        scene_close(&s);
    }
}

static void the_sink_alone_gives_nothing(void **state) {
    (void)state;
    uint64_t seed = 7;
    scene s = scene_open(KV_F16, 8, 64, 5, 5, 0, 1, 0, &seed);
    check(&s, 3, 3, 0);
    scene_close(&s);
}

/* A NaN that is seen is not lost, wherever it is. */
static void damage_shows(void **state) {
    (void)state;
    uint64_t seed = 9;
    for (int way = 0; way < 16; way++) {
        int where = way % 4;
        scene s = scene_open(KV_I16 + (uint32_t)way / 4, 5, 32, 300, 300, 0, 1, 0, &seed);
        float *targets[] = {s.q + 4, s.sinks, s.keys + 290 * 32 + 4, s.values + 5 * 32 + 4};
        *targets[where] = NAN;
        for (uint32_t p = 0; p < 300; p++) kv_head_store(&s.kv, p, s.keys + p * 32, s.values + p * 32);
        for (isa which = 0; which < ISA_COUNT; which++) {
            if (!isa_available(which)) continue;
            float *out = attend_with(which, &s, 0, 300);
            assert_true(isnan(out[4])); /* of head 0 */
            if (where == 2)
                for (int i = 0; i < 5 * 32; i++) assert_true(isnan(out[i]));
            free(out);
        }
        scene_close(&s);
    }
}

/* How far a number that was stored may be from what it was. */
static void storing_rounds(void **state) {
    (void)state;
    const uint32_t page = 0;
    uint64_t seed = 10;
    for (uint32_t round = 0; round < 3000; round++) {
        float key[20], value[20], size = ldexpf(1, (int)random_below(&seed, 60) - 30);
        float keys[20 * 16 + 16], values[16 * 20 + 16];
        kv_head kv = {.type = KV_I16,
                      .head_dim = 20,
                      .page_bits = 4,
                      .pages = &page,
                      .keys = (void *)keys,
                      .values = (void *)values};
        random_floats(&seed, key, 20);
        random_floats(&seed, value, 20);
        float most_key = 0, most_value = 0;
        for (int i = 0; i < 20; i++) {
            most_key = fmaxf(most_key, fabsf(key[i] *= size));
            most_value = fmaxf(most_value, fabsf(value[i]));
        }
        kv_head_store(&kv, 3, key, value);
        float k_scale = keys[20 * 16 / 2 + 3], v_scale = values[20 * 16 / 2 + 3];
        for (int i = 0; i < 20; i++) {
            double k = k_scale * ((int16_t *)(void *)keys)[i * 16 + 3],
                   v = v_scale * ((int16_t *)(void *)values)[3 * 20 + i];
            assert_true(fabs(k - key[i]) <= most_key / 65534 * 1.01);
            assert_true(fabs(v - value[i]) <= most_value / 65534 * 1.01);
        }
        kv.type = KV_F16;
        kv_head_store(&kv, 3, key, value);
        for (int i = 0; i < 20; i++) {
            half k = half_from_float(key[i]), v = half_from_float(value[i]);
            assert_memory_equal((half *)(void *)keys + i * 16 + 3, &k, 2);
            assert_memory_equal((half *)(void *)values + 3 * 20 + i, &v, 2);
        }
    }
    float zeros[20] = {0}, tiny[20] = {1e-39f, -1e-31f}, keys[176], values[176];
    const kv_head kv = {
        .type = KV_I16, .head_dim = 20, .page_bits = 4, .pages = &page, .keys = (void *)keys, .values = (void *)values};
    kv_head_store(&kv, 3, zeros, tiny);
    assert_true(keys[163] == 0 && values[163] == 0);
}

static void types_have_names(void **state) {
    (void)state;
    kv_type type = KV_DEFAULT;
    assert_true(kv_type_by_name("i16", &type) && type == KV_I16);
    assert_true(kv_type_by_name("f16", &type) && type == KV_F16);
    assert_true(kv_type_by_name("q8_0", &type) && type == KV_Q8_0);
    assert_true(kv_type_by_name("f32", &type) && type == KV_F32);
    assert_false(kv_type_by_name("q8", &type));
    assert_false(kv_type_by_name("default", &type));
    assert_false(kv_type_by_name("", &type));
    assert_int_equal(type, KV_F32);
    isa_use(ISA_REFERENCE);
    assert_int_equal(kv_type_used(KV_DEFAULT), KV_F32);
    assert_int_equal(kv_type_used(KV_F16), KV_F16);
    isa_use(ISA_PORTABLE);
    assert_int_equal(kv_type_used(KV_DEFAULT), KV_I16);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_shape_and_range),
        cmocka_unit_test(windows_at_every_phase),
        cmocka_unit_test(large_scores_do_not_overflow),
        cmocka_unit_test(the_sink_alone_gives_nothing),
        cmocka_unit_test(damage_shows),
        cmocka_unit_test(storing_rounds),
        cmocka_unit_test(types_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
