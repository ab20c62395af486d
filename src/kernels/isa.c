#include "kernels/isa.h"

#include <string.h>
#if defined(__aarch64__)
#include <sys/auxv.h>
#elif defined(GPTOSS_AMX)
#include <cpuid.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

static const char *const names[ISA_COUNT] = {"reference", "portable", "avx2", "avx512", "amx", "neon"};

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

#if defined(GPTOSS_AMX)

static bool processor_has_amx(void) {
    const unsigned bfloat16 = 1u << 22, tile = 1u << 24;
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & bfloat16) && (d & tile);
}

/* Linux keeps the tiles of a process only once it has asked for that. */
static bool may_use_tiles(void) {
    const long ask_permission = 0x1023, tile_data = 18; /* ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA */
    return syscall(SYS_arch_prctl, ask_permission, tile_data) == 0;
}

/* Asked once: in a virtual machine the processor's answer takes its time. */
static bool has_amx(void) {
    static _Atomic int known; /* 0: not yet; else 1 + the answer */
    if (known == 0) known = 1 + (has_avx512() && processor_has_amx() && may_use_tiles());
    return known == 2;
}

#else

static bool has_amx(void) { return false; }

#endif

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
    case ISA_AMX: return has_amx();
    case ISA_NEON: return has_neon();
    default: return false;
    }
}

bool isa_has_avx2(isa which) { return which == ISA_AVX2 || which == ISA_AVX512 || which == ISA_AMX; }

isa isa_best(void) {
    if (has_amx()) return ISA_AMX;
    if (has_avx512()) return ISA_AVX512;
    if (has_avx2()) return ISA_AVX2;
    if (has_neon()) return ISA_NEON;
    return ISA_PORTABLE;
}

static isa chosen = ISA_COUNT; /* none yet */

isa isa_used(void) { return chosen == ISA_COUNT ? isa_best() : chosen; }

void isa_use(isa which) { chosen = which; }
