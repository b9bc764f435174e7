#pragma once

#include <cstdint>
#include <vector>

namespace edge {

/// An output of a network, of a shape that has no open size.
struct Tensor {
  std::vector<int64_t> shape;
  std::vector<float> values;
};

}  // namespace edge
