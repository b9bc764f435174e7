// Element by element: tables, and the way from sums and floats to bytes and back.

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels.h"
#include "neon.h"

namespace edgewright {
namespace {

#if defined(__aarch64__)

/// Tables of 64 entries hold a quarter each. The index counts from a quarter's begin, so that `tbx`
/// leaves bytes of other quarters alone; every byte is in one of them.
size_t lookup_vectors(const uint8_t* input, const uint8_t* table, uint8_t* output, size_t count) {
  uint8x16x4_t quarters[4];
  for (size_t i = 0; i < 16; ++i) quarters[i / 4].val[i % 4] = vld1q_u8(table + 16 * i);
  const uint8x16_t quarter = vdupq_n_u8(64);
  size_t i = 0;
  for (; i + 16 <= count; i += 16) {
    uint8x16_t index = vld1q_u8(input + i);
    uint8x16_t bytes = vqtbl4q_u8(quarters[0], index);
#pragma GCC unroll 3
    for (size_t q = 1; q < 4; ++q) {
      index = vsubq_u8(index, quarter);
      bytes = vqtbx4q_u8(bytes, quarters[q], index);
    }
    vst1q_u8(output + i, bytes);
  }
  return i;
}

#else

/// 64 bytes through the eight 32-entry parts of a table. The index counts from a part's begin, so
/// that `vtbx` leaves bytes of other parts alone; every byte is in one of them.
inline void lookup_64(const uint8_t* input, const uint8_t* table, uint8_t* output) {
  uint8x16_t i0 = vld1q_u8(input), i1 = vld1q_u8(input + 16);
  uint8x16_t i2 = vld1q_u8(input + 32), i3 = vld1q_u8(input + 48);
  uint8x16_t o0, o1, o2, o3;
  __asm__(
      ".rept 8\n\t"
      "vld1.8 {d0-d3}, [%[table]]!\n\t"
      "vtbx.8 %e[o0], {d0-d3}, %e[i0]\n\t"
      "vtbx.8 %f[o0], {d0-d3}, %f[i0]\n\t"
      "vtbx.8 %e[o1], {d0-d3}, %e[i1]\n\t"
      "vtbx.8 %f[o1], {d0-d3}, %f[i1]\n\t"
      "vtbx.8 %e[o2], {d0-d3}, %e[i2]\n\t"
      "vtbx.8 %f[o2], {d0-d3}, %f[i2]\n\t"
      "vtbx.8 %e[o3], {d0-d3}, %e[i3]\n\t"
      "vtbx.8 %f[o3], {d0-d3}, %f[i3]\n\t"
      "vsub.i8 %q[i0], %q[i0], %q[part]\n\t"
      "vsub.i8 %q[i1], %q[i1], %q[part]\n\t"
      "vsub.i8 %q[i2], %q[i2], %q[part]\n\t"
      "vsub.i8 %q[i3], %q[i3], %q[part]\n\t"
      ".endr\n\t"
      : [o0] "=&w"(o0), [o1] "=&w"(o1), [o2] "=&w"(o2), [o3] "=&w"(o3), [i0] "+w"(i0),
        [i1] "+w"(i1), [i2] "+w"(i2), [i3] "+w"(i3), [table] "+r"(table)
      : [part] "w"(vdupq_n_u8(32)), "m"(*reinterpret_cast<const uint8_t(*)[256]>(table))
      : "q0", "q1");
  vst1q_u8(output, o0);
  vst1q_u8(output + 16, o1);
  vst1q_u8(output + 32, o2);
  vst1q_u8(output + 48, o3);
}

size_t lookup_vectors(const uint8_t* input, const uint8_t* table, uint8_t* output, size_t count) {
  const uint8_t* const begin = input;
  for (; count >= 64; count -= 64, input += 64, output += 64) lookup_64(input, table, output);
  return static_cast<size_t>(input - begin);
}

#endif

inline float32x4_t load_scale(const Requantize& requantize, size_t n) {
  return requantize.per_column ? vld1q_f32(requantize.scale + n) : vdupq_n_f32(*requantize.scale);
}

inline int16x4_t requantize_4(const int32_t* sums, const Requantize& requantize, size_t n) {
  int32x4_t sum = vld1q_s32(sums + n);
  if (requantize.bias) sum = vaddq_s32(sum, vld1q_s32(requantize.bias + n));
  return scaled(sum, load_scale(requantize, n));
}

inline uint8x8_t requantize_8(const int32_t* sums, const Requantize& requantize, size_t n) {
  const int16x8_t zero_point = vdupq_n_s16(static_cast<int16_t>(requantize.zero_point));
  return to_bytes(vcombine_s16(requantize_4(sums, requantize, n),
                               requantize_4(sums, requantize, n + 4)), zero_point);
}

/// The last `count` of a row, fewer than 8.
void requantize_tail(const int32_t* sums, const Requantize& requantize, uint8_t* output,
                     size_t count, uint8_t flip) {
  int32_t all_sums[8] = {}, bias[8] = {};
  float scale[8] = {};
  for (size_t n = 0; n < count; ++n) {
    all_sums[n] = sums[n];
    bias[n] = requantize.bias ? requantize.bias[n] : 0;
    scale[n] = requantize.per_column ? requantize.scale[n] : *requantize.scale;
  }
  uint8_t bytes[8];
  vst1_u8(bytes, requantize_8(all_sums, {bias, scale, true, requantize.zero_point}, 0));
  for (size_t n = 0; n < count; ++n) output[n] = bytes[n] ^ flip;
}

}  // namespace

void lookup(const uint8_t* input, const uint8_t* table, uint8_t* output, size_t count) {
  for (size_t i = lookup_vectors(input, table, output, count); i < count; ++i) {
    output[i] = table[input[i]];
  }
}

void requantize_row(const int32_t* sums, const Requantize& requantize, uint8_t* output,
                    size_t count, uint8_t flip) {
  size_t n = 0;
  for (; n + 8 <= count; n += 8) {
    vst1_u8(output + n, veor_u8(requantize_8(sums, requantize, n), vdup_n_u8(flip)));
  }
  if (n == count) return;
  const Requantize rest{requantize.bias ? requantize.bias + n : nullptr,
                        requantize.per_column ? requantize.scale + n : requantize.scale,
                        requantize.per_column, requantize.zero_point};
  requantize_tail(sums + n, rest, output + n, count - n, flip);
}

namespace {

/// Far beyond what saturates; times an exact divisor, no overflow.
constexpr float kQuotientLimit = 65536.0f;

inline uint8_t quantized(float value, float scale, int32_t zero_point) {
  const float rounded = std::nearbyint(value / scale) + static_cast<float>(zero_point);
  if (!(rounded > 0.0f)) return 0;
  return rounded < 255.0f ? static_cast<uint8_t>(rounded) : 255;
}

inline int16x4_t quotients(const float* dividends, const Divisor& divisor, float32x4_t limit) {
  const float32x4_t values = vminq_f32(at_least(vld1q_f32(dividends), vnegq_f32(limit)), limit);
  return vqmovn_s32(round_even(divisor.divide(values)));
}

/// Bytes of `dividends[i] / divisor`, as many multiples of 8 as there are; returns their number.
size_t quantize_vectors(const float* dividends, uint8_t* output, size_t count, float scale,
                        int32_t zero_point) {
  const Divisor divisor(scale);
  if (!divisor.exact()) return 0;
  const float32x4_t limit = vdupq_n_f32(kQuotientLimit * scale);
  const int16x8_t zero = vdupq_n_s16(static_cast<int16_t>(zero_point));
  size_t i = 0;
  for (; i + 8 <= count; i += 8) {
    const int16x8_t values = vcombine_s16(quotients(dividends + i, divisor, limit),
                                          quotients(dividends + i + 4, divisor, limit));
    vst1_u8(output + i, to_bytes(values, zero));
  }
  return i;
}

}  // namespace

void quantize(const float* input, uint8_t* output, size_t count, float scale, int32_t zero_point) {
  size_t i = quantize_vectors(input, output, count, scale, zero_point);
  for (; i < count; ++i) output[i] = quantized(input[i], scale, zero_point);
}

void dequantize(const uint8_t* input, float* output, size_t count, float scale,
                int32_t zero_point) {
  const uint8x8_t zero = vdup_n_u8(static_cast<uint8_t>(zero_point));
  const float32x4_t scales = vdupq_n_f32(scale);
  size_t i = 0;
  for (; i + 8 <= count; i += 8) {
    const int16x8_t values = vreinterpretq_s16_u16(vsubl_u8(vld1_u8(input + i), zero));
    const float32x4_t low = vcvtq_f32_s32(vmovl_s16(vget_low_s16(values)));
    const float32x4_t high = vcvtq_f32_s32(vmovl_s16(vget_high_s16(values)));
    vst1q_f32(output + i, vmulq_f32(low, scales));
    vst1q_f32(output + i + 4, vmulq_f32(high, scales));
  }
  for (; i < count; ++i) output[i] = static_cast<float>(input[i] - zero_point) * scale;
}

uint8_t largest(const uint8_t* input, size_t count) {
  uint8x16_t all = vdupq_n_u8(0);
  size_t i = 0;
  for (; i + 16 <= count; i += 16) all = vmaxq_u8(all, vld1q_u8(input + i));
  uint8_t lanes[16];
  vst1q_u8(lanes, all);
  uint8_t found = *std::max_element(lanes, lanes + 16);
  for (; i < count; ++i) found = std::max(found, input[i]);
  return found;
}

namespace {

/// Four entries of a table, added to `sum` from first to last; scaled, where denormals become zero
/// on AArch32.
#if defined(__aarch64__)
inline void scaled_entries_4(const uint8_t* input, const float* table, float factor, float& sum,
                             float* entries) {
  float four[4];
#pragma GCC unroll 4
  for (size_t i = 0; i < 4; ++i) {
    four[i] = table[input[i]];
    sum += four[i];
  }
#pragma GCC unroll 4
  for (size_t i = 0; i < 4; ++i) entries[i] = four[i] * factor;
}
#else
inline void scaled_entries_4(const uint8_t* input, const float* table, float factor, float& sum,
                             float* entries) {
  uint32_t bytes, i0, i1, i2;
  std::memcpy(&bytes, input, sizeof bytes);
  __asm__(
      "uxtb %[i0], %[i3]\n\t"
      "ubfx %[i1], %[i3], #8, #8\n\t"
      "ubfx %[i2], %[i3], #16, #8\n\t"
      "lsr %[i3], %[i3], #24\n\t"
      "ldr %[i0], [%[table], %[i0], lsl #2]\n\t"
      "ldr %[i1], [%[table], %[i1], lsl #2]\n\t"
      "ldr %[i2], [%[table], %[i2], lsl #2]\n\t"
      "ldr %[i3], [%[table], %[i3], lsl #2]\n\t"
      "vmov d0, %[i0], %[i1]\n\t"
      "vmov d1, %[i2], %[i3]\n\t"
      "vadd.f32 %[sum], %[sum], s0\n\t"
      "vmul.f32 q1, q0, %q[factor]\n\t"
      "vadd.f32 %[sum], %[sum], s1\n\t"
      "vadd.f32 %[sum], %[sum], s2\n\t"
      "vadd.f32 %[sum], %[sum], s3\n\t"
      "vst1.32 {q1}, [%[entries]]\n\t"
      : [i0] "=&r"(i0), [i1] "=&r"(i1), [i2] "=&r"(i2), [i3] "+r"(bytes), [sum] "+t"(sum)
      : [table] "r"(table), [factor] "w"(vdupq_n_f32(factor)), [entries] "r"(entries)
      : "q0", "q1", "memory");
}
#endif

}  // namespace

float scaled_entries(const uint8_t* input, const float* table, float factor, float* entries,
                     size_t count) {
  float sum = 0.0f;
  size_t i = 0;
  for (; i + 4 <= count; i += 4) scaled_entries_4(input + i, table, factor, sum, entries + i);
  for (; i < count; ++i) {
    const float entry = table[input[i]];
    sum += entry;
    entries[i] = entry * factor;
  }
  return sum;
}

}  // namespace edgewright
