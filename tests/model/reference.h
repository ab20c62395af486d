/* reference.h: the whole model once more, in float64, as plainly as it can be written: no cache, no chunks, no threads.
 */
#ifndef TESTS_MODEL_REFERENCE_H
#define TESTS_MODEL_REFERENCE_H

#include "model/weights.h"

/* logits[count][n_vocab] of tokens[count] through the first n_layers layers. w: a slice of at least these, with
 * embedding and output. expert_0_only as in slice. */
void reference_logits(const hparams *hp, const weights *w, uint32_t n_layers, bool expert_0_only,
                      const uint32_t *tokens, size_t count, float *logits);

#endif
