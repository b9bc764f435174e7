// Pieces that the kernels share.
#pragma once

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace edgewright {

constexpr size_t kDepth = 16;  // depth of a step, in all tiles

/// The sums of a tile, four columns to a vector.
template <size_t rows, size_t columns>
struct Sums {
  int32x4_t row[rows][columns / 4];
};

inline int32x4_t load_4(const int32_t* values) { return vld1q_s32(values); }
inline float32x4_t load_4(const float* values) { return vld1q_f32(values); }

/// Round half to even, right up to +-65536 and saturated there or beyond.
inline int32x4_t round_even(float32x4_t value) {
#if defined(__aarch64__)
  return vcvtnq_s32_f32(value);
#elif defined(__ARM_FEATURE_NUMERIC_MAXMIN)
  int32x4_t rounded;  // GCC has no intrinsic for it on AArch32
  __asm__("vcvtn.s32.f32 %q0, %q1" : "=w"(rounded) : "w"(value));
  return rounded;
#else
  // ARMv7 only truncates. Adding 1.5 * 2^23 leaves the rounded integer in the low mantissa bits.
  const float32x4_t limit = vdupq_n_f32(65536.0f);
  const float32x4_t magic = vdupq_n_f32(12582912.0f);
  const float32x4_t near = vminq_f32(vmaxq_f32(value, vnegq_f32(limit)), limit);
  return vsubq_s32(vreinterpretq_s32_f32(vaddq_f32(near, magic)), vreinterpretq_s32_f32(magic));
#endif
}

/// The larger of both, `low` where a value is not a number.
inline float32x4_t at_least(float32x4_t value, float32x4_t low) {
#if defined(__aarch64__)
  const uint32x4_t above = vcgeq_f32(value, low);
#else
  uint32x4_t above;  // GCC would compare lane by lane, since NEON takes denormals for zero
  __asm__("vcge.f32 %q0, %q1, %q2" : "=w"(above) : "w"(value), "w"(low));
#endif
  return vbslq_f32(above, value, low);
}

/// Four sums, scaled and rounded, saturated to 16 bits: enough, since the output has 8.
inline int16x4_t scaled(int32x4_t sums, float32x4_t scale) {
  return vqmovn_s32(round_even(vmulq_f32(vcvtq_f32_s32(sums), scale)));
}

/// Adds the zero point and saturates to 0..255.
inline uint8x8_t to_bytes(int16x8_t values, int16x8_t zero_point) {
  return vqmovun_s16(vqaddq_s16(values, zero_point));
}

/// Division by one number, without an instruction for it.
///
/// Two steps of Newton's method on the quotient, each with an exact remainder, end at the correctly
/// rounded quotient if the reciprocal is correctly rounded (P. Markstein, Computation of elementary
/// functions on the IBM RISC System/6000 processor, 1990): a mantissa of ones only is the exception.
/// Remainders must not underflow: quotients of 1/4 and more are exact, smaller ones stay smaller.
class Divisor {
 public:
  explicit Divisor(float value)
      : value_(value), divisor_(vdupq_n_f32(value)), reciprocal_(vdupq_n_f32(1.0f / value)) {}

#if defined(__ARM_FEATURE_FMA)
  /// False where only scalar division is right.
  bool exact() const {
    uint32_t bits;
    std::memcpy(&bits, &value_, sizeof bits);
    return value_ > 1e-18f && value_ < 1e33f && (bits & 0x7fffff) != 0x7fffff;
  }

  float32x4_t divide(float32x4_t dividend) const {
    float32x4_t quotient = vmulq_f32(dividend, reciprocal_);
    quotient = vfmaq_f32(quotient, vfmsq_f32(dividend, quotient, divisor_), reciprocal_);
    return vfmaq_f32(quotient, vfmsq_f32(dividend, quotient, divisor_), reciprocal_);
  }
#else
  bool exact() const { return false; }
  float32x4_t divide(float32x4_t dividend) const { return vmulq_f32(dividend, reciprocal_); }
#endif

 private:
  float value_;
  float32x4_t divisor_, reciprocal_;
};

constexpr size_t round_up(size_t value, size_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace edgewright
