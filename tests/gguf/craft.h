/* craft.h: GGUF files built byte by byte, right or wrong, with a record of where each field lies; and a folder for them
 * that the test removes. */
#ifndef TESTS_GGUF_CRAFT_H
#define TESTS_GGUF_CRAFT_H

#include "base/buffer.h"
#include "gguf/gguf.h"
#include "support.h"

typedef enum craft_field_kind {
    FIELD_MAGIC,         /* 4 bytes */
    FIELD_VERSION,       /* u32 */
    FIELD_TENSOR_COUNT,  /* u64 */
    FIELD_VALUE_COUNT,   /* u64 */
    FIELD_NAME_LENGTH,   /* u64, of a key or a tensor's name */
    FIELD_NAME,          /* its first byte */
    FIELD_KIND,          /* u32, of a value or of an array's elements */
    FIELD_ARRAY_COUNT,   /* u64 */
    FIELD_STRING_LENGTH, /* u64 */
    FIELD_BOOL,          /* u8 */
    FIELD_N_DIMS,        /* u32 */
    FIELD_DIM,           /* u64 */
    FIELD_TYPE,          /* u32 */
    FIELD_OFFSET         /* u64 */
} craft_field_kind;

typedef struct craft_field {
    craft_field_kind kind;
    size_t at; /* in the file */
} craft_field;

/* Zero-initialize; craft_free ends it. */
typedef struct craft {
    buffer bytes;
    craft_field fields[512];
    size_t field_count;
} craft;

void craft_free(craft *c);

/* Appended little-endian. */
void craft_u8(craft *c, uint8_t v);
void craft_u16(craft *c, uint16_t v);
void craft_u32(craft *c, uint32_t v);
void craft_u64(craft *c, uint64_t v);
void craft_f32(craft *c, float v);
void craft_f64(craft *c, double v);
void craft_bool(craft *c, bool v);
void craft_string(craft *c, const char *text); /* its length and its bytes */

void craft_head(craft *c, uint32_t version, uint64_t tensors, uint64_t values);
void craft_key(craft *c, const char *key, gguf_kind kind);     /* the value is to follow */
void craft_array(craft *c, gguf_kind element, uint64_t count); /* the elements are to follow */
void craft_tensor(craft *c, const char *name, gguf_type type, uint64_t offset, uint32_t n_dims, const uint64_t *dims);
void craft_align(craft *c, size_t alignment); /* zeros up to a multiple of it */
void craft_data(craft *c, size_t bytes);      /* 0, 1, 2, ... */

/* Common values, key included. */
void craft_key_u32(craft *c, const char *key, uint32_t v);
void craft_key_text(craft *c, const char *key, const char *text);
void craft_key_split(craft *c, uint16_t number, uint16_t count, int32_t tensors); /* three keys */

void craft_save(const craft *c, const char *path);

/* A new folder below the system's temporary one, for cmocka's group fixtures: *state is its path. */
int craft_folder_make(void **state);
int craft_folder_remove(void **state);

/* Of a file in that folder; lasts until the fourth call from here. */
const char *craft_path(void **state, const char *name);

/* Up to 16 MB. */
void craft_assert_same_file(const char *a, const char *b);

/* gguf_open(path) must refuse with a text of one line that begins with the path `culprit` and contains `hint`. */
void craft_assert_refused(const char *path, const char *culprit, const char *hint);

#endif
