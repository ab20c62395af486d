/* reader.h: the beginning of a file, loaded in steps as far as it is needed, so that a header whose length nobody knows
 * in advance can be walked without mapping or reading the data behind it. Errors describe the place in the file; the
 * caller puts the file's name in front. */
#ifndef GGUF_READER_H
#define GGUF_READER_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

typedef struct reader {
    int fd;             /* a regular file; borrowed */
    uint64_t file_size; /* bytes */
    uint64_t limit;     /* no byte from here on is loaded: the file's size or the longest header allowed */
    uint8_t *data;      /* the first `loaded` bytes of the file; moves when more are loaded; freed by the owner */
    size_t loaded, capacity;
    size_t at; /* the next byte to read; <= loaded */
} reader;

/* Makes the next `bytes` bytes readable at data + at. `what` is what they are ("the length of a key"). */
gptoss_status reader_need(reader *r, uint64_t bytes, const char *what, gptoss_error *err);

/* These also move past what they read. */
gptoss_status reader_skip(reader *r, uint64_t bytes, const char *what, gptoss_error *err);
gptoss_status reader_u32(reader *r, const char *what, uint32_t *out, gptoss_error *err);
gptoss_status reader_u64(reader *r, const char *what, uint64_t *out, gptoss_error *err);

/* Refuses a count that the rest of the file cannot hold, when one of the things counted takes at least `each` bytes. */
gptoss_status reader_check_count(const reader *r, uint64_t count, uint64_t each, const char *what, gptoss_error *err);

#endif
