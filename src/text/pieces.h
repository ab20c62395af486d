/* pieces.h: cutting text into the pieces that byte-pair merging never crosses, by the o200k pattern. */
#ifndef TEXT_PIECES_H
#define TEXT_PIECES_H

#include <stddef.h>

#include "base/error.h"

typedef struct piece_pattern piece_pattern; /* the compiled pattern; read-only, so threads may share it */

gptoss_status pieces_open(piece_pattern **out, gptoss_error *err);
void pieces_close(piece_pattern *pattern); /* NULL is fine */

/* A walk over one text. */
typedef struct pieces {
    const piece_pattern *pattern;
    const char *text; /* borrowed, valid UTF-8 */
    size_t size, at;
    void *match; /* working memory of the pattern matcher */
} pieces;

gptoss_status pieces_begin(const piece_pattern *pattern, const char *text, size_t size, pieces *out, gptoss_error *err);
void pieces_end(pieces *walk);

/* *piece = bytes of the next piece, which begins where the last one ended; 0 at the end of the text. The pieces cover
 * all of the text. The time for all of them together is linear in the text's size. */
gptoss_status pieces_next(pieces *walk, size_t *piece, gptoss_error *err);

#endif
