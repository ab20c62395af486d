/* inspect_report.h: what `gptoss-dist inspect` prints of a GGUF file, for people and as JSON. */
#ifndef CLI_INSPECT_REPORT_H
#define CLI_INSPECT_REPORT_H

#include <stdbool.h>
#include <stdio.h>

#include "gguf/gguf.h"

typedef struct inspect_options {
    bool metadata, tensors; /* the sections wanted */
    bool full;              /* long arrays and texts whole instead of their beginning */
} inspect_options;

/* Both write to `out` and leave it to the caller to look for write errors; they stop early once there was one. */
void inspect_print_text(FILE *out, const gguf_file *file, const inspect_options *options);

/* One JSON object. Integers beyond 2^53, which many readers of JSON would round, are strings, as are the reals that
 * JSON cannot say ("NaN", "Infinity", "-Infinity"). */
void inspect_print_json(FILE *out, const gguf_file *file, const inspect_options *options);

/* Values and names, for both. `json` selects JSON; otherwise text that a terminal can be trusted with. An array shows
 * its first `most` elements; a text is cut to about `longest` bytes (never in JSON). */
typedef struct inspect_style {
    FILE *out;
    bool json;
    uint64_t most;
    size_t longest;
} inspect_style;

void inspect_print_value(const inspect_style *style, const gguf_value *value);
void inspect_print_string(const inspect_style *style, gguf_text text); /* in quotes */
void inspect_print_u64(const inspect_style *style, uint64_t v);
const char *inspect_kind_name(gguf_kind kind); /* "u32" */

/* What the tensors of one type add up to. */
typedef struct inspect_total {
    gguf_type type;
    bool is_known; /* otherwise of all types that types.h does not list, and bytes = 0 */
    uint64_t tensors, weights, bytes;
} inspect_total;

enum { INSPECT_MOST_TYPES = 65 };

/* Fills in the types that occur, those with most bytes first, and their sum; returns how many there are. */
size_t inspect_count(const gguf_file *file, inspect_total totals[INSPECT_MOST_TYPES], inspect_total *sum);

/* Of the tensors whose size is known; 0 when there are none. */
double inspect_bits_per_weight(const inspect_total *totals, size_t count);

uint64_t inspect_total_bytes(const gguf_file *file); /* of all parts */

#endif
