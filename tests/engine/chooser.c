#include "engine/chooser.h"

#include <stdlib.h>

#include "random.h"
#include "support.h"

static uint32_t vocabulary; /* of the sampler opened last */

sampler *chooser_open(sampler_settings settings, uint32_t n_vocab) {
    sampler *s;
    assert_ok(sampler_open(&settings, n_vocab, &s, err));
    vocabulary = n_vocab;
    return s;
}

gptoss_status chooser_try(sampler *s, const float *logits, uint32_t *token, sampler_report *report, gptoss_error *err) {
    shortlist likeliest;
    uint32_t chosen;
    bool all = sampler_wish(s, report).kind == LOGITS_ALL;
    shortlist_make(logits, 0, vocabulary, sampler_list_wish(s, report), &likeliest);
    TRY(sampler_next(s, &likeliest, all ? logits : NULL, &chosen, err));
    bool fetched = chosen == SAMPLER_NEEDS_LOGITS;
    if (fetched) TRY(sampler_next(s, &likeliest, logits, &chosen, err));
    if (report) sampler_describe(s, &likeliest, all || fetched ? logits : NULL, chosen, report);
    sampler_take(s, chosen);
    *token = chosen;
    return GPTOSS_OK;
}

uint32_t chooser_next(sampler *s, const float *logits, sampler_report *report) {
    uint32_t token = UINT32_MAX;
    assert_ok(chooser_try(s, logits, &token, report, err));
    return token;
}

float *chooser_logits(uint64_t *seed, uint32_t count, float deviation) {
    float *logits = malloc(count * sizeof *logits);
    for (uint32_t i = 0; i < count; i++) {
        float sum = 0;
        for (int n = 0; n < 12; n++) sum += random_float(seed);
        logits[i] = deviation * sum / 2;
    }
    return logits;
}
