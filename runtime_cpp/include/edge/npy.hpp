#pragma once

#include <string>
#include <vector>

#include "common/result.hpp"
#include "edge/file.hpp"
#include "edge/preprocess.hpp"
#include "edge/tensor.hpp"

namespace edge {

/// The files of a card's inputs: paths of NumPy's `.npy` files, one for each input in the card's
/// order, with commas between them. Each holds float32, little endian, C order, of the card's
/// shape.
Result<Input> load_tensors(const std::string& paths, const Card& card, Links links);

/// Writes a tensor as `.npy`; false with errno set if that is not possible.
bool write_npy(const std::string& path, const Tensor& tensor);

}  // namespace edge
