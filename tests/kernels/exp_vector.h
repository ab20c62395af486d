/* exp_vector.h: y[i] = e^x[i], i < 8, by the vector twin of exp_f32 where this was compiled with one. */
#ifndef TESTS_KERNELS_EXP_VECTOR_H
#define TESTS_KERNELS_EXP_VECTOR_H

#include "kernels/exp.h"

void exp_vector(const float *x, float *y);

#endif
