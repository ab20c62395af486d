#include "kernels/integer.h"

#include "kernels/isa.h"

bool integer_format_of(gguf_type type, integer_format *out) {
    switch (type) {
    case TYPE_MXFP4: *out = INTEGER_MXFP4; return true;
    case TYPE_Q8_0: *out = INTEGER_Q8_0; return true;
    default: return false;
    }
}

const integer_kernels *integer_kernels_of(int which_isa) {
    switch (which_isa) {
    case ISA_REFERENCE:
    case ISA_PORTABLE: return &integer_portable;
#if defined(__x86_64__)
    case ISA_AVX2: return &integer_avx2;
    case ISA_AVX512: return &integer_avx512;
#if defined(GPTOSS_AMX)
    case ISA_AMX: return &integer_amx;
#endif
#elif defined(__aarch64__)
    case ISA_NEON: return &integer_neon;
#endif
    default: return NULL;
    }
}

const integer_kernels *integer_kernels_used(void) { return integer_kernels_of(isa_used()); }
