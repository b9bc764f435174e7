#include <algorithm>
#include <cmath>

#include "common/text.hpp"
#include "edge/task.hpp"
#include "edge/tiles.hpp"

namespace edge {
namespace {

void check_output(Fields top, const Card& card) {
  const TensorCard& output = card.outputs[0];
  const auto& shape = output.shape;
  const bool fits = output.role == "classes"
                        ? is_plane(shape)
                        : shape.size() == 4 && shape[0] == 1 && count_values(shape) > 0 &&
                              shape[1] == static_cast<int64_t>(card.labels.size());
  if (!fits) top.reject("outputs", output.name + " has not the shape of " + output.role);
}

void check_threshold(Fields top, const Card& card) {
  const TensorCard& output = card.outputs[0];
  const bool has_threshold = card.segment.threshold.has_value();
  const bool is_sigmoid = output.activation == Activation::sigmoid;
  const bool is_softmax = output.activation == Activation::softmax;
  if (output.role == "classes") {
    if (has_threshold || is_sigmoid || is_softmax) {
      top.reject("segment", "classes have no activation and no threshold");
    }
  } else if (is_softmax && has_threshold) {
    top.reject("segment", "softmax has no threshold");
  } else if (!has_threshold && (is_sigmoid || card.labels.size() < 2)) {
    top.reject("segment", "sigmoid, or one label, needs a threshold");
  }
}

std::optional<size_t> index_of(const Card& card, const std::string& label) {
  const auto place = std::find(card.labels.begin(), card.labels.end(), label);
  if (place == card.labels.end()) return std::nullopt;
  return static_cast<size_t>(place - card.labels.begin());
}

/// Which labels the pixels of a map have.
class LabelMap {
 public:
  LabelMap(const Card& card, size_t height, size_t width) : height_(height), width_(width) {
    // With a threshold a pixel may have several.
    if (card.segment.threshold) {
      planes_.assign(card.labels.size(), std::vector<bool>(height * width));
    } else {
      labels_.assign(height * width, -1);
    }
  }

  size_t height() const { return height_; }
  size_t width() const { return width_; }

  bool has(size_t label, size_t row, size_t column) const {
    const size_t place = row * width_ + column;
    return planes_.empty() ? labels_[place] == static_cast<int32_t>(label) : planes_[label][place];
  }

  /// Takes the labels of a pixel of an output: `place` is its index in a plane.
  void set(size_t row, size_t column, const Card& card, const Tensor& tensor, size_t place) {
    const size_t plane = static_cast<size_t>(tensor.shape.back()) *
                         static_cast<size_t>(tensor.shape[tensor.shape.size() - 2]);
    const float* values = tensor.values.data() + place;
    const size_t pixel = row * width_ + column;
    if (planes_.empty()) {
      labels_[pixel] = label_of(card, values, plane);
      return;
    }
    const double threshold = *card.segment.threshold;
    const bool is_sigmoid = card.outputs[0].activation == Activation::sigmoid;
    const double border = is_sigmoid ? std::log(threshold / (1 - threshold)) : threshold;
    for (size_t label = 0; label < planes_.size(); ++label) {
      planes_[label][pixel] = static_cast<double>(values[label * plane]) >= border;
    }
  }

 private:
  /// The label that the network gives to a pixel; none: -1.
  static int32_t label_of(const Card& card, const float* values, size_t plane) {
    if (card.outputs[0].role == "classes") {
      const bool is_label = *values >= 0 && *values < static_cast<float>(card.labels.size()) &&
                            *values == std::floor(*values);
      return is_label ? static_cast<int32_t>(*values) : -1;
    }
    size_t label = 0;
    for (size_t other = 1; other < card.labels.size(); ++other) {
      if (values[other * plane] > values[label * plane]) label = other;
    }
    return static_cast<int32_t>(label);
  }

  size_t height_;
  size_t width_;
  std::vector<int32_t> labels_;            // of each pixel, row by row; -1: none
  std::vector<std::vector<bool>> planes_;  // of each label, instead
};

/// Pixels of an image's part of a map: the first and the last with a label in each direction.
struct Extent {
  size_t first_row = SIZE_MAX, last_row = 0;
  size_t first_column = SIZE_MAX, last_column = 0;

  void add(size_t row, size_t column) {
    first_row = std::min(first_row, row);
    last_row = std::max(last_row, row);
    first_column = std::min(first_column, column);
    last_column = std::max(last_column, column);
  }
};

/// Empty if the label does not occur.
Mask mask_of(const SegmentAnswer& answer, size_t label) {
  for (const Segment& segment : answer.segments) {
    if (segment.label == label) return segment.mask;
  }
  const size_t pixels = answer.height * answer.width;
  return {answer.height, answer.width, {static_cast<uint32_t>(pixels)}, false, 0};
}

SegmentAnswer summarise(const Card& card, const LabelMap& labels, const MapWindow& window) {
  SegmentAnswer answer;
  answer.height = labels.height();
  answer.width = labels.width();
  answer.region = region_told(card, window);
  for (size_t label = 0; label < card.labels.size(); ++label) {
    if (label == card.segment.background) continue;
    Extent extent;
    const auto has_label = [&](size_t row, size_t column) {
      const bool has = labels.has(label, row, column);
      if (has) extent.add(row, column);
      return has;
    };
    Mask mask = make_mask(answer.height, answer.width, has_label);
    if (mask.area == 0) continue;
    answer.segments.push_back(
        {label, window.columns.to_image(static_cast<double>(extent.first_column)),
         window.rows.to_image(static_cast<double>(extent.first_row)),
         window.columns.to_image(static_cast<double>(extent.last_column + 1)),
         window.rows.to_image(static_cast<double>(extent.last_row + 1)), std::move(mask)});
  }
  return answer;
}

/// Where tiles overlap, each decides on the half that is nearer to it.
class SegmentMerger : public TileMerger {
 public:
  SegmentMerger(const Card& card, const TilePlan& plan) : card_(card), plan_(plan) {}

  std::optional<Error> add(const std::vector<Tensor>& outputs,
                           const Placement& placement) override {
    const Tensor& tensor = outputs[0];
    const MapWindow window = window_of(tensor.shape, card_, placement);
    if (!stitching_) {
      stitching_.emplace(plan_, window);
      if (auto error = stitching_->fault()) return error;
      labels_.emplace(card_, stitching_->window().rows.size(), stitching_->window().columns.size());
    }
    const auto map_width = static_cast<size_t>(tensor.shape.back());
    const MapWindow& whole = stitching_->window();
    const auto [rows, columns] = stitching_->owned(tile_++);
    for (size_t row = rows.first; row < rows.end; ++row) {
      const size_t place = window.rows.place_of(whole.rows.centre(row));
      for (size_t column = columns.first; column < columns.end; ++column) {
        const size_t across = window.columns.place_of(whole.columns.centre(column));
        labels_->set(row, column, card_, tensor, window.at(place, across, map_width));
      }
    }
    return std::nullopt;
  }

  Answer answer() override { return summarise(card_, *labels_, stitching_->window()); }

 private:
  const Card& card_;
  const TilePlan& plan_;
  std::optional<Stitching> stitching_;
  std::optional<LabelMap> labels_;
  size_t tile_ = 0;
};

}  // namespace

void read_segment_card(Fields top, Card& card) {
  check_roles(top, card, {"logits", "classes"});
  if (card.outputs.size() > 1) top.reject("outputs", "expected one");
  if (top.has("segment")) {
    Fields settings = top.object("segment");
    if (settings.has("threshold")) {
      card.segment.threshold = settings.number("threshold");
      const bool fits = *card.segment.threshold > 0 && *card.segment.threshold < 1;
      if (!fits) settings.reject("threshold", "expected more than 0 and less than 1");
    }
    if (settings.has("background")) {
      card.segment.background = index_of(card, settings.text("background"));
      if (!card.segment.background) settings.reject("background", "is no label");
    }
  }
  if (card.outputs.empty()) return;
  check_output(top, card);
  check_threshold(top, card);
}

SegmentAnswer segment(const Card& card, const std::vector<Tensor>& outputs,
                      const Placement& placement) {
  const Tensor& tensor = outputs[0];
  const MapWindow window = window_of(tensor.shape, card, placement);
  const auto map_width = static_cast<size_t>(tensor.shape.back());
  LabelMap labels(card, window.rows.size(), window.columns.size());
  for (size_t row = 0; row < labels.height(); ++row) {
    for (size_t column = 0; column < labels.width(); ++column) {
      labels.set(row, column, card, tensor, window.at(row, column, map_width));
    }
  }
  return summarise(card, labels, window);
}

std::unique_ptr<TileMerger> merge_segments(const Card& card, const TilePlan& plan) {
  return std::make_unique<SegmentMerger>(card, plan);
}

SegmentAnswer read_segments(Fields fields, const Card& card) {
  constexpr uint64_t max_side = 1u << 26;
  SegmentAnswer answer;
  answer.width = static_cast<size_t>(fields.whole("width", 1, max_side));
  answer.height = static_cast<size_t>(fields.whole("height", 1, max_side));
  for (Fields& entry : fields.objects("segments")) {
    const auto label = index_of(card, entry.text("class"));
    const auto mask = decode(entry.text("mask"), answer.height, answer.width);
    if (!label) entry.reject("class", "is no label of the card");
    if (!mask) entry.reject("mask", "is no mask of the answer's size");
    const auto box = entry.numbers("box");
    if (box.size() != 4) {
      entry.reject("box", "expected x, y, width and height");
    } else if (label && mask) {
      answer.segments.push_back({*label, box[0], box[1], box[0] + box[2], box[1] + box[3], *mask});
    }
  }
  return answer;
}

void set(Json entry, const SegmentAnswer& answer, const Card& card) {
  entry.set("width", static_cast<uint64_t>(answer.width));
  entry.set("height", static_cast<uint64_t>(answer.height));
  if (answer.region) entry.set("region", numbers_of(*answer.region));
  Json list = entry.list("segments");
  const auto pixels = static_cast<double>(answer.width * answer.height);
  for (const Segment& segment : answer.segments) {
    Json object = list.append();
    object.set("class", card.labels[segment.label]);
    object.set("area", round_millionths(static_cast<double>(segment.mask.area) / pixels));
    object.set("box", round_probabilities({segment.left, segment.top, segment.right - segment.left,
                                           segment.bottom - segment.top}));
    if (segment.mask.is_ragged) {
      object.set_null("mask");
    } else {
      object.set("mask", encode(segment.mask));
    }
  }
}

Comparison compare(const SegmentAnswer& expected, const SegmentAnswer& answer, const Card& card,
                   const Agreement& agreement) {
  Comparison comparison;
  if (expected.width != answer.width || expected.height != answer.height) {
    comparison.problems.push_back(format("masks of %zu x %zu pixels, expected %zu x %zu",
                                         answer.width, answer.height, expected.width,
                                         expected.height));
    return comparison;
  }
  for (size_t label = 0; label < card.labels.size(); ++label) {
    const std::string problem =
        mask_problem(mask_of(expected, label), mask_of(answer, label), agreement);
    if (!problem.empty()) comparison.problems.push_back(card.labels[label] + ": " + problem);
  }
  return comparison;
}

}  // namespace edge
