#include "edge/resize.hpp"

#include <algorithm>
#include <cmath>

#if defined(__ARM_NEON)
#include <arm_neon.h>
#endif

namespace edge {
namespace {

constexpr size_t lanes = 8;        // pixels that a vector holds
constexpr int least_bits = 14;     // of a weight: one that is 1, or a little more, has 16 then
constexpr int most_bits = 22;      // sums across stay in 32 bits, and those of both passes in 53
constexpr double largest = 16384;  // of a weight, where its axis has more than the least bits

// Of luma; they add up to 65536.
constexpr uint16_t red_weight = 19595, green_weight = 38470, blue_weight = 7471;

double triangle(double distance) {
  return std::max(1 - distance, 0.0);
}

/// Keys' curve with a = -0.5.
double bicubic(double distance) {
  if (distance < 1) return (1.5 * distance - 2.5) * distance * distance + 1;
  if (distance < 2) return ((-0.5 * distance + 2.5) * distance - 4) * distance + 2;
  return 0;
}

/// The weights of one output as the filter's curve has them: their sum is any number.
struct Curve {
  size_t first = 0;
  std::vector<double> weights;

  /// Sums of the weights up to each of them, by the sum of all.
  std::vector<double> shares() const {
    std::vector<double> sums(weights.size());
    double sum = 0;
    for (size_t i = 0; i < sums.size(); ++i) sums[i] = sum += weights[i];
    for (double& share : sums) share /= sum;
    return sums;
  }

  double largest_share() const {
    double sum = 0, most = 0;
    for (const double weight : weights) {
      sum += weight;
      most = std::max(most, std::fabs(weight));
    }
    return most / sum;
  }
};

/// As Pillow's `Image.resize` has it; `curve` ends at `reach`.
Curve antialiased(const Span& span, size_t index, double reach, double (*curve)(double)) {
  const double ratio = static_cast<double>(span.length) / static_cast<double>(span.resized);
  const double stretch = std::max(ratio, 1.0);
  const double center = (static_cast<double>(index) + 0.5) * ratio;
  Curve result;
  result.first = static_cast<size_t>(std::max(center - reach * stretch + 0.5, 0.0));
  const auto end = std::min(static_cast<size_t>(center + reach * stretch + 0.5), span.length);
  for (size_t i = result.first; i < end; ++i) {
    result.weights.push_back(curve(std::fabs((static_cast<double>(i) - center + 0.5) / stretch)));
  }
  return result;
}

/// As OpenCV's INTER_LINEAR: the two neighbours of the place, however far the next ones are.
Curve bilinear(const Span& span, size_t index) {
  const double ratio = static_cast<double>(span.length) / static_cast<double>(span.resized);
  const double at = std::max((static_cast<double>(index) + 0.5) * ratio - 0.5, 0.0);
  const auto first = static_cast<size_t>(at);
  if (first + 1 >= span.length) return {span.length - 1, {1}};
  const double share = at - static_cast<double>(first);
  return {first, {1 - share, share}};
}

Curve curve_of(const Span& span, size_t index, Filter filter) {
  if (filter == Filter::bilinear) return bilinear(span, index);
  if (filter == Filter::triangle) return antialiased(span, index, 1, triangle);
  return antialiased(span, index, 2, bicubic);
}

/// As many bits as the largest weight of the axis leaves room for.
int bits_for(double largest_share) {
  int bits = least_bits;
  while (bits < most_bits && largest_share * static_cast<double>(2 << bits) <= largest) ++bits;
  return bits;
}

/// A 64-bit integer of at most 53 bits; 32-bit ARM has no instruction for that.
double exactly(int64_t sum) {
  const auto high = static_cast<int32_t>(sum >> 32);
  return static_cast<double>(high) * 4294967296.0 + static_cast<double>(static_cast<uint32_t>(sum));
}

#if defined(__ARM_NEON)

int32_t sum_of(int32x4_t values) {
  const int32x2_t pairs = vadd_s32(vget_low_s32(values), vget_high_s32(values));
  return vget_lane_s32(vpadd_s32(pairs, pairs), 0);
}

int16x8_t widened(uint8x8_t pixels) {
  return vreinterpretq_s16_u16(vmovl_u8(pixels));
}

int32x4_t add_products(int32x4_t sums, int16x8_t pixels, int16x8_t weights) {
  sums = vmlal_s16(sums, vget_low_s16(pixels), vget_low_s16(weights));
  return vmlal_s16(sums, vget_high_s16(pixels), vget_high_s16(weights));
}

void filter_gray(const uint8_t* pixels, const int16_t* weights, size_t taps, int32_t* sum) {
  int32x4_t sums = vdupq_n_s32(0);
  for (size_t i = 0; i < taps; i += lanes) {
    sums = add_products(sums, widened(vld1_u8(pixels + i)), vld1q_s16(weights + i));
  }
  *sum = sum_of(sums);
}

void filter_rgb(const uint8_t* pixels, const int16_t* weights, size_t taps, int32_t* sum,
                size_t plane) {
  int32x4_t red = vdupq_n_s32(0), green = red, blue = red;
  for (size_t i = 0; i < taps; i += lanes) {
    const uint8x8x3_t rgb = vld3_u8(pixels + 3 * i);
    const int16x8_t weight = vld1q_s16(weights + i);
    red = add_products(red, widened(rgb.val[0]), weight);
    green = add_products(green, widened(rgb.val[1]), weight);
    blue = add_products(blue, widened(rgb.val[2]), weight);
  }
  sum[0] = sum_of(red);
  sum[plane] = sum_of(green);
  sum[2 * plane] = sum_of(blue);
}

/// Adds a weighted row; how many values that took, all but a few of them.
size_t add_row(const int32_t* row, int32_t weight, size_t count, int64_t* sums) {
  size_t i = 0;
  for (; i + 4 <= count; i += 4) {
    const int32x4_t values = vld1q_s32(row + i);
    vst1q_s64(sums + i, vmlal_n_s32(vld1q_s64(sums + i), vget_low_s32(values), weight));
    vst1q_s64(sums + i + 2, vmlal_n_s32(vld1q_s64(sums + i + 2), vget_high_s32(values), weight));
  }
  return i;
}

uint16x4_t luma_of(uint16x4_t red, uint16x4_t green, uint16x4_t blue, uint16x4_t weights) {
  uint32x4_t sum = vmull_lane_u16(red, weights, 0);
  sum = vmlal_lane_u16(sum, green, weights, 1);
  sum = vmlal_lane_u16(sum, blue, weights, 2);
  return vrshrn_n_u32(sum, 16);
}

size_t luma_vectors(const uint8_t* rgb, size_t count, uint8_t* luma) {
  const uint16_t numbers[4] = {red_weight, green_weight, blue_weight, 0};
  const uint16x4_t weights = vld1_u16(numbers);
  size_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const uint8x8x3_t pixels = vld3_u8(rgb + 3 * i);
    const uint16x8_t red = vmovl_u8(pixels.val[0]), green = vmovl_u8(pixels.val[1]),
                     blue = vmovl_u8(pixels.val[2]);
    const uint16x4_t low =
        luma_of(vget_low_u16(red), vget_low_u16(green), vget_low_u16(blue), weights);
    const uint16x4_t high =
        luma_of(vget_high_u16(red), vget_high_u16(green), vget_high_u16(blue), weights);
    vst1_u8(luma + i, vmovn_u16(vcombine_u16(low, high)));
  }
  return i;
}

#else

void filter_gray(const uint8_t* pixels, const int16_t* weights, size_t taps, int32_t* sum) {
  *sum = 0;
  for (size_t i = 0; i < taps; ++i) *sum += pixels[i] * weights[i];
}

void filter_rgb(const uint8_t* pixels, const int16_t* weights, size_t taps, int32_t* sum,
                size_t plane) {
  for (size_t channel = 0; channel < 3; ++channel) {
    int32_t& of_channel = sum[channel * plane];
    of_channel = 0;
    for (size_t i = 0; i < taps; ++i) of_channel += pixels[3 * i + channel] * weights[i];
  }
}

size_t add_row(const int32_t*, int32_t, size_t, int64_t*) {
  return 0;
}

size_t luma_vectors(const uint8_t*, size_t, uint8_t*) {
  return 0;
}

#endif

}  // namespace

void luma_row(const uint8_t* rgb, size_t count, uint8_t* luma) {
  for (size_t i = luma_vectors(rgb, count, luma); i < count; ++i) {
    const uint8_t* pixel = rgb + 3 * i;
    const uint32_t sum = uint32_t{red_weight} * pixel[0] + uint32_t{green_weight} * pixel[1] +
                         uint32_t{blue_weight} * pixel[2];
    luma[i] = static_cast<uint8_t>((sum + 32768u) >> 16);
  }
}

Resizer::Axis Resizer::axis_of(const Span& span, Filter filter) {
  std::vector<Curve> curves;
  double largest_share = 0;
  for (size_t index = span.first; index < span.first + span.count; ++index) {
    // A mirrored axis has the upright one's weights: a share in the middle of two whole numbers
    // would be rounded the other way from its other end.
    curves.push_back(curve_of(span, span.is_mirrored ? span.resized - 1 - index : index, filter));
    largest_share = std::max(largest_share, curves.back().largest_share());
  }
  Axis axis{bits_for(largest_share), {}};
  for (const Curve& curve : curves) {
    Taps taps{curve.first, {}};
    // The sums are rounded, not the weights: so the rounded ones add up to 2^bits.
    int64_t before = 0;
    for (const double share : curve.shares()) {
      const auto sum =
          static_cast<int64_t>(std::floor(share * static_cast<double>(1 << axis.bits) + 0.5));
      taps.weights.push_back(static_cast<int16_t>(sum - before));
      before = sum;
    }
    if (span.is_mirrored) {
      std::reverse(taps.weights.begin(), taps.weights.end());
      taps.first = span.length - taps.first - taps.weights.size();
    }
    axis.taps.push_back(std::move(taps));
  }
  return axis;
}

Resizer::Resizer(const Span& across, const Span& down, Filter filter, size_t channels)
    : channels_(channels),
      length_(across.length),
      width_(across.count),
      filter_(filter),
      down_(axis_of(down, filter)),
      unit_(0),
      narrow_(across.count * channels),
      sums_(down.count),
      out_(across.count * down.count * channels) {
  const Axis columns = axis_of(across, filter);
  unit_ = std::ldexp(1.0, -columns.bits - down_.bits);
  lay_out(columns);
}

/// Weights of 0 fill up each column's; they come first where the row would end before the others.
void Resizer::lay_out(const Axis& across) {
  for (const Taps& taps : across.taps) taps_ = std::max(taps_, taps.weights.size());
  taps_ = (taps_ + lanes - 1) / lanes * lanes;
  if (taps_ > length_) padded_.resize(taps_ * channels_);
  weights_.resize(taps_ * width_);
  int16_t* weights = weights_.data();
  for (const Taps& taps : across.taps) {
    const size_t last = length_ > taps_ ? length_ - taps_ : 0;
    firsts_.push_back(std::min(taps.first, last));
    std::copy(taps.weights.begin(), taps.weights.end(), weights + (taps.first - firsts_.back()));
    weights += taps_;
  }
}

const uint8_t* Resizer::padded(const uint8_t* pixels) {
  if (padded_.empty()) return pixels;
  std::copy_n(pixels, length_ * channels_, padded_.data());
  return padded_.data();
}

void Resizer::row(const uint8_t* pixels) {
  pixels = padded(pixels);
  for (size_t x = 0; x < width_; ++x) {
    const int16_t* weights = weights_.data() + x * taps_;
    if (channels_ == 1) {
      filter_gray(pixels + firsts_[x], weights, taps_, &narrow_[x]);
    } else {
      filter_rgb(pixels + 3 * firsts_[x], weights, taps_, &narrow_[x], width_);
    }
  }
  for (size_t y = open_; y < sums_.size() && down_.taps[y].first <= row_; ++y) {
    const Taps& taps = down_.taps[y];
    std::vector<int64_t>& sums = sums_[y];
    sums.resize(narrow_.size());
    const int32_t weight = taps.weights[row_ - taps.first];
    for (size_t i = add_row(narrow_.data(), weight, sums.size(), sums.data()); i < sums.size();
         ++i) {
      sums[i] += int64_t{narrow_[i]} * weight;
    }
    if (row_ + 1 < taps.first + taps.weights.size()) continue;
    finish(y, sums);
    sums = {};
    open_ = y + 1;  // outputs end in order
  }
  ++row_;
}

void Resizer::finish(size_t y, const std::vector<int64_t>& sums) {
  const int64_t* sum = sums.data();
  for (size_t channel = 0; channel < channels_; ++channel) {
    float* out = out_.data() + (channel * sums_.size() + y) * width_;
    for (size_t x = 0; x < width_; ++x) {
      double value = exactly(*sum++) * unit_;
      // The bicubic curve overshoots at edges.
      if (filter_ == Filter::bicubic) value = std::min(std::max(value, 0.0), 255.0);
      out[x] = static_cast<float>(value);
    }
  }
}

}  // namespace edge
