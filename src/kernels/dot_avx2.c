#include "kernels/dot.h"

#if defined(__x86_64__)
float dot_f32_avx2(const float *a, const float *b, size_t count) { return dot_lanes(a, b, count); }
#endif
