#include "edge/preprocess.hpp"

#include <algorithm>
#include <cmath>

#include "common/text.hpp"
#include "edge/npy.hpp"
#include "edge/statistics.hpp"

namespace edge {
namespace {

/// How a stored picture is turned upright: along its own axes first, then mirrored at the diagonal.
struct Turn {
  bool flip_x;
  bool flip_y;
  bool swap;

  explicit Turn(int orientation)
      : flip_x(orientation == 2 || orientation == 3 || orientation >= 7),
        flip_y(orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7),
        swap(orientation >= 5) {}
};

/// A span of the upright picture's axis, counted from the other end of it.
Span flipped(Span span, size_t side) {
  span.start = side - span.start - span.length;
  span.first = span.resized - span.first - span.count;
  span.is_mirrored = true;
  return span;
}

/// Writes the resized part of a plane, as it is stored, into the input's plane, turned upright.
void paste(const float* resized, const Turn& turn, const Geometry& geometry, size_t width,
           float* plane) {
  const size_t columns = turn.swap ? geometry.y.count : geometry.x.count;  // stored
  const size_t rows = turn.swap ? geometry.x.count : geometry.y.count;
  for (size_t y = 0; y < geometry.y.count; ++y) {
    float* out = plane + (geometry.y.before + y) * width + geometry.x.before;
    if (!turn.swap && !turn.flip_x && !turn.flip_y) {
      std::copy_n(resized + y * columns, columns, out);
      continue;
    }
    for (size_t x = 0; x < geometry.x.count; ++x) {
      const size_t stored_x = turn.swap ? y : x;
      const size_t stored_y = turn.swap ? x : y;
      out[x] = resized[(turn.flip_y ? rows - 1 - stored_y : stored_y) * columns +
                       (turn.flip_x ? columns - 1 - stored_x : stored_x)];
    }
  }
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

int InputRows::choose_reduction(const ImageShape& shape) {
  full_shape_ = shape;
  const auto [width, height] = Frame{shape}.upright_size();
  return reduction_ = reduction_of(height, width, card_);
}

Placement InputRows::placement() const {
  Placement placement = geometry_->placement();
  if (reduction_ == 1) return placement;
  const auto [width, height] = Frame{full_shape_}.upright_size();
  placement.width = static_cast<int>(width);
  placement.height = static_cast<int>(height);
  placement.scale_x /= reduction_;
  placement.scale_y /= reduction_;
  placement.part = {0, 0, width, height};
  // Sides were rounded up at the stored picture's end, which comes first where it is mirrored.
  const auto margin = [&](size_t reduced, size_t full) {
    return static_cast<double>(reduced * static_cast<size_t>(reduction_) - full);
  };
  const bool swap = Turn(shape_.orientation).swap;
  if ((swap ? down_ : across_).is_mirrored)
    placement.left += margin(geometry_->width, width) * placement.scale_x;
  if ((swap ? across_ : down_).is_mirrored)
    placement.top += margin(geometry_->height, height) * placement.scale_y;
  return placement;
}

void InputRows::begin(const ImageShape& shape) {
  shape_ = shape;
  const Turn turn(shape.orientation);
  const auto width = static_cast<size_t>(shape.width);
  const auto height = static_cast<size_t>(shape.height);
  const size_t upright_width = turn.swap ? height : width;
  const size_t upright_height = turn.swap ? width : height;
  const auto region = tile_ ? tile_ : region_of(upright_height, upright_width, card_);
  if (!region) return;
  geometry_ = geometry_of(upright_height, upright_width, *region, card_);
  across_ = turn.swap ? geometry_->y : geometry_->x;
  down_ = turn.swap ? geometry_->x : geometry_->y;
  if (turn.flip_x) across_ = flipped(across_, width);
  if (turn.flip_y) down_ = flipped(down_, height);
  is_luma_ = shape.channels == 3 && card_.takes_gray();
  planes_ = is_luma_ ? 1 : static_cast<size_t>(shape.channels);
  resizer_.emplace(across_, down_, card_.preprocess.filter, planes_);
  if (is_luma_) luma_.resize(across_.length);
}

void InputRows::row(const uint8_t* pixels) {
  const size_t y = row_++;
  if (!geometry_ || y < down_.start || y >= down_.start + down_.length) return;
  const double start = now_ms();
  pixels += across_.start * static_cast<size_t>(shape_.channels);
  if (is_luma_) luma_row(pixels, luma_.size(), luma_.data());
  resizer_->row(is_luma_ ? luma_.data() : pixels);
  ms_ += now_ms() - start;
}

std::optional<Error> InputRows::fault(const std::string& path) const {
  if (geometry_) return std::nullopt;
  const auto [width, height] = Frame{shape_}.upright_size();
  return beyond_image(path, width, height, card_);
}

Error beyond_image(const std::string& path, size_t width, size_t height, const Card& card) {
  const Region region = card.preprocess.roi->of(width, height);
  return Error{Exit::image, "image_too_small", path,
               format("is %zu x %zu pixels, the card's region reaches to %zu x %zu", width, height,
                      region.x + region.width, region.y + region.height),
               "take an image of the camera that the card is for"};
}

std::vector<float> InputRows::input() {
  std::vector<float> input(card_.values(), card_.preprocess.fit.pad_value);
  const auto width = static_cast<size_t>(card_.width());
  const auto channels = static_cast<size_t>(card_.channels());
  const size_t plane = input.size() / channels;
  const Span &x = geometry_->x, &y = geometry_->y;
  for (size_t channel = 0; channel < channels; ++channel) {
    // Grey stands for each of red, green and blue.
    const size_t stored = card_.preprocess.color == Color::bgr ? 2 - channel : channel;
    const float* resized =
        resizer_->values().data() + (planes_ == 1 ? 0 : stored) * x.count * y.count;
    paste(resized, Turn(shape_.orientation), *geometry_, width, input.data() + channel * plane);
  }
  statistics_ = measure(
      {input.data() + y.before * width + x.before, channels, plane, width, y.count, x.count});
  const Normalize& normalize = card_.preprocess.normalize;
  if (normalize.per_image) {
    normalize_per_image(input, normalize.epsilon);
  } else {
    normalize_mean_std(input, normalize);
  }
  return input;
}

std::pair<size_t, size_t> Frame::upright_size() const {
  const auto width = static_cast<size_t>(shape.width);
  const auto height = static_cast<size_t>(shape.height);
  return Turn(shape.orientation).swap ? std::pair{height, width} : std::pair{width, height};
}

void FrameRows::begin(const ImageShape& shape) {
  stored_channels_ = shape.channels;
  frame_.shape = shape;
  if (card_.takes_gray()) frame_.shape.channels = 1;
  const size_t bytes = static_cast<size_t>(shape.width) * static_cast<size_t>(shape.height) *
                       static_cast<size_t>(frame_.shape.channels);
  is_too_large_ = bytes > most_;
  if (is_too_large_) return;
  held_ = bytes;
  if (frame_.pixels == nullptr) {
    frame_.pixels = std::shared_ptr<uint8_t>(new uint8_t[bytes], std::default_delete<uint8_t[]>());
  }
  next_ = frame_.pixels.get();
}

void FrameRows::row(const uint8_t* pixels) {
  if (is_too_large_) return;
  const auto width = static_cast<size_t>(frame_.shape.width);
  if (frame_.shape.channels == stored_channels_) {
    next_ = std::copy_n(pixels, width * static_cast<size_t>(stored_channels_), next_);
    return;
  }
  luma_row(pixels, width, next_);
  next_ += width;
}

Result<Input> make_input(const Encoded& picture, const RowSource& source, const Card& card,
                         std::shared_ptr<uint8_t> memory) {
  const double start = now_ms();
  if (card.tiling) {
    FrameRows rows(card, memory_left(picture), std::move(memory));
    if (auto error = source(rows)) return *error;
    if (rows.is_too_large()) return too_much_memory(picture, "is cut into tiles");
    Input input{};
    input.frame = rows.frame();
    input.decode_ms = now_ms() - start;
    return input;
  }
  InputRows rows(card);
  if (auto error = source(rows)) return *error;
  if (auto error = rows.fault(picture.name)) return *error;
  const double decoded = now_ms();
  Input input{rows.input(), rows.placement()};
  input.decode_ms = decoded - start - rows.ms();
  input.preprocess_ms = now_ms() - decoded + rows.ms();
  input.statistics = rows.statistics();
  return input;
}

Result<Input> decode_input(Encoded picture, const Card& card, std::shared_ptr<uint8_t> memory) {
  picture.significant_bits = card.preprocess.significant_bits;
  picture.is_for_gray = card.takes_gray();
  const auto decoder = [&](Rows& rows) { return decode(picture, rows); };
  return make_input(picture, decoder, card, std::move(memory));
}

FileFaults image_faults(const ImageLimits& limits) {
  return {Exit::image, "image_missing", "image_too_large", std::min(limits.bytes, limits.memory)};
}

Result<Input> load_input(const std::string& path, const Card& card, const ImageLimits& limits,
                         Links links, std::shared_ptr<uint8_t> memory) {
  if (card.task == TaskKind::tensor) return load_tensors(path, card, links);
  const auto file = open_file(path, image_faults(limits), links);
  if (!file) return file.error();
  Encoded picture{path, nullptr, file->size, limits};
  picture.file = file->descriptor.get();
  return decode_input(picture, card, std::move(memory));
}

}  // namespace edge
