/* Checked allocation: products that do not fit, failures on demand, outputs untouched by failures. */
#include "base/mem.h"
#include "support.h"

/* Without this AddressSanitizer ends the process on a size that malloc would refuse. */
__attribute__((visibility("default"))) const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "allocator_may_return_null=1"; }

static void products_and_sums_are_checked(void **state) {
    (void)state;
    static const uint64_t edges[] = {
        0, 1, 2, 3, 0xffffffff, 0x100000000, 0x100000001, INT64_MAX, UINT64_MAX - 1, UINT64_MAX};
    enum { EDGES = sizeof edges / sizeof *edges };
    for (size_t i = 0; i < EDGES; i++) {
        for (size_t j = 0; j < EDGES; j++) {
            unsigned __int128 product = (unsigned __int128)edges[i] * edges[j],
                              sum = (unsigned __int128)edges[i] + edges[j];
            uint64_t out = 77;
            assert_int_equal(mem_mul_u64(edges[i], edges[j], &out), product <= UINT64_MAX);
            assert_true(out == (product <= UINT64_MAX ? (uint64_t)product : 77));
            out = 77;
            assert_int_equal(mem_add_u64(edges[i], edges[j], &out), sum <= UINT64_MAX);
            assert_true(out == (sum <= UINT64_MAX ? (uint64_t)sum : 77));
        }
    }
}

static void arrays_are_zeroed_and_aligned(void **state) {
    (void)state;
    for (size_t count = 0; count < 200; count++) {
        uint8_t *plain = NULL, *aligned = NULL;
        assert_ok(mem_array(count, 3, "plain", &plain, err));
        assert_ok(mem_array_aligned(count, 3, "aligned", &aligned, err));
        assert_non_null(plain);
        assert_non_null(aligned);
        assert_int_equal((uintptr_t)aligned % 64, 0);
        for (size_t i = 0; i < 3 * count; i++) assert_int_equal(plain[i] | aligned[i], 0);
        memset(plain, 0xff, 3 * count); /* all of it is ours, and the next calls find dirty memory */
        memset(aligned, 0xff, 3 * count);
        free(plain);
        free(aligned);
    }
}

static void impossible_sizes_are_refused_by_name(void **state) {
    (void)state;
    static const struct {
        size_t count, size;
    } sizes[] = {{SIZE_MAX, 1},         {SIZE_MAX, 2},      {2, SIZE_MAX},        {SIZE_MAX / 2 + 1, 2},
                 {SIZE_MAX / 8 + 1, 8}, {SIZE_MAX - 10, 1}, {(size_t)1 << 60, 1}, {(size_t)1 << 32, (size_t)1 << 32}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        static char untouched;
        for (int way = 0; way < 3; way++) {
            void *out = &untouched, *resized = NULL;
            gptoss_error err = {0};
            gptoss_status status = way == 0   ? mem_array(sizes[i].count, sizes[i].size, "KV cache", &out, &err)
                                   : way == 1 ? mem_array_aligned(sizes[i].count, sizes[i].size, "KV cache", &out, &err)
                                              : mem_resize(&resized, sizes[i].count, sizes[i].size, "KV cache", &err);
            assert_int_equal(status, GPTOSS_NO_MEMORY);
            assert_non_null(strstr(err.text, "KV cache"));
            assert_ptr_equal(out, &untouched);
            assert_null(resized);
        }
    }
}

static void resizing_keeps_what_is_there(void **state) {
    (void)state;
    uint32_t *array = NULL;
    assert_ok(mem_resize(&array, 0, sizeof *array, "numbers", err));
    assert_non_null(array);
    for (uint32_t count = 1; count < 1000; count++) {
        assert_ok(mem_resize(&array, count, sizeof *array, "numbers", err));
        array[count - 1] = count;
    }
    assert_ok(mem_resize(&array, 500, sizeof *array, "numbers", err));
    uint32_t *before = array;
    gptoss_error err = {0};
    assert_int_equal(mem_resize(&array, SIZE_MAX / 4 + 1, sizeof *array, "numbers", &err), GPTOSS_NO_MEMORY);
    mem_fail_after(0);
    assert_int_equal(mem_resize(&array, 2000, sizeof *array, "numbers", &err), GPTOSS_NO_MEMORY);
    assert_ptr_equal(array, before);
    for (uint32_t i = 0; i < 500; i++) assert_int_equal(array[i], i + 1);
    free(array);
}

static gptoss_status allocate(int way, void **out, gptoss_error *err) {
    switch (way) {
    case 0: return mem_array(10, 10, "test", out, err);
    case 1: return mem_array_aligned(10, 10, "test", out, err);
    default: return mem_resize(out, 10, 10, "test", err);
    }
}

static void the_nth_allocation_fails_once(void **state) {
    (void)state;
    for (int way = 0; way < 3; way++) {
        for (int n = 0; n < 6; n++) {
            mem_fail_after(n);
            for (int i = 0; i < 8; i++) {
                void *out = NULL;
                gptoss_error err = {0};
                assert_int_equal(allocate(way, &out, &err), i == n ? GPTOSS_NO_MEMORY : GPTOSS_OK);
                assert_int_equal(out == NULL, i == n);
                free(out);
            }
        }
    }
    mem_fail_after(1);
    mem_fail_after(-1);
    for (int i = 0; i < 4; i++) {
        void *out = NULL;
        assert_ok(allocate(0, &out, err));
        free(out);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_and_sums_are_checked),        cmocka_unit_test(arrays_are_zeroed_and_aligned),
        cmocka_unit_test(impossible_sizes_are_refused_by_name), cmocka_unit_test(resizing_keeps_what_is_there),
        cmocka_unit_test(the_nth_allocation_fails_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
