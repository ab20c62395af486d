#include "model/wave.h"

static bool token_is_valid(const wave_token *t, const wave_limits *limits) {
    return t->id < limits->n_vocab && t->sequence < limits->sequences && t->position < limits->positions &&
           t->logits <= 1;
}

static bool may_follow(const wave_token *t, const wave_token *previous) {
    if (t->sequence == previous->sequence) return t->position == previous->position + 1;
    return t->sequence > previous->sequence;
}

bool wave_is_valid(const wave_token *tokens, uint32_t count, const wave_limits *limits) {
    if (count < 1 || count > limits->chunk) return false;
    for (uint32_t i = 0; i < count; i++)
        if (!token_is_valid(&tokens[i], limits) || (i > 0 && !may_follow(&tokens[i], &tokens[i - 1]))) return false;
    return true;
}

uint32_t wave_logits_rows(const wave_token *tokens, uint32_t count) {
    uint32_t rows = 0;
    for (uint32_t i = 0; i < count; i++) rows += tokens[i].logits;
    return rows;
}

void wave_of_run(const uint32_t *ids, uint32_t count, uint32_t sequence, uint32_t position, uint32_t logits_rows,
                 wave_token *tokens) {
    for (uint32_t i = 0; i < count; i++)
        tokens[i] = (wave_token){ids[i], sequence, position + i, count - i <= logits_rows};
}
