#include <algorithm>
#include <cmath>

#include "common/text.hpp"
#include "edge/statistics.hpp"
#include "edge/task.hpp"

namespace edge {
namespace {

size_t decided(std::vector<double> shares, const std::optional<Decision>& decision) {
  if (decision) {
    if (shares[decision->label] >= decision->threshold) return decision->label;
    shares[decision->label] = -1;  // the likeliest of the others
  }
  return argmax(shares);
}

}  // namespace

ClassAnswer classify(const Card& card, const std::vector<Tensor>& outputs) {
  ClassAnswer answer;
  const TensorCard& output = card.outputs[0];
  answer.probabilities = probabilities(outputs[0].values, output.activation, output.temperature);
  answer.index = decided(answer.probabilities, card.decision);
  return answer;
}

ClassAnswer read_class(Fields fields, const Card& card) {
  ClassAnswer answer;
  const std::string label = fields.text("class");
  answer.probabilities = fields.numbers("probabilities");
  const auto place = std::find(card.labels.begin(), card.labels.end(), label);
  answer.index = static_cast<size_t>(place - card.labels.begin());
  if (place == card.labels.end()) {
    fields.reject("class", "is no label of the card: " + label);
    answer.index = 0;
  }
  if (answer.probabilities.size() != card.labels.size()) {
    fields.reject("probabilities", format("expected %zu, one for each label", card.labels.size()));
  }
  return answer;
}

void set(Json entry, const ClassAnswer& answer, const Card& card) {
  entry.set("class", card.labels[answer.index]);
  entry.set("index", static_cast<int64_t>(answer.index));
  entry.set("probabilities", round_probabilities(answer.probabilities));
  if (!card.decision) return;
  Json decision = entry.object("decision");
  decision.set("label", card.labels[card.decision->label]);
  decision.set("index", static_cast<int64_t>(card.decision->label));
  decision.set("threshold", card.decision->threshold);
}

Comparison compare(const ClassAnswer& expected, const ClassAnswer& answer, const Card& card,
                   const Agreement& agreement) {
  Comparison comparison;
  comparison.difference = max_abs_diff(expected.probabilities, answer.probabilities);
  const std::string& label = card.labels[answer.index];
  // So near to the threshold either label is right.
  const bool is_near = card.decision && std::fabs(expected.probabilities[card.decision->label] -
                                                  card.decision->threshold) <= agreement.tolerance;
  if (answer.index != expected.index && !is_near) {
    comparison.problems.push_back("expected " + card.labels[expected.index] + ", found " + label);
  }
  if (comparison.difference > agreement.tolerance) {
    comparison.problems.push_back(format("probabilities differ by %.4f", comparison.difference));
  }
  return comparison;
}

}  // namespace edge
