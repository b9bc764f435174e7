#include "edge/image_statistics.hpp"

#include <algorithm>
#include <cmath>

namespace edge {
namespace {

constexpr size_t grid = 64;

/// Mean of the channels of a pixel; HSV's saturation is added to `saturation`.
double gray_of(const Planes& planes, const float* pixel, double* saturation) {
  if (planes.channels == 1) return static_cast<double>(*pixel);
  double sum = 0;
  float largest = *pixel, least = *pixel;
  for (size_t channel = 0; channel < planes.channels; ++channel) {
    const float value = pixel[channel * planes.plane];
    sum += static_cast<double>(value);
    largest = std::max(largest, value);
    least = std::min(least, value);
  }
  if (saturation != nullptr && largest > 0) {
    *saturation += static_cast<double>((largest - least) / largest);
  }
  return sum / static_cast<double>(planes.channels);
}

/// From the first of them, every so many.
size_t step_of(size_t side) {
  return (side + grid - 1) / grid;
}

size_t last_of(size_t side) {
  return side > 1 ? side - 1 : 1;  // each pixel that is looked at has a neighbour
}

}  // namespace

ImageStatistics measure(const Planes& planes) {
  const size_t across_one = planes.width > 1 ? 1 : 0;
  const size_t down_one = planes.height > 1 ? planes.stride : 0;
  const size_t across_step = step_of(planes.width);
  double sum = 0, squares = 0, across = 0, down = 0, saturation = 0;
  size_t samples = 0;
  for (size_t y = 0; y < last_of(planes.height); y += step_of(planes.height)) {
    for (size_t x = 0; x < last_of(planes.width); x += across_step) {
      const float* pixel = planes.first + y * planes.stride + x;
      const double value = gray_of(planes, pixel, &saturation);
      const double beside = gray_of(planes, pixel + across_one, nullptr) - value;
      const double below = gray_of(planes, pixel + down_one, nullptr) - value;
      sum += value;
      squares += value * value;
      across += beside * beside;
      down += below * below;
      ++samples;
    }
  }
  const auto count = static_cast<double>(samples);
  const double mean = sum / count;
  const double variance = std::max(squares / count - mean * mean, 0.0);
  const double steps = across + down;
  ImageStatistics statistics = not_measured();
  statistics[0] = mean;
  statistics[1] = std::sqrt(variance);
  if (variance > 0 && steps > 0) {
    statistics[2] = std::sqrt(steps / (4 * count) / variance);
    statistics[3] = across / steps;
  }
  if (planes.channels == 3) statistics[4] = saturation / count;
  return statistics;
}

}  // namespace edge
