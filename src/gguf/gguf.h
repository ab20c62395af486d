/* gguf.h: reading GGUF v2 and v3 files, whole or split into parts. Works on any GGUF; knows nothing of a model.
 *
 * Opening reads the headers (metadata and tensor directory) of all parts into memory and checks every length, count and
 * offset in them against the files; tensor data is neither read nor mapped (see map.h). After gguf_open the directory
 * can be trusted: each tensor's bytes lie inside its part and overlap no other's, rows are whole blocks, dimensions are
 * not 0 and multiply to less than 2^63, keys and tensor names are unique. A tensor of a type that types.h does not list
 * is kept, with `bytes` 0, so that any GGUF can be inspected; who computes with a tensor must look at its type anyway.
 *
 * The format: github.com/ggml-org/ggml, docs/gguf.md. */
#ifndef GGUF_GGUF_H
#define GGUF_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cursor.h"
#include "base/error.h"
#include "gguf/types.h"

/* Types of metadata values; the numbers are the format's. */
typedef enum gguf_kind {
    GGUF_U8 = 0,
    GGUF_I8 = 1,
    GGUF_U16 = 2,
    GGUF_I16 = 3,
    GGUF_U32 = 4,
    GGUF_I32 = 5,
    GGUF_F32 = 6,
    GGUF_BOOL = 7,
    GGUF_STRING = 8,
    GGUF_ARRAY = 9,
    GGUF_U64 = 10,
    GGUF_I64 = 11,
    GGUF_F64 = 12
} gguf_kind;

size_t gguf_kind_bytes(gguf_kind kind); /* of one value; 0 for texts and arrays, which vary in size */

typedef struct gguf_text { /* borrowed bytes, not NUL-terminated, any content */
    const char *bytes;
    size_t size;
} gguf_text;

typedef struct gguf_value {
    gguf_text key;
    gguf_kind kind;
    gguf_kind element;   /* kind of an array's elements, GGUF_ARRAY for nested arrays; else the same as kind */
    uint64_t count;      /* elements of an array, 1 otherwise */
    const uint8_t *data; /* the encoded value as it stands in the file; for arrays the first element */
    size_t size;         /* bytes at data */
} gguf_value;

typedef struct gguf_tensor {
    const char *name; /* NUL-terminated, unique in the file */
    uint32_t n_dims;  /* 1 to 4 */
    uint64_t dims[4]; /* dims[0] is the row length (contiguous); unused ones are 1 */
    gguf_type type;
    uint64_t offset; /* of the data from the start of its part, in bytes */
    uint64_t bytes;  /* 0 when gguf_type_traits(type) is NULL: nobody can tell */
    uint32_t part;   /* 0-based */
} gguf_tensor;

typedef struct gguf_file gguf_file;

/* Opens `path`. If it is one part of a split file (split.count > 1, named NAME-0000I-of-0000N.gguf), the others are
 * found beside it, whichever was given. Tensors are numbered in directory order, parts one after another; metadata is
 * that of part 1. The caller closes the file. Damage gives GPTOSS_BAD_INPUT with a text that begins with the path of
 * the part and tells the place in it (byte, key or tensor) and what is wrong. */
gptoss_status gguf_open(const char *path, gguf_file **out, gptoss_error *err);
void gguf_close(gguf_file *file); /* NULL is fine. All borrowed pointers end here. */

uint32_t gguf_version(const gguf_file *file);
uint32_t gguf_part_count(const gguf_file *file);
const char *gguf_part_path(const gguf_file *file, uint32_t part);
uint64_t gguf_part_size(const gguf_file *file, uint32_t part); /* bytes */
uint64_t gguf_alignment(const gguf_file *file);                /* of part 1 */

/* A 64-bit hash (FNV-1a) of all parts' metadata and tensor directories: equal for ranks that opened equal files. */
uint64_t gguf_fingerprint(const gguf_file *file);

size_t gguf_tensor_count(const gguf_file *file);
const gguf_tensor *gguf_tensor_at(const gguf_file *file, size_t index);       /* index < count */
const gguf_tensor *gguf_find_tensor(const gguf_file *file, const char *name); /* NULL when absent */

size_t gguf_value_count(const gguf_file *file);
const gguf_value *gguf_value_at(const gguf_file *file, size_t index);
const gguf_value *gguf_find_value(const gguf_file *file, const char *key); /* NULL when absent */

/* Conversions: false (and *out untouched) when the value has another kind or does not fit. Any integer kind, negative
 * ones excluded, converts to u64; any number to f64. `value` may be NULL, which is false. */
bool gguf_as_u64(const gguf_value *value, uint64_t *out);
bool gguf_as_f64(const gguf_value *value, double *out);
bool gguf_as_bool(const gguf_value *value, bool *out);
bool gguf_as_text(const gguf_value *value, gguf_text *out);

/* Walks an array of strings or numbers: start with gguf_elements, then call a `next` until it returns false (the end,
 * or an element of another kind). */
typedef struct gguf_iterator {
    cursor at;
    gguf_kind element;
    uint64_t left;
} gguf_iterator;
gguf_iterator gguf_elements(const gguf_value *array); /* of NULL or of no array: an empty walk */
bool gguf_next_text(gguf_iterator *it, gguf_text *out);
bool gguf_next_u64(gguf_iterator *it, uint64_t *out);
bool gguf_next_f64(gguf_iterator *it, double *out);

#endif
