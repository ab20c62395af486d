/* place.h: all ranks agree on who gets which layers. Private to src/engine. */
#ifndef ENGINE_PLACE_H
#define ENGINE_PLACE_H

#include "engine/engine.h"

/* Collective. Sets e->slice; the file is open and e->extent and e->sizes are read. */
gptoss_status place_layers(engine *e, gptoss_error *err);

#endif
