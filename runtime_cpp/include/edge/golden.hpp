#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/result.hpp"
#include "edge/card.hpp"
#include "edge/engine.hpp"

namespace edge {

/// One picture and what the network made of it when it was released.
struct GoldenCase {
  std::string image;                  // file name inside the golden folder
  std::string label;                  // the expected class
  std::vector<double> probabilities;  // one for each label
};

struct GoldenSet {
  double tolerance = 0;  // largest absolute difference allowed in any probability
  std::vector<GoldenCase> cases;
};

/// Reads `folder`/expected.json and checks it against the card. All defects are told at once.
Result<GoldenSet> load_golden(const std::string& folder, const Card& card);

/// A golden image that cannot be read is the golden set's fault, not the user's image's.
Error golden_fault(Error error);

/// Infers the first golden image; what is wrong with the answer, or nothing. A network that runs
/// without a release may have no golden set, and then answers for itself.
std::optional<Error> first_golden_fault(Engine& engine);

}  // namespace edge
