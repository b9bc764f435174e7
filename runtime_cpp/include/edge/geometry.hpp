#pragma once

#include <cstddef>
#include <optional>

#include "edge/card.hpp"
#include "edge/placement.hpp"

namespace edge {

/// One axis: `length` pixels of the picture become `resized`, of which `count` are kept.
struct Span {
  size_t start;              // first pixel of the picture that is read
  size_t length;             // pixels
  size_t resized;            // pixels
  size_t first;              // of the resized ones that are kept
  size_t count;              // pixels
  size_t before;             // pixels of border before them
  bool is_mirrored = false;  // counted from the upright picture's other end

  double scale() const { return static_cast<double>(resized) / static_cast<double>(length); }
  /// Of the picture's pixel 0 in the input.
  double offset() const {
    return static_cast<double>(before) - static_cast<double>(first) -
           static_cast<double>(start) * scale();
  }
};

/// How a picture of one size, turned upright, is brought into the network's input.
struct Geometry {
  size_t height;  // pixels of the upright picture
  size_t width;
  Region region;  // that the network sees
  Span y;
  Span x;

  Placement placement() const;
};

/// The part of an upright picture of this size that the card's region is; nothing if that reaches
/// beyond it.
std::optional<Region> region_of(size_t height, size_t width, const Card& card);

/// By how much the sides of an upright JPEG of this size are divided when it is decoded.
int reduction_of(size_t height, size_t width, const Card& card);

/// How a part of an upright picture of this size is brought into the card's input.
Geometry geometry_of(size_t height, size_t width, const Region& region, const Card& card);

}  // namespace edge
