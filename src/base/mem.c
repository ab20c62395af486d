#include "base/mem.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static atomic_long fail_countdown = -1;

void mem_fail_after(long n) { atomic_store(&fail_countdown, n); }

static bool injected_failure(void) {
    if (atomic_load_explicit(&fail_countdown, memory_order_relaxed) < 0) return false;
    return atomic_fetch_sub(&fail_countdown, 1) == 0;
}

bool mem_mul_u64(uint64_t a, uint64_t b, uint64_t *out) {
    if (b != 0 && a > UINT64_MAX / b) return false;
    *out = a * b;
    return true;
}

bool mem_add_u64(uint64_t a, uint64_t b, uint64_t *out) {
    if (a > UINT64_MAX - b) return false;
    *out = a + b;
    return true;
}

static gptoss_status refuse(size_t count, size_t size, const char *what, gptoss_error *err) {
    return error_set(err, GPTOSS_NO_MEMORY, "cannot allocate %zu x %zu bytes for the %s", count, size, what);
}

gptoss_status mem_array(size_t count, size_t size, const char *what, void *out, gptoss_error *err) {
    void *block = injected_failure() ? NULL : calloc(count ? count : 1, size ? size : 1);
    if (!block) return refuse(count, size, what, err);
    memcpy(out, &block, sizeof block);
    return GPTOSS_OK;
}

gptoss_status mem_array_aligned(size_t count, size_t size, const char *what, void *out, gptoss_error *err) {
    uint64_t bytes;
    if (!mem_mul_u64(count, size, &bytes) || bytes > SIZE_MAX - 64) return refuse(count, size, what, err);
    size_t rounded = ((size_t)bytes + 64) & ~(size_t)63;
    void *block = injected_failure() ? NULL : aligned_alloc(64, rounded);
    if (!block) return refuse(count, size, what, err);
    memset(block, 0, rounded);
    memcpy(out, &block, sizeof block);
    return GPTOSS_OK;
}

gptoss_status mem_resize(void *array, size_t count, size_t size, const char *what, gptoss_error *err) {
    void *old, *block = NULL;
    uint64_t bytes;
    memcpy(&old, array, sizeof old);
    if (!mem_mul_u64(count, size, &bytes) || bytes > SIZE_MAX) return refuse(count, size, what, err);
    if (!injected_failure()) block = realloc(old, bytes ? (size_t)bytes : 1);
    if (!block) return refuse(count, size, what, err);
    memcpy(array, &block, sizeof block);
    return GPTOSS_OK;
}
