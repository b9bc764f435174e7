// SiLU, x * sigmoid(x), on a quantized tensor: one table of 256 bytes instead of two operators.
#pragma once

#include "core/framework/op_kernel.h"

namespace onnxruntime {
namespace contrib {

/// Which of a QLinearMul's two tensors (input 0 or 3) is x, where the other is QLinearSigmoid(x)
/// with the same quantization; -1 if it is no SiLU.
int SiluInput(const Node& mul);

/// True if nothing reads a QLinearSigmoid's output but QLinearMuls that `SiluInput` knows.
bool OnlyFeedsSilu(const Node& sigmoid);

/// Computes a QLinearMul whose x is input `x` through the table of its 256 results, which the
/// kernels of both operators fill in.
template <typename T>
Status ComputeSilu(OpKernelContext& context, int x);

}  // namespace contrib
}  // namespace onnxruntime
