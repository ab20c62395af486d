/* answers.h: what the parser makes of ids, watched for keeping its promises; samples of what models write. */
#ifndef TESTS_TEXT_ANSWERS_H
#define TESTS_TEXT_ANSWERS_H

#include "text/harmony.h"
#include "text/vocabulary.h"

/* A sink that collects the answer, and checks that events come as promised. */
typedef struct watched {
    harmony_answer answer;
    bool open, has_text;
    harmony_event begun;
    size_t messages, cut;
} watched;

gptoss_status answers_watch(void *watched, const harmony_event *e, gptoss_error *error);

typedef struct outcome {
    watched seen;
    harmony_finish finish;
    harmony_recoveries recoveries;
    bool done; /* before the end of generation */
} outcome;

/* Feeds ids, or a text in which special tokens are spelled out. The caller frees out->seen.answer. */
void answers_parse(const tokenizer *t, const uint32_t *ids, size_t count, outcome *out);
void answers_parse_text(const tokenizer *t, const char *text, outcome *out);

const char *answers_shown(const buffer *b); /* its text, never NULL */

/* What was written; reasoning | content | recipient(arguments)... | finish | what was mended. */
typedef struct sample {
    const char *text, *meaning;
} sample;

extern const sample answers_samples[];
extern const size_t answers_sample_count;

#endif
