// Depthwise convolution: eight channels at a time, two taps to a 16-bit sum.

#include "kernels.h"
#include "neon32.h"

namespace edgewright {
namespace {

int8x8_t load_signed(const uint8_t* bytes) {
  return vreinterpret_s8_u8(veor_u8(vld1_u8(bytes), vdup_n_u8(0x80)));
}

struct Eight {
  int32x4_t low, high;
};

void add(Eight& sums, int16x8_t values) {
  sums.low = vaddw_s16(sums.low, vget_low_s16(values));
  sums.high = vaddw_s16(sums.high, vget_high_s16(values));
}

/// Taps of a fixed number are unrolled; `count` 0 stands for any number.
template <size_t count>
void sum_taps(Eight& sums, const uint8_t* const* taps, size_t tap_count, const int8_t* w,
              size_t channels, size_t channel) {
  const size_t taps_here = count ? count : tap_count;
  size_t t = 0;
#pragma GCC unroll 8
  for (; t + 2 <= taps_here; t += 2, w += 2 * channels) {
    const int16x8_t first = vmull_s8(load_signed(taps[t] + channel), vld1_s8(w));
    add(sums, vmlal_s8(first, load_signed(taps[t + 1] + channel), vld1_s8(w + channels)));
  }
  if (t < taps_here) add(sums, vmull_s8(load_signed(taps[t] + channel), vld1_s8(w)));
}

struct Scales {
  float32x4_t low, high;
};

Scales load_scales(const Requantize& requantize, size_t channel) {
  if (!requantize.per_column) return {vdupq_n_f32(*requantize.scale), vdupq_n_f32(*requantize.scale)};
  return {vld1q_f32(requantize.scale + channel), vld1q_f32(requantize.scale + channel + 4)};
}

template <size_t count>
void convolve(const uint8_t* const* taps, size_t tap_count, const int8_t* w, size_t channels,
              size_t pixels, const Requantize& requantize, uint8_t* output) {
  const int16x8_t zero_point = vdupq_n_s16(static_cast<int16_t>(requantize.zero_point));
  for (size_t channel = 0; channel < channels; channel += 8) {
    const Scales scales = load_scales(requantize, channel);
    const Eight bias{vld1q_s32(requantize.bias + channel), vld1q_s32(requantize.bias + channel + 4)};
    for (size_t pixel = 0; pixel < pixels; ++pixel) {
      Eight sums = bias;
      sum_taps<count>(sums, taps + pixel * tap_count, tap_count, w + channel, channels, channel);
      const int16x8_t values =
          vcombine_s16(scaled(sums.low, scales.low), scaled(sums.high, scales.high));
      vst1_u8(output + pixel * channels + channel, to_bytes(values, zero_point));
    }
  }
}

}  // namespace

void depthwise(const uint8_t* const* taps, size_t tap_count, const int8_t* w, size_t channels,
               size_t pixels, const Requantize& requantize, uint8_t* output) {
  const auto run = tap_count == 9 ? convolve<9> : convolve<0>;
  run(taps, tap_count, w, channels, pixels, requantize, output);
}

}  // namespace edgewright
