#include "kernels/activations.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "kernels/integer.h"

enum { LINE = 64 };

static size_t lines(size_t bytes) { return (bytes + LINE - 1) / LINE * LINE; }

static size_t digits(size_t cols) {
    const size_t group = ACTIVATION_TOGETHER * ACTIVATION_BLOCK;
    return (cols + group - 1) / group * group;
}

gptoss_status activations_open(size_t count, size_t cols, activations *out, gptoss_error *err) {
    activations a = {.cols = cols, .count = count};
    size_t blocks = cols / ACTIVATION_BLOCK;
    a.row_bytes = lines(cols * sizeof(int16_t)) + 2 * digits(cols) + 2 * lines(blocks * sizeof(float));
    TRY(mem_array_aligned(count, a.row_bytes, "activations", &a.rows, err));
    *out = a;
    return GPTOSS_OK;
}

void activations_close(activations *a) {
    free(a->rows);
    *a = (activations){0};
}

activation_row activations_row(const activations *a, size_t i) {
    uint8_t *at = a->rows + i * a->row_bytes;
    size_t blocks = a->cols / ACTIVATION_BLOCK;
    activation_row row;
    row.q = (int16_t *)(void *)at;
    at += lines(a->cols * sizeof(int16_t));
    row.high = (int8_t *)at;
    at += digits(a->cols);
    row.low = (int8_t *)at;
    at += digits(a->cols);
    row.scales = (float *)(void *)at;
    at += lines(blocks * sizeof(float));
    row.sums = (int32_t *)(void *)at;
    return row;
}

void activations_round(activations *a, size_t i, const float *x) {
    integer_kernels_used()->round(x, a->cols, activations_row(a, i));
}

static size_t block_words(void) {
    switch (integer_kernels_used()->order) {
    case PACKED_CROSSED: return CROSSED_WORDS;
    case PACKED_BFLOAT16: return 2 * PAIRS;
    default: return PAIRS;
    }
}

size_t packed_words(size_t cols) { return cols / ACTIVATION_BLOCK * block_words(); }

packed_tokens packed_room(size_t tokens, size_t cols, int32_t *pairs, float *scales) {
    const integer_kernels *kernels = integer_kernels_used();
    size_t most = kernels->group, groups = (tokens + most - 1) / most;
    size_t group = groups && !kernels->whole_groups ? (tokens + groups - 1) / groups : most;
    return (packed_tokens){.tokens = tokens, .cols = cols, .group = group, .pairs = pairs, .scales = scales};
}

size_t packed_scales_at(const packed_tokens *p, size_t block, size_t blocks, size_t token) {
    return p->tokens * block + token * blocks;
}

size_t packed_pairs_at(const packed_tokens *p, size_t block, size_t blocks, size_t token) {
    return block_words() * packed_scales_at(p, block, blocks, token);
}

/* Blocks [block, block + blocks) of a row as token number `lane` of the `width` of a group. */
static void write_pairs(activation_row row, size_t block, size_t blocks, size_t lane, size_t width, int32_t *group) {
    for (size_t i = 0; i < blocks * PAIRS; i++)
        memcpy(group + i * width + lane, row.q + block * ACTIVATION_BLOCK + 2 * i, sizeof *group);
}

static void write_crossed(activation_row row, size_t block, size_t blocks, size_t lane, size_t width, int32_t *group) {
    int32_t *to = group + lane;
    for (const int16_t *q = row.q + block * ACTIVATION_BLOCK, *end = q + blocks * ACTIVATION_BLOCK; q < end;) {
        uint32_t sum = 0;
        for (size_t half = 0; half < 2; half++) {
            for (size_t i = 0; i < CROSSED; i += 4, q += 4, to += 2 * width) {
                memcpy(to, (int16_t[]){q[0], q[2]}, sizeof *to);
                memcpy(to + width, (int16_t[]){q[1], q[3]}, sizeof *to);
                sum += (uint32_t)(q[0] * q[1]) + (uint32_t)(q[2] * q[3]);
            }
            for (size_t i = CROSSED; i < ACTIVATION_BLOCK / 2; i += 2, q += 2, to += width) memcpy(to, q, sizeof *to);
        }
        memcpy(to, &sum, sizeof sum);
        to += width;
    }
}

static void write_digits(activation_row row, size_t block, size_t blocks, size_t lane, size_t width, int32_t *group) {
    for (size_t i = 0; i < blocks; i++) {
        uint8_t *to = (uint8_t *)(group + (i * width + lane) * PAIRS);
        memcpy(to, row.high + (block + i) * ACTIVATION_BLOCK, ACTIVATION_BLOCK);
        memcpy(to + ACTIVATION_BLOCK, row.low + (block + i) * ACTIVATION_BLOCK, ACTIVATION_BLOCK);
    }
}

static void write_token(const packed_tokens *p, activation_row row, size_t token) {
    size_t all_blocks = p->cols / ACTIVATION_BLOCK, first = token / p->group * p->group, lane = token - first;
    size_t width = p->tokens - first < p->group ? p->tokens - first : p->group;
    for (size_t block = 0; block < all_blocks; block += PACK_BLOCKS) {
        size_t blocks = all_blocks - block < PACK_BLOCKS ? all_blocks - block : PACK_BLOCKS;
        int32_t *group = p->pairs + packed_pairs_at(p, block, blocks, first);
        float *scales = p->scales + packed_scales_at(p, block, blocks, first) + lane;
        switch (integer_kernels_used()->order) {
        case PACKED_PAIRS: write_pairs(row, block, blocks, lane, width, group); break;
        case PACKED_DIGITS: write_digits(row, block, blocks, lane, width, group); break;
        case PACKED_BFLOAT16: integer_kernels_used()->pack(row, block, blocks, lane, width, group); break;
        case PACKED_CROSSED: write_crossed(row, block, blocks, lane, width, group); break;
        }
        for (size_t i = 0; i < blocks; i++) scales[i * width] = row.scales[block + i];
    }
}

void packed_write(const packed_tokens *p, const activations *a, const uint32_t *index, size_t first, size_t begin,
                  size_t end) {
    for (size_t t = begin; t < end; t++) write_token(p, activations_row(a, first + (index ? index[t] : t)), t);
}
