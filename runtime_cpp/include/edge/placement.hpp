#pragma once

#include <cstddef>

namespace edge {

/// A part of the upright picture, in pixels.
struct Region {
  size_t x;
  size_t y;
  size_t width;
  size_t height;
};

/// Where an upright image lies in the network's input: x of the input is x · scale_x + left.
/// Coordinates are those of corners: the first pixel reaches from 0 to 1.
struct Placement {
  int width = 0;  // of the upright image, in its pixels
  int height = 0;
  double scale_x = 1;
  double scale_y = 1;
  double left = 0;  // of the image's corner in the input, in pixels of the input
  double top = 0;
  Region part{};  // of the image, that the network sees
};

}  // namespace edge
