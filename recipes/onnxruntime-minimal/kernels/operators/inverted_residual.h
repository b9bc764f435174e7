// An inverted residual (`FusedNodes`), computed in bands of rows.
#pragma once

#include <vector>

#include "core/framework/op_kernel.h"
#include "core/providers/cpu/nn/conv_attributes.h"

namespace onnxruntime {
namespace contrib {

/// A QLinearConv whose weights are packed.
struct PackedConvolution {
  const ConvAttributes* attributes;
  TensorShape shape;  // of the weights: [columns, channels of a group, height, width]
  const int8_t* weights;
  const std::vector<int32_t>* bias;
  std::vector<float> scales;
  uint8_t input_zero_point, output_zero_point;
};

/// `context` is that of `project`, with the input of `expand`; activations are the kernels of
/// SiLUs, or null.
Status ComputeInvertedResidual(OpKernelContext& context, const PackedConvolution& expand,
                               const OpKernel* expand_activation,
                               const PackedConvolution& depthwise,
                               const OpKernel* depthwise_activation,
                               const PackedConvolution& project);

}  // namespace contrib
}  // namespace onnxruntime
