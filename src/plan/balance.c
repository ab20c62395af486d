#include "plan/balance.h"

#include <stdbool.h>
#include <stdlib.h>

#include "base/mem.h"

/* Whether `stages` runs suffice when none may cost more than `limit`; fills bounds greedily from the front if so. */
static bool fits(const uint64_t *layer_cost, uint32_t n_layers, uint64_t output_cost, uint32_t stages, uint64_t limit,
                 uint32_t *bounds) {
    uint32_t layer = 0;
    for (uint32_t s = 0; s < stages; s++) {
        uint32_t later_stages = stages - 1 - s;
        uint64_t cost = later_stages == 0 ? output_cost : 0;
        bounds[s] = layer;
        /* Each later stage needs a layer of its own. */
        while (layer < n_layers - later_stages && cost + layer_cost[layer] <= limit) cost += layer_cost[layer++];
        if (layer == bounds[s]) return false;
    }
    bounds[stages] = layer;
    return layer == n_layers;
}

gptoss_status balance_layers(const uint64_t *layer_cost, uint32_t n_layers, uint64_t output_cost, uint32_t stages,
                             uint32_t *bounds, gptoss_error *err) {
    if (stages < 1 || stages > n_layers)
        return error_set(err, GPTOSS_MISUSE, "%u layers cannot be dealt to %u ranks: use at most %u ranks", n_layers,
                         stages, n_layers);
    uint64_t high = output_cost, low = 0;
    for (uint32_t i = 0; i < n_layers; i++) high += layer_cost[i];
    while (low < high) { /* the smallest limit that fits */
        uint64_t middle = low + (high - low) / 2;
        if (fits(layer_cost, n_layers, output_cost, stages, middle, bounds))
            high = middle;
        else
            low = middle + 1;
    }
    if (!fits(layer_cost, n_layers, output_cost, stages, high, bounds))
        return error_set(err, GPTOSS_INTERNAL, "no cut of %u layers into %u stages was found", n_layers, stages);
    return GPTOSS_OK;
}
