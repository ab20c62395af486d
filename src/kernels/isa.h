/* isa.h: which instruction set the kernels use. Chosen once, before any kernel runs; the best there is by default. */
#ifndef KERNELS_ISA_H
#define KERNELS_ISA_H

#include <stdbool.h>

typedef enum isa {
    ISA_REFERENCE, /* float32 throughout, nothing rounded to fewer bits: the naive twin of everything, and slow */
    ISA_PORTABLE,  /* the arithmetic of the vector kernels in plain C */
    ISA_AVX2,      /* x86-64 with AVX2, FMA and F16C */
    ISA_AVX512,    /* AVX-512 F, BW, VL and VNNI */
    ISA_AMX,       /* that and AMX with tiles of bfloat16 numbers */
    ISA_NEON,      /* arm64 with the dot product extension */
    ISA_COUNT
} isa;

const char *isa_name(isa which); /* "reference", "portable", "avx2", "avx512", "amx", "neon" */
bool isa_by_name(const char *name, isa *out);

/* Whether this program was built with it and this processor has it. */
bool isa_available(isa which);

/* Whether the kernels of ISA_AVX2 can be used with it. */
bool isa_has_avx2(isa which);

/* The fastest one that is available. */
isa isa_best(void);

/* The one in use: isa_best() until isa_use() says otherwise. isa_use is not thread-safe: call it before the kernels,
 * with an available one. */
isa isa_used(void);
void isa_use(isa which);

#endif
