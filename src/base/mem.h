/* mem.h: checked allocation. Every size that comes from a file, a flag or a message goes through these. */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* *out = a * b; false (and *out untouched) when the product does not fit. */
bool mem_mul_u64(uint64_t a, uint64_t b, uint64_t *out);
bool mem_add_u64(uint64_t a, uint64_t b, uint64_t *out);

/* A zeroed array of `count` elements of `size` bytes, or GPTOSS_NO_MEMORY naming `what` ("KV cache of layer 3").
 * The caller frees it with free(). A count of 0 gives a valid pointer to nothing. */
gptoss_status mem_array(size_t count, size_t size, const char *what, void *out, gptoss_error *err);

/* The same, its address a multiple of 64 (a cache line, and enough for every vector unit). */
gptoss_status mem_array_aligned(size_t count, size_t size, const char *what, void *out, gptoss_error *err);

/* Resizes *array (NULL or from mem_array) to `count` elements; new elements are not zeroed; *array is untouched on
 * failure. */
gptoss_status mem_resize(void *array, size_t count, size_t size, const char *what, gptoss_error *err);

/* For tests: the n-th allocation from now (0: the next) fails once; a negative number switches this off. */
void mem_fail_after(long n);

#endif
