#include "edge/golden.hpp"

#include <algorithm>

#include "common/text.hpp"
#include "edge/fields.hpp"

namespace edge {
namespace {

GoldenCase read_case(Fields fields, const Card& card) {
  GoldenCase golden;
  golden.image = fields.text("image");
  golden.label = fields.text("class");
  golden.probabilities = fields.numbers("probabilities");
  const auto& labels = card.labels;
  if (std::find(labels.begin(), labels.end(), golden.label) == labels.end()) {
    fields.reject("class", "is no label of the card: " + golden.label);
  }
  if (golden.probabilities.size() != labels.size()) {
    fields.reject("probabilities", format("expected %zu, one for each label", labels.size()));
  }
  return golden;
}

GoldenSet read_golden(Fields top, const Card& card) {
  GoldenSet set;
  top.expect_schema();
  set.tolerance = top.number("tolerance");
  if (!(set.tolerance >= 0 && set.tolerance < 1)) top.reject("tolerance", "expected 0 up to 1");
  for (const Fields& fields : top.objects("cases")) set.cases.push_back(read_case(fields, card));
  // A self-test of nothing would pass.
  if (set.cases.empty()) top.reject("cases", "expected at least one");
  return set;
}

}  // namespace

Result<GoldenSet> load_golden(const std::string& folder, const Card& card) {
  const std::string path = folder + "/expected.json";
  const auto document = read_json(path, "golden_missing", "golden_invalid");
  if (!document) return document.error();
  std::vector<std::string> problems;
  GoldenSet set = read_golden(Fields(yyjson_doc_get_root(document->get()), "", problems), card);
  if (problems.empty()) return set;
  return defects(path, "golden_invalid", problems, "use the golden set made with the model");
}

}  // namespace edge
