#include "edge/golden.hpp"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/text.hpp"
#include "edge/fields.hpp"
#include "edge/statistics.hpp"

namespace edge {
namespace {

std::vector<Samples> read_samples(Fields fields, const Card& card) {
  std::vector<Samples> all;
  for (Fields& output : fields.objects("samples")) {
    Samples samples;
    samples.step = static_cast<size_t>(output.whole("step", 1, 1u << 26));
    samples.values = output.numbers("values");
    all.push_back(std::move(samples));
  }
  if (all.size() != card.outputs.size()) {
    fields.reject("samples", format("expected %zu, one for each output", card.outputs.size()));
  }
  return all;
}

/// Of a classifier the answer is all of the output, and stands in the case itself.
GoldenCase read_case(Fields fields, const Card& card, int schema) {
  GoldenCase golden;
  if (card.task == TaskKind::tensor) {
    golden.files = fields.texts("tensors");
  } else {
    golden.files = {fields.text("image")};
  }
  if (schema >= 2) golden.samples = read_samples(fields, card);
  golden.expected = read_answer(schema >= 2 ? fields.object("expected") : fields, card);
  return golden;
}

double read_share(Fields fields, const char* key) {
  const double value = fields.number(key);
  if (!(value >= 0 && value < 1)) fields.reject(key, "expected 0 up to 1");
  return value;
}

GoldenSet read_golden(Fields top, const Card& card) {
  GoldenSet set;
  const int schema = top.expect_schema(2);
  if (schema < 2 && card.task != TaskKind::classify) {
    top.reject("schema", "expected 2 for this card's task");
  }
  set.agreement.tolerance = read_share(top, "tolerance");
  if (schema >= 2) {
    set.agreement.overlap = read_share(top, "overlap");
    set.tolerances = top.numbers("output_tolerances");
    if (set.tolerances.size() != card.outputs.size()) {
      top.reject("output_tolerances", "expected one for each output");
    }
  }
  for (const Fields& fields : top.objects("cases")) {
    set.cases.push_back(read_case(fields, card, schema));
  }
  // A self-test of nothing would pass.
  if (set.cases.empty()) top.reject("cases", "expected at least one");
  return set;
}

/// The largest difference from the samples; infinite where there are not as many values.
double sampled_difference(const Samples& samples, const std::vector<float>& values) {
  double largest = 0;
  const size_t count = (values.size() + samples.step - 1) / samples.step;
  if (count != samples.values.size()) return std::numeric_limits<double>::infinity();
  for (size_t i = 0; i < count; ++i) {
    const double difference = static_cast<double>(values[i * samples.step]) - samples.values[i];
    largest = std::max(largest, std::fabs(difference));
  }
  return largest;
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

std::string paths_of(const GoldenCase& golden, const std::string& prefix) {
  std::string paths;
  for (const std::string& name : golden.files) paths += (paths.empty() ? "" : ",") + prefix + name;
  return paths;
}

std::optional<Error> check_files(const Inventory& inventory, const std::string& folder,
                                 const GoldenCase& golden) {
  for (const std::string& name : golden.files) {
    if (auto error = inventory.check(folder + "/" + name)) return error;
  }
  return std::nullopt;
}

Comparison compare(const GoldenSet& set, const GoldenCase& golden, const Inferred& result,
                   const Card& card) {
  Comparison comparison = compare_answers(golden.expected, result.answer, card, set.agreement);
  for (size_t i = 0; i < golden.samples.size(); ++i) {
    // What has an open size may have another number of values: its task compares it.
    const std::vector<int64_t>& shape = card.outputs[i].shape;
    if (std::find(shape.begin(), shape.end(), -1) != shape.end()) continue;
    const double difference = sampled_difference(golden.samples[i], result.outputs[i].values);
    if (difference <= set.tolerances[i]) continue;
    comparison.problems.push_back(format("output %s differs by %.4g, %.4g is allowed",
                                         card.outputs[i].name.c_str(), difference,
                                         set.tolerances[i]));
  }
  return comparison;
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
  if (auto error = check_files(inventory, folder, first)) return error;
  const auto result = infer(engine, paths_of(first, folder + "/"));
  if (!result) return golden_fault(result.error());
  const Comparison comparison = compare(*golden, first, *result, engine.card);
  if (comparison.problems.empty()) return std::nullopt;
  std::string problem = "golden image " + paths_of(first, "") + ": ";
  for (const std::string& words : comparison.problems) problem += words + ", ";
  problem.resize(problem.size() - 2);
  return Error{Exit::selftest, "selftest_failed", engine.settings.model, problem,
               "edge-infer selftest tells of all golden images; do not use this release"};
}

}  // namespace edge
