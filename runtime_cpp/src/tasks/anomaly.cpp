#include <algorithm>
#include <cmath>
#include <limits>

#include "common/text.hpp"
#include "edge/statistics.hpp"
#include "edge/task.hpp"
#include "edge/tiles.hpp"

namespace edge {
namespace {

double activate(double value, Activation activation) {
  return activation == Activation::sigmoid ? 1 / (1 + std::exp(-value)) : value;
}

/// 0 to 1, with the threshold at 0.5, if the card has a normalization.
double normalized(double score, const AnomalySettings& settings) {
  if (settings.span == 0) return score;
  return std::clamp((score - settings.threshold) / settings.span + 0.5, 0.0, 1.0);
}

double read_span(Fields normalization) {
  const double span = normalization.number("max") - normalization.number("min");
  if (span > 0) return span;
  normalization.reject("min", "is not below max");
  return 1;
}

/// The largest value of the part of a map that shows the image, the first of equals.
struct Peak {
  float value;  // before the activation
  double x;     // in pixels of the image
  double y;
};

Peak find_peak(const Tensor& tensor, const MapWindow& window) {
  const auto width = static_cast<size_t>(tensor.shape.back());
  float largest = tensor.values[window.at(0, 0, width)];
  size_t peak_row = 0, peak_column = 0;
  for (size_t row = 0; row < window.rows.size(); ++row) {
    for (size_t column = 0; column < window.columns.size(); ++column) {
      const float value = tensor.values[window.at(row, column, width)];
      if (value <= largest) continue;
      largest = value;
      peak_row = row;
      peak_column = column;
    }
  }
  return {largest, window.columns.to_image(static_cast<double>(peak_column) + 0.5),
          window.rows.to_image(static_cast<double>(peak_row) + 0.5)};
}

/// The part of the answer that is of a map with `height` x `width` values.
template <class ValueAt>
void set_map(const Card& card, Activation activation, size_t height, size_t width,
             const ValueAt& value_at, const Peak& peak, AnomalyAnswer& answer) {
  answer.has_map = true;
  answer.peak_x = peak.x;
  answer.peak_y = peak.y;
  answer.mask = make_mask(height, width, [&](size_t row, size_t column) {
    return activate(static_cast<double>(value_at(row, column)), activation) >=
           card.anomaly.map_threshold;
  });
  answer.area = static_cast<double>(answer.mask.area) / static_cast<double>(height * width);
}

void set_score(const Card& card, double score, AnomalyAnswer& answer) {
  answer.is_anomalous = score >= card.anomaly.threshold;
  answer.score = normalized(score, card.anomaly);
}

/// Of the network, or the map's largest value.
double score_of(const Card& card, const std::vector<Tensor>& outputs,
                const std::optional<double>& highest) {
  const auto place = output_of(card, "score");
  return place ? activate(outputs[*place].values[0], card.outputs[*place].activation) : *highest;
}

/// The largest score, and of each place the largest value of the tiles that show it.
class AnomalyMerger : public TileMerger {
 public:
  AnomalyMerger(const Card& card, const TilePlan& plan)
      : card_(card), plan_(plan), map_(output_of(card, "map")) {}

  std::optional<Error> add(const std::vector<Tensor>& outputs,
                           const Placement& placement) override {
    std::optional<double> highest;
    if (map_) {
      const Tensor& tensor = outputs[*map_];
      const MapWindow window = window_of(tensor.shape, card_, placement);
      if (!stitching_) {
        stitching_.emplace(plan_, window);
        if (auto error = stitching_->fault()) return error;
        values_.assign(stitching_->size(), -std::numeric_limits<float>::infinity());
      }
      stitch(tensor, window);
      const Peak peak = find_peak(tensor, window);
      highest = activate(peak.value, card_.outputs[*map_].activation);
      if (*highest > highest_) {
        highest_ = *highest;
        peak_ = peak;
      }
    }
    score_ = std::max(score_, score_of(card_, outputs, highest));
    ++tile_;
    return std::nullopt;
  }

  Answer answer() override {
    AnomalyAnswer answer;
    if (map_) {
      const size_t height = stitching_->window().rows.size();
      const size_t width = stitching_->window().columns.size();
      const auto value_at = [&](size_t row, size_t column) {
        return values_[row * width + column];
      };
      set_map(card_, card_.outputs[*map_].activation, height, width, value_at, peak_, answer);
      answer.region = region_told(card_, stitching_->window());
    }
    set_score(card_, score_, answer);
    return answer;
  }

 private:
  void stitch(const Tensor& tensor, const MapWindow& window) {
    const auto map_width = static_cast<size_t>(tensor.shape.back());
    const MapWindow& whole = stitching_->window();
    const auto [rows, columns] = stitching_->covered(tile_);
    for (size_t row = rows.first; row < rows.end; ++row) {
      const size_t place = window.rows.place_of(whole.rows.centre(row));
      for (size_t column = columns.first; column < columns.end; ++column) {
        const size_t across = window.columns.place_of(whole.columns.centre(column));
        float& value = values_[row * whole.columns.size() + column];
        value = std::max(value, tensor.values[window.at(place, across, map_width)]);
      }
    }
  }

  const Card& card_;
  const TilePlan& plan_;
  std::optional<size_t> map_;  // place of that output
  std::optional<Stitching> stitching_;
  std::vector<float> values_;  // of the stitched map, before the activation
  Peak peak_{};
  double highest_ = -std::numeric_limits<double>::infinity();
  double score_ = -std::numeric_limits<double>::infinity();
  size_t tile_ = 0;
};

/// Only the area is compared; the rest is for whoever reads what was expected.
void read_map(Fields map, AnomalyAnswer& answer) {
  constexpr uint64_t max_side = 1u << 26;
  answer.area = map.number("area");
  const auto peak = map.numbers("peak");
  if (peak.size() == 2) {
    answer.peak_x = peak[0];
    answer.peak_y = peak[1];
  } else {
    map.reject("peak", "expected x and y");
  }
  const auto width = static_cast<size_t>(map.whole("width", 1, max_side));
  const auto height = static_cast<size_t>(map.whole("height", 1, max_side));
  std::optional<Mask> mask = Mask{height, width, {}, true, 0};
  if (map.has("mask")) mask = decode(map.text("mask"), height, width);
  if (mask) {
    answer.mask = *mask;
  } else {
    map.reject("mask", "is no mask of the map's size");
  }
}

}  // namespace

void read_anomaly_card(Fields top, Card& card) {
  if (card.labels.size() != 2) top.reject("labels", "expected two: normal, anomalous");
  check_roles(top, card, {"score", "map"});
  for (const TensorCard& output : card.outputs) {
    const bool fits = output.role == "map" ? is_plane(output.shape) : is_value(output.shape);
    if (!fits) top.reject("outputs", output.name + " has not the shape of a " + output.role);
    if (output.activation == Activation::softmax) {
      top.reject("outputs", output.name + " has softmax, expected none or sigmoid");
    }
  }
  Fields settings = top.object("anomaly");
  card.anomaly.threshold = settings.number("threshold");
  card.anomaly.map_threshold =
      settings.has("map_threshold") ? settings.number("map_threshold") : card.anomaly.threshold;
  if (settings.has("normalization")) {
    card.anomaly.span = read_span(settings.object("normalization"));
  }
}

AnomalyAnswer find_anomaly(const Card& card, const std::vector<Tensor>& outputs,
                           const Placement& placement) {
  AnomalyAnswer answer;
  std::optional<double> highest;
  if (const auto map = output_of(card, "map")) {
    const Tensor& tensor = outputs[*map];
    const Activation activation = card.outputs[*map].activation;
    const MapWindow window = window_of(tensor.shape, card, placement);
    const auto width = static_cast<size_t>(tensor.shape.back());
    const Peak peak = find_peak(tensor, window);
    const auto value_at = [&](size_t row, size_t column) {
      return tensor.values[window.at(row, column, width)];
    };
    set_map(card, activation, window.rows.size(), window.columns.size(), value_at, peak, answer);
    answer.region = region_told(card, window);
    highest = activate(peak.value, activation);
  }
  set_score(card, score_of(card, outputs, highest), answer);
  return answer;
}

std::unique_ptr<TileMerger> merge_anomalies(const Card& card, const TilePlan& plan) {
  return std::make_unique<AnomalyMerger>(card, plan);
}

AnomalyAnswer read_anomaly(Fields fields, const Card& card) {
  AnomalyAnswer answer;
  const std::string label = fields.text("class");
  answer.is_anomalous = label == card.labels[1];
  if (!answer.is_anomalous && label != card.labels[0]) {
    fields.reject("class", "is no label of the card: " + label);
  }
  answer.score = fields.number("score");
  answer.has_map = output_of(card, "map").has_value();
  if (answer.has_map) read_map(fields.object("map"), answer);
  return answer;
}

void set(Json entry, const AnomalyAnswer& answer, const Card& card) {
  entry.set("class", card.labels[answer.is_anomalous ? 1 : 0]);
  entry.set("score", round_millionths(answer.score));
  if (!answer.has_map) return entry.set_null("map");
  Json map = entry.object("map");
  map.set("width", static_cast<uint64_t>(answer.mask.width));
  map.set("height", static_cast<uint64_t>(answer.mask.height));
  if (answer.region) map.set("region", numbers_of(*answer.region));
  map.set("peak", round_probabilities({answer.peak_x, answer.peak_y}));
  map.set("area", round_millionths(answer.area));
  if (answer.mask.is_ragged) return map.set_null("mask");
  map.set("mask", encode(answer.mask));
}

Comparison compare(const AnomalyAnswer& expected, const AnomalyAnswer& answer, const Card& card,
                   const Agreement& agreement) {
  const double border = normalized(card.anomaly.threshold, card.anomaly);
  // Scores without a normalization are of any size: 0.05 of 40 is nothing.
  const double unit = std::max(1.0, std::fabs(border));
  Comparison comparison;
  comparison.difference = std::fabs(expected.score - answer.score) / unit;
  if (comparison.difference > agreement.tolerance) {
    comparison.problems.push_back(
        format("score %.4f, expected %.4f", answer.score, expected.score));
  }
  const bool is_near = std::fabs(expected.score - border) <= agreement.tolerance * unit;
  if (answer.is_anomalous != expected.is_anomalous && !is_near) {
    comparison.problems.push_back("expected " + card.labels[expected.is_anomalous ? 1 : 0] +
                                  ", found " + card.labels[answer.is_anomalous ? 1 : 0]);
  }
  const double areas = std::fabs(expected.area - answer.area);
  comparison.difference = std::max(comparison.difference, areas);
  if (areas > agreement.tolerance) {
    comparison.problems.push_back(format("anomalous areas differ by %.4f", areas));
  }
  return comparison;
}

}  // namespace edge
