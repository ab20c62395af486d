/* prompt_cache.h: what the prefix cache knows, from one run of the program to the next. Each rank keeps the pages of
 * its own layers and heads in a file of its own (kept_file.h); all ranks' files, written together, are taken, or none.
 *
 * Whatever is wrong with files costs a line on standard error, from the rank that knows, and prompts are read as if
 * there were none. All functions but prompt_cache_image and prompt_cache_close are collective. */
#ifndef ENGINE_PROMPT_CACHE_H
#define ENGINE_PROMPT_CACHE_H

#include "engine/engine.h"
#include "engine/prefix_cache.h"

/* For engine_start: looks for the files of e->config.prompt_cache, before the KV pool is sized. room: of it, with the
 * type and heads of this rank. *pages: full pages that are kept, the same on all ranks. */
gptoss_status prompt_cache_open(const engine *e, const kv_room *room, uint32_t *pages, prompt_cache **out,
                                gptoss_error *err);

/* For engine_start, when the stage is open and its weights are read: puts pages into the KV pool, as many as fit. */
gptoss_status prompt_cache_load(prompt_cache *p, const engine *e, gptoss_error *err);

void prompt_cache_close(prompt_cache *p); /* NULL is fine */

/* What a scheduler on rank 0 may begin with; NULL: nothing. Borrowed. p may be NULL. */
const prefix_image *prompt_cache_image(const prompt_cache *p);

/* Writes the files anew, when no wave is under way. s: of rank 0, NULL or empty: nothing is written. Its failure is
 * told, and changes no file. */
void prompt_cache_keep(prompt_cache *p, const engine *e, const prefix_snapshot *s);

#endif
