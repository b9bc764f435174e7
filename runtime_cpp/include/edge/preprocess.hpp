#pragma once

#include <string>
#include <vector>

#include "edge/card.hpp"
#include "edge/file.hpp"
#include "edge/geometry.hpp"
#include "edge/image.hpp"

namespace edge {

/// Separable filter. It is fed row by row, and holds no more rows than one of its outputs needs,
/// and of the resized picture the part that is kept alone.
class Resizer {
 public:
  Resizer(const Span& across, const Span& down, Filter filter);

  void row(const float* values);  // across.length, the top row first
  /// down.count × across.count, once all rows have come.
  const std::vector<float>& values() const { return out_; }

 private:
  /// The inputs that make up one output of the filter.
  struct Taps {
    size_t first = 0;             // index of the first input
    std::vector<double> weights;  // one for each input, sum 1
  };
  static std::vector<Taps> taps(const Span& span, Filter filter);
  static Taps antialiased(const Span& span, size_t index, double reach, double (*curve)(double));
  static Taps bilinear(const Span& span, size_t index);
  float pixel(double sum) const;

  Filter filter_;
  std::vector<Taps> across_;               // one for each column of the output
  std::vector<Taps> down_;                 // one for each row of the output
  std::vector<std::vector<double>> sums_;  // of each row of the output that is under way
  std::vector<float> narrow_;              // the row at hand, filtered across
  std::vector<float> out_;
  size_t row_ = 0;   // of the input, that comes next
  size_t open_ = 0;  // row of the output, the first that lacks some of its inputs
};

/// From the rows of a picture of any size to the network's input.
class InputRows : public Rows {
 public:
  explicit InputRows(const Card& card) : card_(card) {}

  void begin(const ImageShape& shape) override;
  void row(const uint8_t* pixels) override;

  /// Nothing if the picture reaches as far as the card's region; else there is no input of it.
  std::optional<Error> fault(const std::string& path) const;
  /// Channels × height × width of the card, once all rows have come.
  std::vector<float> input() const;
  Placement placement() const { return geometry_->placement(); }
  double ms() const { return ms_; }  // spent here, not in the decoder

 private:
  const Card& card_;
  ImageShape shape_{};
  std::optional<Geometry> geometry_;
  Span across_{};                  // of the picture as it is stored
  Span down_{};                    // of the picture as it is stored
  std::vector<Resizer> resizers_;  // one for each channel of the card
  std::vector<float> values_;      // the row at hand, one channel of it
  size_t row_ = 0;                 // of the picture, that comes next
  double ms_ = 0;
};

/// The network's input for a picture, or for tensors, and the milliseconds that it took.
struct Input {
  std::vector<float> values;  // channels × height × width
  Placement placement = {};   // of the picture in it
  double decode_ms = 0;       // reading the file included
  double preprocess_ms = 0;
};

/// Reads, decodes and preprocesses an image file. `path` of a card without image: edge/npy.hpp.
Result<Input> load_input(const std::string& path, const Card& card, const ImageLimits& limits,
                         Links links = Links::follow);

}  // namespace edge
