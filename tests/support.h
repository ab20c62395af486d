/* support.h: what many tests need: includes in the order cmocka wants, golden data, comparisons that a NaN fails. */
#ifndef TESTS_SUPPORT_H
#define TESTS_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"

/* Fails the test with the error's text when a call did not return GPTOSS_OK. */
#define assert_ok(call)                                                                                              \
    do {                                                                                                             \
        gptoss_error assert_error = {0};                                                                             \
        gptoss_error *err = &assert_error;                                                                           \
        gptoss_status assert_status = (call);                                                                        \
        if (assert_status != GPTOSS_OK) fail_msg("%s: %s: %s", #call, gptoss_status_name(assert_status), err->text); \
    } while (0)

/* ||got - want|| / ||want||; infinite when either holds a NaN or an infinity. */
double relative_error(const float *got, const float *want, size_t count);

/* A golden model: TEST_DATA/golden/NAME.gguf, .json, .logits.f32. */
typedef struct golden {
    char path[512];
    uint32_t *tokens; /* [positions] */
    float *logits;    /* [positions][n_vocab] */
    size_t positions, n_vocab;
} golden;

extern const char *const golden_names[]; /* NULL-terminated */
void golden_load(const char *name, golden *out);
void golden_free(golden *g);

#endif
