#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "edge/card.hpp"
#include "edge/geometry.hpp"

namespace edge {

/// ITU-R 601 luma of a row of RGB pixels, in 16-bit fixed point, rounded to 8 bits as Pillow does.
void luma_row(const uint8_t* rgb, size_t count, uint8_t* luma);

/// Separable filter. It is fed row by row, and holds no more rows than one of its outputs needs,
/// and of the resized picture the part that is kept alone. Weights are whole numbers, so that sums
/// are exact in any order: each value is rounded once, at the end, on every processor alike.
class Resizer {
 public:
  Resizer(const Span& across, const Span& down, Filter filter, size_t channels);

  /// The pixels of `across` alone, of 1 or 3 channels, the top row first.
  void row(const uint8_t* pixels);
  /// A plane of down.count × across.count for each channel, once all rows have come.
  const std::vector<float>& values() const { return out_; }

 private:
  /// The weights of one output, for the inputs from `first` on; they add up to 2^bits of its axis.
  struct Taps {
    size_t first = 0;
    std::vector<int16_t> weights;
  };
  struct Axis {
    int bits = 0;
    std::vector<Taps> taps;  // one for each output
  };
  static Axis axis_of(const Span& span, Filter filter);
  void lay_out(const Axis& across);
  const uint8_t* padded(const uint8_t* pixels);
  void finish(size_t y, const std::vector<int64_t>& sums);

  size_t channels_;
  size_t length_;  // pixels of a row
  size_t width_;   // columns of the output
  Filter filter_;
  Axis down_;
  double unit_;  // of a sum of both passes: 2^-(bits of both)
  // Across all columns have as many weights, in one piece, so that vectors can be read.
  size_t taps_ = 0;
  std::vector<size_t> firsts_;
  std::vector<int16_t> weights_;
  std::vector<uint8_t> padded_;             // a row that is shorter than the weights of a column
  std::vector<int32_t> narrow_;             // the row at hand, filtered across, plane by plane
  std::vector<std::vector<int64_t>> sums_;  // of each row of the output that is under way
  std::vector<float> out_;
  size_t row_ = 0;   // of the input, that comes next
  size_t open_ = 0;  // row of the output, the first that lacks some of its inputs
};

}  // namespace edge
