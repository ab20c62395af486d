/* balance.h: dealing consecutive layers to stages. */
#ifndef PLAN_BALANCE_H
#define PLAN_BALANCE_H

#include "base/error.h"

#include <stdint.h>

/* Cuts layers [0, n_layers) into `stages` consecutive, non-empty runs so that the costliest stage costs least: the sum
 * of its layers' costs, plus output_cost for the last stage. Stage i gets layers [bounds[i], bounds[i + 1]); bounds has
 * stages + 1 elements. Among equal cuts later stages get fewer layers. 1 <= stages <= n_layers. */
gptoss_status balance_layers(const uint64_t *layer_cost, uint32_t n_layers, uint64_t output_cost, uint32_t stages,
                             uint32_t *bounds, gptoss_error *err);

#endif
