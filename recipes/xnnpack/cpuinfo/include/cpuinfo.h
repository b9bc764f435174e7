/* What XNNPACK asks the library cpuinfo, answered by the compiler: a program that is built for one
 * kind of board need not look there. The names are those of cpuinfo's interface.
 * EDGEWRIGHT_UARCH is the board's core. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum cpuinfo_uarch {
  cpuinfo_uarch_unknown,
  cpuinfo_uarch_cortex_a5,
  cpuinfo_uarch_cortex_a7,
  cpuinfo_uarch_cortex_a32,
  cpuinfo_uarch_cortex_a35,
  cpuinfo_uarch_cortex_a53,
  cpuinfo_uarch_cortex_a55,
  cpuinfo_uarch_cortex_a55r0,
  cpuinfo_uarch_cortex_a57,
  cpuinfo_uarch_cortex_a72,
  cpuinfo_uarch_cortex_a73,
  cpuinfo_uarch_cortex_a75,
  cpuinfo_uarch_cortex_a76,
  cpuinfo_uarch_cortex_a77,
  cpuinfo_uarch_cortex_a78,
  cpuinfo_uarch_cortex_a510,
  cpuinfo_uarch_cortex_a710,
  cpuinfo_uarch_cortex_a715,
  cpuinfo_uarch_cortex_x1,
  cpuinfo_uarch_cortex_x2,
  cpuinfo_uarch_cortex_x3,
  cpuinfo_uarch_exynos_m1,
  cpuinfo_uarch_exynos_m2,
  cpuinfo_uarch_exynos_m3,
  cpuinfo_uarch_exynos_m4,
  cpuinfo_uarch_exynos_m5,
  cpuinfo_uarch_krait,
  cpuinfo_uarch_kryo,
  cpuinfo_uarch_neoverse_n1,
  cpuinfo_uarch_neoverse_n2,
  cpuinfo_uarch_neoverse_v1,
  cpuinfo_uarch_neoverse_v2,
};

struct cpuinfo_core {
  enum cpuinfo_uarch uarch;
};

struct cpuinfo_uarch_info {
  enum cpuinfo_uarch uarch;
};

static inline bool cpuinfo_initialize(void) { return true; }

static inline const struct cpuinfo_core *cpuinfo_get_core(uint32_t index) {
  static const struct cpuinfo_core core = {EDGEWRIGHT_UARCH};
  (void)index;
  return &core;
}

/* All cores are of one kind. */
static inline const struct cpuinfo_uarch_info *cpuinfo_get_uarch(uint32_t index) {
  static const struct cpuinfo_uarch_info info = {EDGEWRIGHT_UARCH};
  return index == 0 ? &info : NULL;
}

static inline bool cpuinfo_has_arm_v6(void) { return __ARM_ARCH >= 6; }
static inline bool cpuinfo_has_arm_vfpv2(void) { return true; }
static inline bool cpuinfo_has_arm_vfpv3(void) { return true; }

static inline bool cpuinfo_has_arm_neon(void) {
#ifdef __ARM_NEON
  return true;
#else
  return false;
#endif
}

/* Conversion from and to half floats. */
static inline bool cpuinfo_has_arm_neon_fp16(void) {
#ifdef __ARM_FP
  return cpuinfo_has_arm_neon() && (__ARM_FP & 2) != 0;
#else
  return false;
#endif
}

static inline bool cpuinfo_has_arm_neon_fma(void) {
#ifdef __ARM_FEATURE_FMA
  return cpuinfo_has_arm_neon();
#else
  return false;
#endif
}

static inline bool cpuinfo_has_arm_neon_v8(void) {
  return cpuinfo_has_arm_neon() && __ARM_ARCH >= 8;
}

/* Beyond what a board profile can name: the recipe builds no kernel for these. */
static inline bool cpuinfo_has_arm_fp16_arith(void) { return false; }
static inline bool cpuinfo_has_arm_neon_fp16_arith(void) { return false; }
static inline bool cpuinfo_has_arm_neon_bf16(void) { return false; }
static inline bool cpuinfo_has_arm_neon_dot(void) { return false; }
static inline bool cpuinfo_has_arm_i8mm(void) { return false; }
static inline bool cpuinfo_has_arm_sve(void) { return false; }
static inline bool cpuinfo_has_arm_sve2(void) { return false; }
static inline bool cpuinfo_has_arm_sme(void) { return false; }
static inline bool cpuinfo_has_arm_sme2(void) { return false; }
