/* streams.h: where commands write: standard output and standard error, and the files that flags name. */
#ifndef CLI_STREAMS_H
#define CLI_STREAMS_H

#include <stdio.h>

#include "base/buffer.h"

/* Makes sure that 0, 1 and 2 are taken before anything is opened: a file that got the number of a closed stream would
 * get its text, too. Writing to such a stream fails, as it should. */
void streams_hold_standard(void);

/* GPTOSS_IO, for a write to stdout or stderr that ended with this errno. A reader that went away (`| head`) has seen
 * enough and knows why: for it there are no words. */
gptoss_status streams_failed(FILE *to, int reason, gptoss_error *err);

/* Whether all that was printed to standard output has arrived there. */
gptoss_status streams_finish(gptoss_error *err);

/* Opens the file that `flag` ("--svg") names, to be written anew. GPTOSS_MISUSE when it cannot be, or is a GGUF file:
 * whoever names a model there has mistaken one flag for another. */
gptoss_status streams_create(const char *flag, const char *path, FILE **out, gptoss_error *err);

/* Writes all of it to such a file, as far as the system. */
gptoss_status streams_write(FILE *to, const char *path, const buffer *b, gptoss_error *err);

#endif
