#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/result.hpp"
#include "edge/card.hpp"
#include "edge/engine.hpp"

namespace edge {

/// Some values of one output: every `step`-th, the first of them first.
struct Samples {
  size_t step = 1;
  std::vector<double> values;
};

/// One picture and what the network made of it when it was released.
struct GoldenCase {
  std::vector<std::string> files;  // names inside the golden folder: an image, or each tensor
  std::vector<Samples> samples;    // of each output of the card; none in a set of schema 1
  Answer expected;
};

struct GoldenSet {
  std::vector<double> tolerances;  // largest absolute difference of a value of each output
  Agreement agreement;             // of answers
  std::vector<GoldenCase> cases;
};

/// Reads `folder`/expected.json and checks it against the card. All defects are told at once.
Result<GoldenSet> load_golden(const std::string& folder, const Card& card);

/// Names of a case's files, with commas between them, each behind `prefix`: what `infer` takes.
std::string paths_of(const GoldenCase& golden, const std::string& prefix);

/// Nothing if the files of a case are as they were released.
std::optional<Error> check_files(const Inventory& inventory, const std::string& folder,
                                 const GoldenCase& golden);

/// The outputs against the samples, which catches numerics, then the answers as their task compares
/// them.
Comparison compare(const GoldenSet& set, const GoldenCase& golden, const Inferred& result,
                   const Card& card);

/// A golden image that cannot be read is the golden set's fault, not the user's image's.
Error golden_fault(Error error);

/// Infers the first golden image; what is wrong with the answer, or nothing. A network that runs
/// without a release may have no golden set, and then answers for itself.
std::optional<Error> first_golden_fault(Engine& engine);

}  // namespace edge
