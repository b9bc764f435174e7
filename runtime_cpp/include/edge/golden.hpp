#pragma once

#include <string>
#include <vector>

#include "common/result.hpp"
#include "edge/card.hpp"

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

}  // namespace edge
