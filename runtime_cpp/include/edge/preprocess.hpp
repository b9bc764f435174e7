#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "edge/card.hpp"
#include "edge/file.hpp"
#include "edge/geometry.hpp"
#include "edge/image.hpp"
#include "edge/image_statistics.hpp"
#include "edge/resize.hpp"

namespace edge {

/// From the rows of a picture of any size to the network's input.
class InputRows : public Rows {
 public:
  /// `tile`: the part of the upright picture that the input is of; none: the card's region.
  explicit InputRows(const Card& card, std::optional<Region> tile = std::nullopt)
      : card_(card), tile_(tile) {}

  int choose_reduction(const ImageShape& shape) override;
  void begin(const ImageShape& shape) override;
  void row(const uint8_t* pixels) override;

  /// Nothing if the picture reaches as far as the card's region; else there is no input of it.
  std::optional<Error> fault(const std::string& path) const;
  /// Channels × height × width of the card, once all rows have come.
  std::vector<float> input();
  /// Of the picture in that input, without its border.
  const ImageStatistics& statistics() const { return statistics_; }
  Placement placement() const;
  double ms() const { return ms_; }  // spent here, not in the decoder

 private:
  const Card& card_;
  std::optional<Region> tile_;
  ImageShape shape_{};
  int reduction_ = 1;        // of the picture's size
  ImageShape full_shape_{};  // before that
  std::optional<Geometry> geometry_;
  Span across_{};  // of the picture as it is stored
  Span down_{};    // of the picture as it is stored
  std::optional<Resizer> resizer_;
  size_t planes_ = 0;  // that are resized
  bool is_luma_ = false;
  std::vector<uint8_t> luma_;  // of the row at hand
  ImageStatistics statistics_ = not_measured();
  size_t row_ = 0;  // of the picture, that comes next
  double ms_ = 0;
};

/// A picture as it is stored, of one channel where the card's network takes grey.
struct Frame {
  ImageShape shape{};
  std::shared_ptr<uint8_t> pixels = nullptr;  // row by row, the top one first

  /// Width and height of the upright picture.
  std::pair<size_t, size_t> upright_size() const;
};

/// Keeps the rows of a picture that is cut into tiles.
class FrameRows : public Rows {
 public:
  /// Pixels are kept in `memory`, which has room for `most` bytes; null: it is allocated.
  FrameRows(const Card& card, size_t most, std::shared_ptr<uint8_t> memory)
      : card_(card), most_(most), frame_{{}, std::move(memory)} {}

  void begin(const ImageShape& shape) override;
  void row(const uint8_t* pixels) override;

  size_t held() const override { return held_; }

  bool is_too_large() const { return is_too_large_; }
  const Frame& frame() const { return frame_; }

 private:
  const Card& card_;
  size_t most_;
  size_t held_ = 0;  // bytes of pixels
  Frame frame_;
  int stored_channels_ = 0;
  bool is_too_large_ = false;
  uint8_t* next_ = nullptr;  // where the row comes that is next
};

/// What is wrong with a picture that the card's region reaches beyond.
Error beyond_image(const std::string& path, size_t width, size_t height, const Card& card);

/// The network's input for a picture, or for tensors, and the milliseconds that it took.
struct Input {
  std::vector<float> values;  // channels × height × width
  Placement placement = {};   // of the picture in it
  double decode_ms = 0;       // reading the file included
  double preprocess_ms = 0;
  Frame frame = {};  // in place of the values, where the card cuts pictures into tiles
  ImageStatistics statistics = not_measured();  // of the picture; of tiles, of this one
};

/// What gives a picture's rows, or tells why it cannot.
using RowSource = std::function<std::optional<Error>(Rows&)>;

/// Preprocesses a picture whose rows come from `source`; a frame is kept in `memory`, if that is
/// given, of the picture's `limits.memory` bytes.
Result<Input> make_input(const Encoded& picture, const RowSource& source, const Card& card,
                         std::shared_ptr<uint8_t> memory = nullptr);

/// Decodes and preprocesses an image as the card says.
Result<Input> decode_input(Encoded picture, const Card& card,
                           std::shared_ptr<uint8_t> memory = nullptr);

/// Of a file with an image.
FileFaults image_faults(const ImageLimits& limits);

/// Reads, decodes and preprocesses an image file. `path` of a card without image: edge/npy.hpp.
/// A frame is kept in `memory`, if that is given, of `limits.memory` bytes.
Result<Input> load_input(const std::string& path, const Card& card, const ImageLimits& limits,
                         Links links = Links::follow, std::shared_ptr<uint8_t> memory = nullptr);

}  // namespace edge
