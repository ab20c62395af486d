#include "kernels/isa.h"

#include <string.h>
#if defined(__aarch64__)
#include <sys/auxv.h>
#endif

static const char *const names[ISA_COUNT] = {"reference", "portable", "avx2", "avx512", "neon"};

const char *isa_name(isa which) { return names[which]; }

bool isa_by_name(const char *name, isa *out) {
    for (int i = 0; i < ISA_COUNT; i++) {
        if (strcmp(name, names[i]) != 0) continue;
        *out = (isa)i;
        return true;
    }
    return false;
}

static bool has_avx2(void) {
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); /* every such processor has F16C too */
#else
    return false;
#endif
}

static bool has_avx512(void) {
#if defined(__x86_64__)
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512vnni");
#else
    return false;
#endif
}

static bool has_neon(void) {
#if defined(__aarch64__)
    const unsigned long dot_product = 1ul << 20; /* HWCAP_ASIMDDP of Linux's arm64 ABI */
    return (getauxval(AT_HWCAP) & dot_product) != 0;
#else
    return false;
#endif
}

bool isa_available(isa which) {
    switch (which) {
    case ISA_REFERENCE:
    case ISA_PORTABLE: return true;
    case ISA_AVX2: return has_avx2();
    case ISA_AVX512: return has_avx512();
    case ISA_NEON: return has_neon();
    default: return false;
    }
}

isa isa_best(void) {
    if (has_avx512()) return ISA_AVX512;
    if (has_avx2()) return ISA_AVX2;
    if (has_neon()) return ISA_NEON;
    return ISA_PORTABLE;
}

static isa chosen = ISA_COUNT; /* none yet */

isa isa_used(void) { return chosen == ISA_COUNT ? isa_best() : chosen; }

void isa_use(isa which) { chosen = which; }
