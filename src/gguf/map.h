/* map.h: read-only memory maps of chosen byte ranges of a GGUF file's parts, and of nothing else. */
#ifndef GGUF_MAP_H
#define GGUF_MAP_H

#include "gguf/gguf.h"

typedef struct gguf_range {
    uint32_t part;
    uint64_t offset, bytes; /* from the start of the part */
} gguf_range;

typedef struct gguf_map gguf_map;

/* Maps the pages that hold the `count` given ranges (any order; they may overlap or touch; empty ones are dropped).
 * Ranges that share or adjoin pages become one mapping, so no page is mapped twice and none without need. Nothing is
 * read. The map stays valid after gguf_close. The files must not shrink while mapped. */
gptoss_status gguf_map_open(const gguf_file *file, const gguf_range *ranges, size_t count, gguf_map **out,
                            gptoss_error *err);
void gguf_map_close(gguf_map *map); /* NULL is fine */

/* The address of byte `offset` of `part`, of which `bytes` bytes are readable, borrowed until gguf_map_close. NULL when
 * any of them lies outside the ranges given to gguf_map_open. */
const void *gguf_map_at(const gguf_map *map, uint32_t part, uint64_t offset, uint64_t bytes);

/* Reads from disk what of the mapped pages is not in memory yet, in file order, which a disk serves much faster than
 * the page faults of computing. `report` (NULL is fine) is called now and then; when it returns false the call ends
 * early. */
typedef bool gguf_load_report(void *context, uint64_t done_bytes, uint64_t all_bytes);
void gguf_map_load(const gguf_map *map, gguf_load_report *report, void *context);

/* The index-th run of mapped pages and its size; NULL when there are no more. Borrowed until gguf_map_close. */
const void *gguf_map_run(const gguf_map *map, size_t index, size_t *bytes);

/* Bytes mapped, in whole pages. */
uint64_t gguf_map_bytes(const gguf_map *map);

#endif
