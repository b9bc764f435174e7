#include "edge/preprocess.hpp"

#include <algorithm>
#include <cmath>

namespace edge {
namespace {

/// The inputs that make up one output of the filter.
struct Taps {
  size_t first = 0;             // index of the first input
  std::vector<double> weights;  // one for each input, sum 1
};

/// Weights for output `index` when `in` inputs become `out` outputs.
Taps taps_for(int index, int in, int out) {
  const double scale = static_cast<double>(in) / out;
  const double support = std::max(scale, 1.0);
  const double center = (index + 0.5) * scale;
  const int first = std::max(static_cast<int>(center - support + 0.5), 0);
  const int end = std::min(static_cast<int>(center + support + 0.5), in);
  Taps taps{static_cast<size_t>(first), {}};
  double sum = 0;
  for (int i = first; i < end; ++i) {
    const double distance = std::fabs((i - center + 0.5) / support);
    taps.weights.push_back(std::max(1 - distance, 0.0));
    sum += taps.weights.back();
  }
  for (double& weight : taps.weights) weight /= sum;
  return taps;
}

std::vector<Taps> all_taps(int in, int out) {
  std::vector<Taps> taps;
  for (int i = 0; i < out; ++i) taps.push_back(taps_for(i, in, out));
  return taps;
}

Plane resize_rows(const Plane& in, int width) {
  Plane out{width, in.height, {}};
  out.values.reserve(static_cast<size_t>(width) * static_cast<size_t>(in.height));
  const auto taps = all_taps(in.width, width);
  for (int y = 0; y < in.height; ++y) {
    const float* row = in.values.data() + static_cast<size_t>(y) * static_cast<size_t>(in.width);
    for (const Taps& tap : taps) {
      double sum = 0;
      const float* input = row + tap.first;
      for (const double weight : tap.weights) sum += static_cast<double>(*input++) * weight;
      out.values.push_back(static_cast<float>(sum));
    }
  }
  return out;
}

Plane resize_columns(const Plane& in, int height) {
  const auto width = static_cast<size_t>(in.width);
  Plane out{in.width, height, {}};
  out.values.reserve(width * static_cast<size_t>(height));
  for (const Taps& tap : all_taps(in.height, height)) {
    std::vector<double> sums(width, 0.0);  // whole rows at a time: memory is read in order
    const float* input = in.values.data() + tap.first * width;
    for (const double weight : tap.weights) {
      for (double& sum : sums) sum += static_cast<double>(*input++) * weight;
    }
    for (const double sum : sums) out.values.push_back(static_cast<float>(sum));
  }
  return out;
}

void normalize_per_image(std::vector<float>& values, double epsilon) {
  const auto count = static_cast<double>(values.size());
  double sum = 0;
  for (const float value : values) sum += static_cast<double>(value);
  const double mean = sum / count;
  double squares = 0;
  for (const float value : values) squares += (value - mean) * (value - mean);
  const double scale = std::max(std::sqrt(squares / count), epsilon * 255);
  for (float& value : values) value = static_cast<float>((value - mean) / scale);
}

void normalize_mean_std(std::vector<float>& values, const Normalize& normalize) {
  const size_t per_channel = values.size() / normalize.mean.size();
  for (size_t i = 0; i < values.size(); ++i) {
    const size_t channel = i / per_channel;
    const double centered = static_cast<double>(values[i]) / 255 - normalize.mean[channel];
    values[i] = static_cast<float>(centered / normalize.std[channel]);
  }
}

}  // namespace

Plane plane_of(const Image& image, int channel) {
  Plane plane{image.width, image.height, {}};
  const auto count = static_cast<size_t>(image.width) * static_cast<size_t>(image.height);
  const auto step = static_cast<size_t>(image.channels);
  const uint8_t* pixel = image.pixels.get() + (image.channels == 1 ? 0 : channel);
  plane.values.reserve(count);
  for (size_t i = 0; i < count; ++i) plane.values.push_back(pixel[i * step]);
  return plane;
}

Plane luma_of(const Image& image) {
  if (image.channels == 1) return plane_of(image, 0);
  Plane plane{image.width, image.height, {}};
  const auto count = static_cast<size_t>(image.width) * static_cast<size_t>(image.height);
  plane.values.reserve(count);
  for (const uint8_t* p = image.pixels.get(); plane.values.size() < count; p += 3) {
    const uint32_t luma = (19595u * p[0] + 38470u * p[1] + 7471u * p[2] + 32768u) >> 16;
    plane.values.push_back(static_cast<float>(luma));
  }
  return plane;
}

Plane resize(Plane plane, int width, int height) {
  if (plane.width != width) plane = resize_rows(plane, width);
  if (plane.height != height) plane = resize_columns(plane, height);
  return plane;
}

std::vector<float> preprocess(const Image& image, const Card& card) {
  std::vector<float> input;
  input.reserve(card.values());
  for (int channel = 0; channel < card.channels(); ++channel) {
    Plane plane = card.channels() == 1 ? luma_of(image) : plane_of(image, channel);
    plane = resize(std::move(plane), card.width(), card.height());
    input.insert(input.end(), plane.values.begin(), plane.values.end());
  }
  if (card.normalize.per_image) {
    normalize_per_image(input, card.normalize.epsilon);
  } else {
    normalize_mean_std(input, card.normalize);
  }
  return input;
}

}  // namespace edge
