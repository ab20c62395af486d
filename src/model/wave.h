/* wave.h: the tokens that travel through the stages together, of one sequence or of many. */
#ifndef MODEL_WAVE_H
#define MODEL_WAVE_H

#include <stdbool.h>
#include <stdint.h>

/* One token of a wave; also its form in messages between ranks. */
typedef struct wave_token {
    uint32_t id;
    uint32_t sequence; /* whose keys and values it sees and extends */
    uint32_t position; /* in that sequence */
    uint32_t logits;   /* 1: those that follow it are wanted; 0: they are not */
} wave_token;
_Static_assert(sizeof(wave_token) == 16, "wave token");

/* What a wave may hold: up to `chunk` tokens, each number below its bound. */
typedef struct wave_limits {
    uint32_t chunk, n_vocab, sequences, positions;
} wave_limits;

/* A valid wave has 1 to chunk tokens within the limits: the tokens of a sequence stand side by side at consecutive
 * positions in ascending order, the sequences in ascending order. So no token is in it twice. */
bool wave_is_valid(const wave_token *tokens, uint32_t count, const wave_limits *limits);

/* How many of tokens[count] want logits. */
uint32_t wave_logits_rows(const wave_token *tokens, uint32_t count);

/* tokens[i] = ids[i] at position `position` + i of a sequence; the last `logits_rows` <= count of them want logits. */
void wave_of_run(const uint32_t *ids, uint32_t count, uint32_t sequence, uint32_t position, uint32_t logits_rows,
                 wave_token *tokens);

#endif
