// Depthwise convolution: eight channels at a time, two taps to a 16-bit sum.

#include "kernels.h"
#include "neon.h"

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

/// All channels from `channel` on.
template <size_t count>
void convolve(const uint8_t* const* taps, size_t tap_count, const int8_t* w, size_t channels,
              size_t channel, size_t pixels, const Requantize& requantize, uint8_t* output) {
  const int16x8_t zero_point = vdupq_n_s16(static_cast<int16_t>(requantize.zero_point));
  for (; channel < channels; channel += 8) {
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

#if defined(__aarch64__)

/// Sixteen channels, whose nine weights stay in registers.
class Sixteen {
 public:
  static constexpr size_t kTaps = 9;

  Sixteen(const int8_t* w, size_t channels, const Requantize& requantize, size_t channel)
      : channel_(channel),
        zero_point_(vdupq_n_s16(static_cast<int16_t>(requantize.zero_point))) {
    for (size_t t = 0; t < kTaps; ++t) weights_[t] = vld1q_s8(w + t * channels + channel);
    for (size_t i = 0; i < 4; ++i) {
      bias_[i] = vld1q_s32(requantize.bias + channel + 4 * i);
      scales_[i] = requantize.per_column ? vld1q_f32(requantize.scale + channel + 4 * i)
                                         : vdupq_n_f32(*requantize.scale);
    }
  }

  uint8x16_t pixel(const uint8_t* const* taps) const {
    int32x4_t sums[4] = {bias_[0], bias_[1], bias_[2], bias_[3]};
#pragma GCC unroll 8
    for (size_t t = 0; t + 2 <= kTaps; t += 2) {
      const int8x16_t first = load_signed_16(taps[t]), second = load_signed_16(taps[t + 1]);
      add(sums, vmlal_s8(low_products(first, t), vget_low_s8(second), vget_low_s8(weights_[t + 1])),
          vmlal_high_s8(vmull_high_s8(first, weights_[t]), second, weights_[t + 1]));
    }
    const int8x16_t last = load_signed_16(taps[kTaps - 1]);
    add(sums, low_products(last, kTaps - 1), vmull_high_s8(last, weights_[kTaps - 1]));
    return vcombine_u8(bytes(sums, 0), bytes(sums, 2));
  }

 private:
  int8x16_t load_signed_16(const uint8_t* tap) const {
    return vreinterpretq_s8_u8(veorq_u8(vld1q_u8(tap + channel_), vdupq_n_u8(0x80)));
  }
  int16x8_t low_products(int8x16_t tap, size_t t) const {
    return vmull_s8(vget_low_s8(tap), vget_low_s8(weights_[t]));
  }
  static void add(int32x4_t (&sums)[4], int16x8_t low, int16x8_t high) {
    sums[0] = vaddw_s16(sums[0], vget_low_s16(low));
    sums[1] = vaddw_high_s16(sums[1], low);
    sums[2] = vaddw_s16(sums[2], vget_low_s16(high));
    sums[3] = vaddw_high_s16(sums[3], high);
  }
  uint8x8_t bytes(const int32x4_t (&sums)[4], size_t i) const {
    return to_bytes(vcombine_s16(scaled(sums[i], scales_[i]), scaled(sums[i + 1], scales_[i + 1])),
                    zero_point_);
  }

  int8x16_t weights_[kTaps];
  int32x4_t bias_[4];
  float32x4_t scales_[4];
  size_t channel_;
  int16x8_t zero_point_;
};

/// As many multiples of 16 channels as there are; returns their number.
size_t convolve_sixteens(const uint8_t* const* taps, const int8_t* w, size_t channels,
                         size_t pixels, const Requantize& requantize, uint8_t* output) {
  size_t channel = 0;
  for (; channel + 16 <= channels; channel += 16) {
    const Sixteen sixteen(w, channels, requantize, channel);
    for (size_t pixel = 0; pixel < pixels; ++pixel) {
      vst1q_u8(output + pixel * channels + channel, sixteen.pixel(taps + pixel * Sixteen::kTaps));
    }
  }
  return channel;
}

#endif

}  // namespace

void depthwise(const uint8_t* const* taps, size_t tap_count, const int8_t* w, size_t channels,
               size_t pixels, const Requantize& requantize, uint8_t* output) {
  size_t channel = 0;
#if defined(__aarch64__)
  if (tap_count == Sixteen::kTaps) {
    channel = convolve_sixteens(taps, w, channels, pixels, requantize, output);
  }
#endif
  const auto run = tap_count == 9 ? convolve<9> : convolve<0>;
  run(taps, tap_count, w, channels, channel, pixels, requantize, output);
}

}  // namespace edgewright
