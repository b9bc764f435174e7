#include "edge/mask.hpp"

#include <algorithm>
#include <cmath>

namespace edge {
namespace {

constexpr double slack = 1e-6;  // pixels of the input: C++ and Python round to the same side

MapAxis axis_of(size_t size, int input_size, double offset, double scale, size_t start,
                size_t length) {
  MapAxis axis;
  axis.step = static_cast<double>(input_size) / static_cast<double>(size);
  axis.offset = offset;
  axis.scale = scale;
  axis.start = start;
  axis.length = length;
  const double low = offset + static_cast<double>(start) * scale;
  const double border = offset + static_cast<double>(start + length) * scale;
  const auto centre = [&](size_t i) {
    return (static_cast<double>(i) + 0.5) * input_size / static_cast<double>(size);
  };
  while (axis.first < size && centre(axis.first) < low - slack) ++axis.first;
  axis.end = axis.first;
  while (axis.end < size && centre(axis.end) < border - slack) ++axis.end;
  if (axis.first < axis.end) return axis;
  // The image is thinner than a pixel of the map: the one it lies in.
  const double middle = (low + border) / 2 * static_cast<double>(size) / input_size;
  axis.first = static_cast<size_t>(std::clamp(middle, 0.0, static_cast<double>(size - 1)));
  axis.end = axis.first + 1;
  return axis;
}

}  // namespace

double MapAxis::to_image(double place) const {
  const double inside = ((static_cast<double>(first) + place) * step - offset) / scale;
  return std::clamp(inside, static_cast<double>(start), static_cast<double>(start + length));
}

MapAxis MapAxis::stitched(size_t start, size_t length, size_t tile, size_t size) {
  MapAxis axis;
  // In 64 bits, which a board's size_t may not have; what is so large is refused by its size.
  const uint64_t count = (uint64_t{length} * size + tile / 2) / tile;
  axis.end = static_cast<size_t>(std::clamp<uint64_t>(count, 1, 1u << 25));
  axis.step = static_cast<double>(length) / static_cast<double>(axis.end);
  axis.offset = -static_cast<double>(start);
  axis.start = start;
  axis.length = length;
  return axis;
}

size_t MapAxis::place_of(double point) const {
  const double place = std::floor((point * scale + offset) / step + slack);
  return static_cast<size_t>(
      std::clamp(place - static_cast<double>(first), 0.0, static_cast<double>(size() - 1)));
}

MapWindow window_of(const std::vector<int64_t>& shape, const Card& card,
                    const Placement& placement) {
  const auto height = static_cast<size_t>(shape[shape.size() - 2]);
  const auto width = static_cast<size_t>(shape[shape.size() - 1]);
  return {
      axis_of(height, card.height(), placement.top, placement.scale_y, placement.part.y,
              placement.part.height),
      axis_of(width, card.width(), placement.left, placement.scale_x, placement.part.x,
              placement.part.width),
  };
}

Mask make_mask(size_t height, size_t width, const std::function<bool(size_t, size_t)>& has) {
  Runs runs(most_runs);
  for (size_t column = 0; column < width; ++column) {
    for (size_t row = 0; row < height; ++row) runs.add(has(row, column), 1);
  }
  return told(runs.mask(height, width));
}

void Runs::add(bool is_set, size_t count) {
  if (count == 0) return;
  if (is_set != is_set_) {
    end_run();
    is_set_ = is_set;
  }
  length_ += static_cast<uint32_t>(count);
  if (is_set) area_ += count;
}

void Runs::end_run() {
  if (runs_.size() <= most_) runs_.push_back(length_);
  length_ = 0;
}

Mask Runs::mask(size_t height, size_t width) {
  if (length_ > 0) end_run();
  return {height, width, std::move(runs_), false, area_};
}

Mask told(Mask mask) {
  mask.is_ragged = mask.runs.size() > most_runs;
  if (mask.is_ragged) mask.runs.clear();
  return mask;
}

std::string encode(const Mask& mask) {
  // Each run from the fourth on as its difference from the one two before, in groups of 5 bits.
  std::string text;
  for (size_t i = 0; i < mask.runs.size(); ++i) {
    int64_t value = mask.runs[i];
    if (i > 2) value -= mask.runs[i - 2];
    bool more = true;
    while (more) {
      const int64_t bits = value & 31;
      value >>= 5;
      more = value != ((bits & 16) != 0 ? -1 : 0);
      text += static_cast<char>(48 + (bits | (more ? 32 : 0)));
    }
  }
  return text;
}

std::optional<Mask> decode(const std::string& text, size_t height, size_t width) {
  Mask mask;
  mask.height = height;
  mask.width = width;
  if (uint64_t{height} * width > UINT32_MAX) return std::nullopt;
  int64_t value = 0;
  int shift = 0;
  uint64_t pixels = 0;
  for (const char letter : text) {
    const int64_t bits = static_cast<unsigned char>(letter) - 48;
    if (bits < 0 || bits >= 64 || shift > 30) return std::nullopt;
    value |= (bits & 31) << shift;
    shift += 5;
    if ((bits & 32) != 0) continue;
    if ((bits & 16) != 0) value -= int64_t{1} << shift;
    const size_t count = mask.runs.size();
    if (count > 2) value += mask.runs[count - 2];
    if (value < 0 || static_cast<uint64_t>(value) > height * width) return std::nullopt;
    if (count % 2 == 1) mask.area += static_cast<size_t>(value);
    pixels += static_cast<uint64_t>(value);
    mask.runs.push_back(static_cast<uint32_t>(value));
    value = 0;
    shift = 0;
  }
  if (shift != 0 || pixels != height * width) return std::nullopt;
  return mask;
}

size_t intersection(const Mask& one, const Mask& other) {
  size_t common = 0, i = 0, j = 0;
  size_t left_of_one = one.runs.empty() ? 0 : one.runs[0];
  size_t left_of_other = other.runs.empty() ? 0 : other.runs[0];
  while (i < one.runs.size() && j < other.runs.size()) {
    const size_t step = std::min(left_of_one, left_of_other);
    if (i % 2 == 1 && j % 2 == 1) common += step;
    left_of_one -= step;
    left_of_other -= step;
    if (left_of_one == 0 && ++i < one.runs.size()) left_of_one = one.runs[i];
    if (left_of_other == 0 && ++j < other.runs.size()) left_of_other = other.runs[j];
  }
  return common;
}

}  // namespace edge
