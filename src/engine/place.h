/* place.h: all ranks agree on a grid, and on who holds what. Private to src/engine. */
#ifndef ENGINE_PLACE_H
#define ENGINE_PLACE_H

#include "engine/engine.h"

/* Collective. Sets e->placement, e->grid and e->slice; the file is open and e->extent and e->sizes are read. */
gptoss_status place_ranks(engine *e, gptoss_error *err);

#endif
