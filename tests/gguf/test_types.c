#include "gguf/types.h"

#include "support.h"

/* Each from what a block consists of, as the formats are published. */
static void blocks_have_the_size_of_their_fields(void **state) {
    (void)state;
    enum { F16 = 2, SCALES_K = 12 };
    static const struct {
        gguf_type type;
        const char *name;
        uint32_t elements, bytes;
    } want[] = {
        {0, "F32", 1, 4},
        {1, "F16", 1, 2},
        {2, "Q4_0", 32, F16 + 32 / 2},
        {3, "Q4_1", 32, 2 * F16 + 32 / 2},
        {6, "Q5_0", 32, F16 + 32 / 8 + 32 / 2},
        {7, "Q5_1", 32, 2 * F16 + 32 / 8 + 32 / 2},
        {8, "Q8_0", 32, F16 + 32},
        {9, "Q8_1", 32, 2 * F16 + 32},
        {10, "Q2_K", 256, 256 / 16 + 256 / 4 + 2 * F16},
        {11, "Q3_K", 256, 256 / 8 + 256 / 4 + SCALES_K + F16},
        {12, "Q4_K", 256, 2 * F16 + SCALES_K + 256 / 2},
        {13, "Q5_K", 256, 2 * F16 + SCALES_K + 256 / 8 + 256 / 2},
        {14, "Q6_K", 256, 256 / 2 + 256 / 4 + 256 / 16 + F16},
        {15, "Q8_K", 256, 4 + 256 + 256 / 16 * 2},
        {16, "IQ2_XXS", 256, F16 + 256 / 8 * 2},
        {17, "IQ2_XS", 256, F16 + 256 / 8 * 2 + 256 / 32},
        {18, "IQ3_XXS", 256, F16 + 3 * (256 / 8)},
        {19, "IQ1_S", 256, F16 + 256 / 8 + 256 / 32 * 2},
        {20, "IQ4_NL", 32, F16 + 32 / 2},
        {21, "IQ3_S", 256, F16 + 256 / 4 + 256 / 32 + 256 / 8 + 256 / 64},
        {22, "IQ2_S", 256, F16 + 256 / 4 + 256 / 32 + 256 / 32},
        {23, "IQ4_XS", 256, F16 + 2 + 256 / 64 + 256 / 2},
        {24, "I8", 1, 1},
        {25, "I16", 1, 2},
        {26, "I32", 1, 4},
        {27, "I64", 1, 8},
        {28, "F64", 1, 8},
        {29, "IQ1_M", 256, 256 / 8 + 256 / 16 + 256 / 32},
        {30, "BF16", 1, 2},
        {34, "TQ1_0", 256, F16 + 256 / 64 + (256 - 4 * 256 / 64) / 5},
        {35, "TQ2_0", 256, F16 + 256 / 4},
        {39, "MXFP4", 32, 1 + 32 / 2},
        {40, "NVFP4", 64, 64 / 16 + 64 / 2},
    };
    size_t known = 0;
    for (gguf_type type = 0; type < 1000; type++) known += gguf_type_traits(type) != NULL;
    assert_int_equal(known, sizeof want / sizeof want[0]);
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        const type_traits *t = gguf_type_traits(want[i].type);
        assert_non_null(t);
        assert_string_equal(t->name, want[i].name);
        assert_int_equal(t->block_elements, want[i].elements);
        assert_int_equal(t->block_bytes, want[i].bytes);
    }
}

static void numbers_nobody_gave_out_are_unknown(void **state) {
    (void)state;
    static const gguf_type unknown[] = {4, 5, 31, 32, 33, 36, 37, 38, 41, 255, 0x80000000, UINT32_MAX};
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) assert_null(gguf_type_traits(unknown[i]));
}

static void names_are_found_in_any_case(void **state) {
    (void)state;
    gguf_type type = 1234;
    assert_true(gguf_type_by_name("mxfp4", &type));
    assert_int_equal(type, TYPE_MXFP4);
    assert_true(gguf_type_by_name("Q4_k", &type));
    assert_int_equal(type, TYPE_Q4_K);
    assert_true(gguf_type_by_name("F32", &type));
    assert_int_equal(type, TYPE_F32);
    type = 1234;
    assert_false(gguf_type_by_name("", &type));
    assert_false(gguf_type_by_name("Q4", &type));
    assert_false(gguf_type_by_name("Q4_K_M", &type));
    assert_int_equal(type, 1234);
}

static void rows_are_whole_blocks(void **state) {
    (void)state;
    uint64_t bytes = 7;
    assert_ok(gguf_row_bytes(TYPE_MXFP4, 2880, &bytes, err));
    assert_int_equal(bytes, 1530);
    assert_ok(gguf_row_bytes(TYPE_F32, 3, &bytes, err));
    assert_int_equal(bytes, 12);
    assert_ok(gguf_row_bytes(TYPE_Q6_K, 4096, &bytes, err));
    assert_int_equal(bytes, 3360);
    gptoss_error fault = {0};
    bytes = 7;
    assert_int_equal(gguf_row_bytes(TYPE_Q6_K, 2880, &bytes, &fault), GPTOSS_BAD_INPUT);
    assert_non_null(strstr(fault.text, "2880"));
    assert_non_null(strstr(fault.text, "Q6_K"));
    assert_int_equal(gguf_row_bytes(31, 32, &bytes, &fault), GPTOSS_BAD_INPUT);
    assert_non_null(strstr(fault.text, "31"));
    assert_int_equal(gguf_row_bytes(TYPE_F64, UINT64_MAX / 8 + 1, &bytes, &fault), GPTOSS_BAD_INPUT);
    assert_int_equal(bytes, 7);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_have_the_size_of_their_fields),
        cmocka_unit_test(numbers_nobody_gave_out_are_unknown),
        cmocka_unit_test(names_are_found_in_any_case),
        cmocka_unit_test(rows_are_whole_blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
