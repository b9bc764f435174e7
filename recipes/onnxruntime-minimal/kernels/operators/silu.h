// SiLU, x * sigmoid(x), on a quantized tensor: one table of 256 bytes instead of two operators.
#pragma once

#include <array>

#include "contrib_ops/cpu/quantization/edgewright/fused_nodes.h"
#include "core/framework/op_kernel.h"

namespace onnxruntime {
namespace contrib {

/// The results of a SiLU of unsigned bytes, by its input, from the kernel of its QLinearMul, all of
/// whose scales and zero points are constant.
std::array<uint8_t, 256> SiluTable(const OpKernel& mul);

/// Computes a QLinearMul whose x is input `x` through the table of its 256 results, which the
/// kernels of both operators fill in.
template <typename T>
Status ComputeSilu(OpKernelContext& context, int x);

}  // namespace contrib
}  // namespace onnxruntime
