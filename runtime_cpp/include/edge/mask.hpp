#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "edge/card.hpp"
#include "edge/placement.hpp"

namespace edge {

/// The pixels `first` to `end` of a map's axis show the image.
struct MapAxis {
  size_t first = 0;
  size_t end = 0;
  double step = 1;    // pixels of the input to one of the map
  double offset = 0;  // of the image's corner, in pixels of the input
  double scale = 1;   // pixels of the input to one of the image
  size_t start = 0;   // pixel of the image, the first that the network sees
  size_t length = 0;  // pixels of the image that it sees

  /// Of a map over all tiles, of which each has `tile` pixels of the image and `size` of its own
  /// map; as dense as these.
  static MapAxis stitched(size_t start, size_t length, size_t tile, size_t size);

  size_t size() const { return end - first; }
  /// Of a pixel of a stitched map, in pixels of the image.
  double centre(size_t i) const {
    const auto pixels = static_cast<double>(length);
    return (static_cast<double>(i) + 0.5) * pixels / static_cast<double>(end) +
           static_cast<double>(start);
  }
  /// Of a pixel of the part, in pixels of the image.
  double middle(size_t i) const {
    return ((static_cast<double>(first + i) + 0.5) * step - offset) / scale;
  }
  /// The pixel of the part that a point of the image lies in.
  size_t place_of(double point) const;
  /// A place on the part that shows the image, in pixels of the image, within it.
  double to_image(double place) const;
};

/// The part of a map that shows the image: what borders the input is left out.
struct MapWindow {
  MapAxis rows;
  MapAxis columns;

  /// Index of a pixel of the part in a whole plane of the map, whose rows have `width` pixels.
  size_t at(size_t row, size_t column, size_t width) const {
    return (rows.first + row) * width + columns.first + column;
  }
};

/// Of a map of `shape`, whose last two sizes are its height and width; it covers the input.
MapWindow window_of(const std::vector<int64_t>& shape, const Card& card,
                    const Placement& placement);

/// Some pixels of a part: lengths of runs, column by column, of those without, with, without, …
struct Mask {
  size_t height = 0;
  size_t width = 0;
  std::vector<uint32_t> runs;
  bool is_ragged = false;  // has more runs than an answer tells of, and none here
  size_t area = 0;         // pixels
};

constexpr size_t most_runs = 20'000;  // of a mask in an answer; one with more is noise

/// The runs of a mask, whose pixels come column by column.
class Runs {
 public:
  /// `most` bounds the memory; a mask with more has one more here.
  explicit Runs(size_t most) : most_(most) {}

  void add(bool is_set, size_t count);
  Mask mask(size_t height, size_t width);

 private:
  void end_run();

  size_t most_;
  std::vector<uint32_t> runs_;
  bool is_set_ = false;  // the first run is of pixels without
  uint32_t length_ = 0;
  size_t area_ = 0;
};

/// The pixels (row, column) for which `has` says so.
Mask make_mask(size_t height, size_t width, const std::function<bool(size_t, size_t)>& has);

/// The mask without its runs where it is too ragged to tell.
Mask told(Mask mask);

/// The text of a mask, as COCO's `counts`.
std::string encode(const Mask& mask);

/// The mask of a text; nothing if it is not one of this size.
std::optional<Mask> decode(const std::string& text, size_t height, size_t width);

/// Pixels that both have; both are of one size, neither is ragged.
size_t intersection(const Mask& one, const Mask& other);

}  // namespace edge
