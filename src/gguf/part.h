/* part.h: one file of a GGUF model: its header, checked and indexed. Private to src/gguf; callers use gguf.h. */
#ifndef GGUF_PART_H
#define GGUF_PART_H

#include <sys/types.h>

#include "gguf/gguf.h"
#include "gguf/header.h"

typedef struct gguf_part {
    char *path;
    uint64_t size; /* bytes */
    dev_t device;  /* with inode and size: tells when another file has taken the path */
    ino_t inode;
    uint64_t alignment;
    gguf_header header;        /* tensor offsets count from the start of the file */
    const gguf_value **by_key; /* header.values, sorted by key */
} gguf_part;

/* Everything gguf_open promises about one file, except that tensor names are not yet compared. `out` is released with
 * part_free. Errors begin with the path. */
gptoss_status part_read(const char *path, gguf_part *out, gptoss_error *err);
void part_free(gguf_part *p);

/* Opens the file again for reading; fails when it is not the file that was read. The caller closes *fd. */
gptoss_status part_reopen(const gguf_part *p, int *fd, gptoss_error *err);

const gguf_value *part_find_value(const gguf_part *p, const char *key); /* NULL when absent */

/* Of an open file; `index` < gguf_part_count. */
const gguf_part *gguf_part_at(const gguf_file *file, uint32_t index);

#endif
