#include "edge/observation.hpp"

#include <algorithm>
#include <cmath>

namespace edge {
namespace {

enum Place : size_t { score = 5, classes, boxes, covered };

/// 0 to 1, with the threshold at 0.5, of scores that have no normalization too.
double bounded(double value, const AnomalySettings& settings) {
  if (settings.span != 0) return value;
  const double above = (value - settings.threshold) / std::max(std::fabs(settings.threshold), 1e-9);
  return 0.5 + 0.5 * above / (1 + std::fabs(above));
}

double best_of(const DetectAnswer& answer) {
  return answer.detections.empty() ? 0 : answer.detections.front().score;
}

double covered_by(const SegmentAnswer& answer) {
  double pixels = 0;
  for (const Segment& segment : answer.segments) pixels += static_cast<double>(segment.mask.area);
  return pixels / static_cast<double>(answer.height * answer.width);
}

double margin_of(const ClassAnswer& answer, const Card& card) {
  const std::vector<double>& shares = answer.probabilities;
  if (card.decision) {
    const double threshold = card.decision->threshold;
    return std::fabs(shares[card.decision->label] - threshold) / std::max(threshold, 1 - threshold);
  }
  double second = 0;
  for (size_t i = 0; i < shares.size(); ++i) {
    if (i != answer.index) second = std::max(second, shares[i]);
  }
  return shares[answer.index] - second;
}

}  // namespace

Observation observe(const Inferred& inferred, const Card& card) {
  Observation values;
  values.fill(std::nan(""));
  const ImageStatistics& image = inferred.input.statistics;
  std::copy(image.begin(), image.end(), values.begin());
  if (const auto* answer = std::get_if<ClassAnswer>(&inferred.answer)) {
    values[score] = answer->probabilities[answer->index];
    values[classes] = static_cast<double>(answer->index);
  } else if (const auto* anomaly = std::get_if<AnomalyAnswer>(&inferred.answer)) {
    values[score] = bounded(anomaly->score, card.anomaly);
  } else if (const auto* things = std::get_if<DetectAnswer>(&inferred.answer)) {
    values[score] = best_of(*things);
    values[boxes] = static_cast<double>(things->detections.size());
  } else if (const auto* segments = std::get_if<SegmentAnswer>(&inferred.answer)) {
    values[covered] = covered_by(*segments);
  }
  return values;
}

double margin_of(const Answer& answer, const Card& card) {
  if (const auto* classes = std::get_if<ClassAnswer>(&answer)) return margin_of(*classes, card);
  if (const auto* anomaly = std::get_if<AnomalyAnswer>(&answer)) {
    return 2 * std::fabs(bounded(anomaly->score, card.anomaly) - 0.5);
  }
  double margin = 1;
  if (const auto* things = std::get_if<DetectAnswer>(&answer)) {
    const double threshold = card.detect.score_threshold;
    for (const Detection& thing : things->detections) {
      margin = std::min(margin, (thing.score - threshold) / std::max(1 - threshold, 1e-9));
    }
  }
  return margin;
}

}  // namespace edge
