#pragma once

#include <array>
#include <cstddef>

namespace edge {

/// Brightness, contrast, sharpness, direction and saturation of an image as the network sees it,
/// before it is normalized (docs/formats.md); not a number where one cannot be measured.
using ImageStatistics = std::array<double, 5>;

constexpr ImageStatistics not_measured() {
  return {__builtin_nan(""), __builtin_nan(""), __builtin_nan(""), __builtin_nan(""),
          __builtin_nan("")};
}

/// A part of planes of values 0 to 255 that lie one behind the other.
struct Planes {
  const float* first;  // value of the part's corner in the first plane
  size_t channels;
  size_t plane;   // values from a plane to the next
  size_t stride;  // values from a row to the next
  size_t height;  // of the part, in pixels
  size_t width;
};

/// Looks at 64 rows and columns at most: it costs the same at any size.
ImageStatistics measure(const Planes& planes);

}  // namespace edge
