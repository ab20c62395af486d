#include "base/cancel.h"

#include <stdatomic.h>

static atomic_bool requested, finish_requested, may_finish;

void cancel_request(void) {
    bool first = !atomic_exchange(&finish_requested, true);
    if (first && atomic_load(&may_finish)) return;
    atomic_store(&requested, true);
}

bool cancel_requested(void) { return atomic_load_explicit(&requested, memory_order_relaxed); }

void cancel_allow_finish(void) { atomic_store(&may_finish, true); }

bool cancel_finish_requested(void) { return atomic_load_explicit(&finish_requested, memory_order_relaxed); }
