#include "edge/preprocess.hpp"

#include <algorithm>
#include <cmath>

#include "common/text.hpp"
#include "edge/npy.hpp"
#include "edge/statistics.hpp"

namespace edge {
namespace {

/// ITU-R 601 luma in 16-bit fixed point, rounded to 8 bits as Pillow does it.
float luma_of(const uint8_t* rgb) {
  return static_cast<float>((19595u * rgb[0] + 38470u * rgb[1] + 7471u * rgb[2] + 32768u) >> 16);
}

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
  return span;
}

/// Writes what was kept of a plane, as it is stored, into the input's plane, turned upright.
void paste(const std::vector<float>& kept, const Turn& turn, const Geometry& geometry, size_t width,
           float* plane) {
  const size_t columns = turn.swap ? geometry.y.count : geometry.x.count;  // stored
  const size_t rows = turn.swap ? geometry.x.count : geometry.y.count;
  for (size_t y = 0; y < geometry.y.count; ++y) {
    float* out = plane + (geometry.y.before + y) * width + geometry.x.before;
    for (size_t x = 0; x < geometry.x.count; ++x) {
      const size_t stored_x = turn.swap ? y : x;
      const size_t stored_y = turn.swap ? x : y;
      out[x] = kept[(turn.flip_y ? rows - 1 - stored_y : stored_y) * columns +
                    (turn.flip_x ? columns - 1 - stored_x : stored_x)];
    }
  }
}

double triangle(double distance) {
  return std::max(1 - distance, 0.0);
}

/// Keys' curve with a = -0.5.
double bicubic(double distance) {
  if (distance < 1) return (1.5 * distance - 2.5) * distance * distance + 1;
  if (distance < 2) return ((-0.5 * distance + 2.5) * distance - 4) * distance + 2;
  return 0;
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

/// As Pillow's `Image.resize` has it; `curve` ends at `reach`.
Resizer::Taps Resizer::antialiased(const Span& span, size_t index, double reach,
                                   double (*curve)(double)) {
  const double ratio = static_cast<double>(span.length) / static_cast<double>(span.resized);
  const double stretch = std::max(ratio, 1.0);
  const double center = (static_cast<double>(index) + 0.5) * ratio;
  Taps taps;
  taps.first = static_cast<size_t>(std::max(center - reach * stretch + 0.5, 0.0));
  const auto end = std::min(static_cast<size_t>(center + reach * stretch + 0.5), span.length);
  double sum = 0;
  for (size_t i = taps.first; i < end; ++i) {
    taps.weights.push_back(curve(std::fabs((static_cast<double>(i) - center + 0.5) / stretch)));
    sum += taps.weights.back();
  }
  for (double& weight : taps.weights) weight /= sum;
  return taps;
}

/// As OpenCV's INTER_LINEAR: the two neighbours of the place, however far the next ones are.
Resizer::Taps Resizer::bilinear(const Span& span, size_t index) {
  const double ratio = static_cast<double>(span.length) / static_cast<double>(span.resized);
  const double at = std::max((static_cast<double>(index) + 0.5) * ratio - 0.5, 0.0);
  const auto first = static_cast<size_t>(at);
  if (first + 1 >= span.length) return {span.length - 1, {1}};
  const double share = at - static_cast<double>(first);
  return {first, {1 - share, share}};
}

std::vector<Resizer::Taps> Resizer::taps(const Span& span, Filter filter) {
  std::vector<Taps> all;
  for (size_t index = span.first; index < span.first + span.count; ++index) {
    if (filter == Filter::bilinear) {
      all.push_back(bilinear(span, index));
    } else {
      const bool is_triangle = filter == Filter::triangle;
      all.push_back(
          antialiased(span, index, is_triangle ? 1 : 2, is_triangle ? triangle : bicubic));
    }
  }
  return all;
}

Resizer::Resizer(const Span& across, const Span& down, Filter filter)
    : filter_(filter),
      across_(taps(across, filter)),
      down_(taps(down, filter)),
      sums_(down.count),
      narrow_(across.count),
      out_(across.count * down.count) {}

float Resizer::pixel(double sum) const {
  // The bicubic curve overshoots at edges. Cut last: the order of the passes, which is another for
  // a turned picture, must not matter.
  if (filter_ == Filter::bicubic) sum = std::min(std::max(sum, 0.0), 255.0);
  return static_cast<float>(sum);
}

void Resizer::row(const float* values) {
  const size_t width = narrow_.size();
  for (size_t x = 0; x < width; ++x) {
    double sum = 0;
    const float* input = values + across_[x].first;
    for (const double weight : across_[x].weights) sum += static_cast<double>(*input++) * weight;
    narrow_[x] = static_cast<float>(sum);
  }
  for (size_t y = open_; y < down_.size() && down_[y].first <= row_; ++y) {
    std::vector<double>& sums = sums_[y];
    sums.resize(width);
    const double weight = down_[y].weights[row_ - down_[y].first];
    for (size_t x = 0; x < width; ++x) sums[x] += static_cast<double>(narrow_[x]) * weight;
    if (row_ + 1 < down_[y].first + down_[y].weights.size()) continue;
    for (size_t x = 0; x < width; ++x) out_[y * width + x] = pixel(sums[x]);
    sums = {};
    open_ = y + 1;  // outputs end in order
  }
  ++row_;
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
  for (int channel = 0; channel < card_.channels(); ++channel) {
    resizers_.emplace_back(across_, down_, card_.preprocess.filter);
  }
  values_.resize(across_.length);
}

void InputRows::row(const uint8_t* pixels) {
  const size_t y = row_++;
  if (!geometry_ || y < down_.start || y >= down_.start + down_.length) return;
  const double start = now_ms();
  const auto step = static_cast<size_t>(shape_.channels);
  const bool is_luma = step == 3 && card_.preprocess.color == Color::gray;
  for (size_t channel = 0; channel < resizers_.size(); ++channel) {
    const size_t stored = card_.preprocess.color == Color::bgr ? 2 - channel : channel;
    const uint8_t* pixel = pixels + across_.start * step;
    for (float& value : values_) {
      // Grey is left as it is, and stands for each of red, green and blue.
      value = is_luma ? luma_of(pixel) : static_cast<float>(pixel[step == 1 ? 0 : stored]);
      pixel += step;
    }
    resizers_[channel].row(values_.data());
  }
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
  const size_t plane = input.size() / resizers_.size();
  for (size_t channel = 0; channel < resizers_.size(); ++channel) {
    paste(resizers_[channel].values(), Turn(shape_.orientation), *geometry_, width,
          input.data() + channel * plane);
  }
  const Span &x = geometry_->x, &y = geometry_->y;
  statistics_ = measure({input.data() + y.before * width + x.before, resizers_.size(), plane, width,
                         y.count, x.count});
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
  if (card_.preprocess.color == Color::gray) frame_.shape.channels = 1;
  const size_t bytes = static_cast<size_t>(shape.width) * static_cast<size_t>(shape.height) *
                       static_cast<size_t>(frame_.shape.channels);
  is_too_large_ = bytes > most_;
  if (is_too_large_) return;
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
  for (size_t x = 0; x < width; ++x) *next_++ = static_cast<uint8_t>(luma_of(pixels + 3 * x));
}

Result<Input> make_input(const Encoded& picture, const RowSource& source, const Card& card,
                         std::shared_ptr<uint8_t> memory) {
  const double start = now_ms();
  if (card.tiling) {
    FrameRows rows(card, picture.limits.memory - picture.size, std::move(memory));
    if (auto error = source(rows)) return *error;
    if (rows.is_too_large()) return frame_too_large(picture);
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

Result<Input> decode_input(const Encoded& picture, const Card& card,
                           std::shared_ptr<uint8_t> memory) {
  const auto decoder = [&](Rows& rows) { return decode(picture, rows); };
  return make_input(picture, decoder, card, std::move(memory));
}

FileFaults image_faults(const ImageLimits& limits) {
  return {Exit::image, "image_missing", "image_too_large", std::min(limits.bytes, limits.memory)};
}

Result<Input> load_input(const std::string& path, const Card& card, const ImageLimits& limits,
                         Links links, std::shared_ptr<uint8_t> memory) {
  if (card.task == TaskKind::tensor) return load_tensors(path, card, links);
  const double start = now_ms();
  const auto file = read_file(path, image_faults(limits), links);
  if (!file) return file.error();
  const double read = now_ms() - start;
  auto input =
      decode_input({path, file->data.get(), file->size, limits, card.preprocess.significant_bits},
                   card, std::move(memory));
  if (input) input->decode_ms += read;
  return input;
}

}  // namespace edge
