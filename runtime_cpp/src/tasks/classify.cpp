#include <algorithm>

#include "common/text.hpp"
#include "edge/statistics.hpp"
#include "edge/task.hpp"

namespace edge {

ClassAnswer classify(const Card& card, const std::vector<Tensor>& outputs) {
  ClassAnswer answer;
  answer.probabilities = probabilities(outputs[0].values, card.outputs[0].activation);
  answer.index = argmax(answer.probabilities);
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
}

Comparison compare(const ClassAnswer& expected, const ClassAnswer& answer, const Card& card,
                   const Agreement& agreement) {
  Comparison comparison;
  comparison.difference = max_abs_diff(expected.probabilities, answer.probabilities);
  const std::string& label = card.labels[answer.index];
  if (answer.index != expected.index) {
    comparison.problems.push_back("expected " + card.labels[expected.index] + ", found " + label);
  }
  if (comparison.difference > agreement.tolerance) {
    comparison.problems.push_back(format("probabilities differ by %.4f", comparison.difference));
  }
  return comparison;
}

}  // namespace edge
