#include "edge/golden.hpp"

#include <unistd.h>

#include <algorithm>

#include "common/text.hpp"
#include "edge/fields.hpp"
#include "edge/statistics.hpp"

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

Error golden_fault(Error error) {
  if (error.exit != Exit::image) return error;
  error.exit = Exit::card;
  error.code = "golden_invalid";
  error.next = "copy the golden set again";
  return error;
}

std::optional<Error> first_golden_fault(Engine& engine) {
  const std::string& folder = engine.settings.golden;
  const bool is_absent = access((folder + "/expected.json").c_str(), F_OK) != 0;
  if (engine.settings.release.empty() && is_absent) return std::nullopt;
  const Inventory& inventory = engine.settings.inventory;
  if (auto error = inventory.check(folder + "/expected.json")) return error;
  const auto golden = load_golden(folder, engine.card);
  if (!golden) return golden.error();
  const GoldenCase& first = golden->cases.front();
  const std::string image = folder + "/" + first.image;
  if (auto error = inventory.check(image)) return error;
  const auto answer = classify(engine, image);
  if (!answer) return golden_fault(answer.error());
  const double difference = max_abs_diff(first.probabilities, answer->probabilities);
  const std::string& label = engine.card.labels[answer->index];
  if (label == first.label && difference <= golden->tolerance) return std::nullopt;
  return Error{Exit::selftest, "selftest_failed", engine.settings.model,
               format("golden image %s: expected %s, found %s, probabilities differ by %.4f",
                      first.image.c_str(), first.label.c_str(), label.c_str(), difference),
               "edge-infer selftest tells of all golden images; do not use this release"};
}

}  // namespace edge
