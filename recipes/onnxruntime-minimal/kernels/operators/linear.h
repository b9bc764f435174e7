// QGemm with constant weights: MLAS's symmetric convolution, seen as a product of matrices.
#pragma once

#include <vector>

#include "contrib_ops/cpu/quantization/edgewright/stored_weights.h"
#include "core/framework/op_kernel.h"

namespace onnxruntime {
namespace contrib {

/// What a QGemm has once its weights are packed.
class PackedLinear {
 public:
  /// The inputs of a QGemm by number, in the operator's own order.
  struct Inputs {
    int a_zero_point, b, b_zero_point, bias, y_zero_point;
  };

  /// Packs the weights if it can: unsigned activations, signed symmetric weights without -128,
  /// bytes as output, all zero points and the bias constant. `transposed`: [columns, depth].
  /// Those that are stored packed are taken as they are.
  bool Pack(const OpKernelInfo& info, const Inputs& inputs, const Tensor& weights,
            const StoredWeights& stored, bool transposed, const AllocatorPtr& allocator);

  bool packed() const { return weights_ != nullptr; }

  /// y [rows, columns] from a [rows, depth]; one scale, or one for each column.
  void Compute(const uint8_t* a, size_t rows, const std::vector<float>& scales,
               uint8_t y_zero_point, uint8_t* y, concurrency::ThreadPool* threads) const;

 private:
  size_t depth_ = 0, columns_ = 0;
  IAllocatorUniquePtr<void> weights_;
  std::vector<int32_t> bias_;  // with what the zero point of a adds to each column
};

}  // namespace contrib
}  // namespace onnxruntime
