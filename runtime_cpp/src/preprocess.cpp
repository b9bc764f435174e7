#include "edge/preprocess.hpp"

#include <algorithm>
#include <cmath>

#include "edge/npy.hpp"
#include "edge/statistics.hpp"

namespace edge {
namespace {

/// ITU-R 601 luma in 16-bit fixed point, rounded to 8 bits as Pillow does it.
float luma_of(const uint8_t* rgb) {
  return static_cast<float>((19595u * rgb[0] + 38470u * rgb[1] + 7471u * rgb[2] + 32768u) >> 16);
}

/// A plane as it was stored, height × width, turned as EXIF's orientation says.
void append_turned(const std::vector<float>& plane, size_t width, int orientation,
                   std::vector<float>& out) {
  const size_t height = plane.size() / width;
  const bool swap = orientation >= 5;
  const bool flip_x = orientation == 2 || orientation == 3 || orientation >= 7;
  const bool flip_y = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  const size_t rows = swap ? width : height;
  const size_t columns = swap ? height : width;
  for (size_t y = 0; y < rows; ++y) {
    for (size_t x = 0; x < columns; ++x) {
      const size_t stored_x = swap ? y : x;
      const size_t stored_y = swap ? x : y;
      out.push_back(plane[(flip_y ? height - 1 - stored_y : stored_y) * width +
                          (flip_x ? width - 1 - stored_x : stored_x)]);
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

std::vector<Resizer::Taps> Resizer::taps(size_t in, size_t out) {
  std::vector<Taps> all(out);
  const double scale = static_cast<double>(in) / static_cast<double>(out);
  const double support = std::max(scale, 1.0);
  for (size_t index = 0; index < out; ++index) {
    const double center = (static_cast<double>(index) + 0.5) * scale;
    const auto first = static_cast<size_t>(std::max(center - support + 0.5, 0.0));
    const auto end = std::min(static_cast<size_t>(center + support + 0.5), in);
    Taps& taps = all[index];
    taps.first = first;
    double sum = 0;
    for (size_t i = first; i < end; ++i) {
      const double distance = std::fabs((static_cast<double>(i) - center + 0.5) / support);
      taps.weights.push_back(std::max(1 - distance, 0.0));
      sum += taps.weights.back();
    }
    for (double& weight : taps.weights) weight /= sum;
  }
  return all;
}

Resizer::Resizer(size_t in_width, size_t in_height, size_t width, size_t height)
    : across_(taps(in_width, width)),
      down_(taps(in_height, height)),
      sums_(height),
      narrow_(width),
      out_(width * height) {}

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
    for (size_t x = 0; x < width; ++x) out_[y * width + x] = static_cast<float>(sums[x]);
    sums = {};
    open_ = y + 1;  // outputs end in order
  }
  ++row_;
}

void InputRows::begin(const ImageShape& shape) {
  shape_ = shape;
  const bool swap = shape.orientation >= 5;
  const auto width = static_cast<size_t>(swap ? card_.height() : card_.width());
  const auto height = static_cast<size_t>(swap ? card_.width() : card_.height());
  for (int channel = 0; channel < card_.channels(); ++channel) {
    resizers_.emplace_back(static_cast<size_t>(shape.width), static_cast<size_t>(shape.height),
                           width, height);
  }
  values_.resize(static_cast<size_t>(shape.width));
}

void InputRows::row(const uint8_t* pixels) {
  const double start = now_ms();
  const auto step = static_cast<size_t>(shape_.channels);
  for (size_t channel = 0; channel < resizers_.size(); ++channel) {
    const uint8_t* pixel = pixels;
    for (float& value : values_) {
      // Grey is left as it is, and stands for each of red, green and blue.
      const bool luma = step == 3 && resizers_.size() == 1;
      value = luma ? luma_of(pixel) : static_cast<float>(pixel[step == 1 ? 0 : channel]);
      pixel += step;
    }
    resizers_[channel].row(values_.data());
  }
  ms_ += now_ms() - start;
}

Placement InputRows::placement() const {
  Placement placement;
  const bool swap = shape_.orientation >= 5;
  placement.width = swap ? shape_.height : shape_.width;
  placement.height = swap ? shape_.width : shape_.height;
  placement.scale_x = static_cast<double>(card_.width()) / placement.width;
  placement.scale_y = static_cast<double>(card_.height()) / placement.height;
  return placement;
}

std::vector<float> InputRows::input() const {
  std::vector<float> input;
  input.reserve(card_.values());
  const auto width = static_cast<size_t>(shape_.orientation >= 5 ? card_.height() : card_.width());
  for (const Resizer& resizer : resizers_) {
    append_turned(resizer.values(), width, shape_.orientation, input);
  }
  if (card_.normalize.per_image) {
    normalize_per_image(input, card_.normalize.epsilon);
  } else {
    normalize_mean_std(input, card_.normalize);
  }
  return input;
}

Result<Input> load_input(const std::string& path, const Card& card, const ImageLimits& limits,
                         Links links) {
  if (card.task == TaskKind::tensor) return load_tensors(path, card, links);
  const double start = now_ms();
  const size_t most = std::min(limits.bytes, limits.memory);
  const auto file = read_file(path, {Exit::image, "image_missing", "image_too_large", most}, links);
  if (!file) return file.error();
  InputRows rows(card);
  const Encoded encoded{path, file->data.get(), file->size, limits, card.significant_bits};
  if (auto error = decode(encoded, rows)) return *error;
  const double decoded = now_ms();
  Input input{rows.input(), rows.placement()};
  input.decode_ms = decoded - start - rows.ms();
  input.preprocess_ms = now_ms() - decoded + rows.ms();
  return input;
}

}  // namespace edge
