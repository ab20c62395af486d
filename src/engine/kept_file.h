/* kept_file.h: one rank's part of a prompt cache on disk: the image of the prefix cache, the same on all ranks, and the
 * pages that it speaks of, as this rank's layers and heads have them.
 *
 * The file is DIR/KEY.prompts: a header; uint32 words[] of the image; the pages, full ones first, in the order of their
 * numbers; a digest of them. Numbers are in the byte order of the machine. Until it is whole it is
 * KEY.prompts.partial. A file is trusted in nothing: each length and number is checked, and digests cover all of it. */
#ifndef ENGINE_KEPT_FILE_H
#define ENGINE_KEPT_FILE_H

#include "base/digest.h"
#include "engine/prefix_cache.h"
#include "model/kv_cache.h"

/* Which file it is. */
typedef struct kept_name {
    const char *dir;               /* borrowed */
    digest key;                    /* of all that pages depend on, as far as it is known before weights are read */
    uint64_t page_bytes[KV_KINDS]; /* of this rank; 0 where it has no such layer */
} kept_name;

typedef struct kept_file kept_file;

/* Opens a file and reads its image, valid within limits. *out is NULL when there is none. GPTOSS_BAD_INPUT: it is
 * damaged or not what its name says. */
gptoss_status kept_file_open(const kept_name *name, const wave_limits *limits, kept_file **out, gptoss_error *err);
void kept_file_close(kept_file *f); /* NULL is fine */

digest kept_file_generation(const kept_file *f); /* equal on ranks whose files were written together */
prefix_image *kept_file_image(kept_file *f);     /* borrowed; may be changed */

/* Reads all pages, and puts those of slots[kind][page] >= 0 to that place of the cache. GPTOSS_BAD_INPUT: damaged, or
 * `model` is another one than when it was written; what was put then means nothing. */
gptoss_status kept_file_load(const kept_file *f, digest model, const kv_cache *cache, int32_t *const slots[KV_KINDS],
                             gptoss_error *err);

/* Writes a new file beside the one that there may be. */
gptoss_status kept_file_write(const kept_name *name, digest generation, digest model, const prefix_snapshot *s,
                              const kv_cache *cache, kept_file **out, gptoss_error *err);

/* Gives what was written its name; without it kept_file_close removes it. */
gptoss_status kept_file_finish(kept_file *f, gptoss_error *err);

#endif
