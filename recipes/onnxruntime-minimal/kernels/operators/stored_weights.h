// Weights that lie packed in a model's file, as `edgewright build` stores them (docs/formats.md).
#pragma once

#include "core/framework/op_kernel.h"

namespace onnxruntime {
namespace contrib {

/// The session's configuration entry with the number of the order in which weights of its model lie
/// packed (`layout_number`), 0 where none do. Whoever loads the model sets it.
constexpr const char* kWeightsLayout = "edgewright.weights_layout";

/// A constant matrix of an operator, and the shape that it has in the graph. Packed, its tensor has
/// one dimension: all of the weights, and the 64 bytes behind them that the kernels read.
class StoredWeights {
 public:
  StoredWeights(const OpKernelInfo& info, int input, const Tensor& tensor);

  bool packed() const { return layout_ != 0; }
  const TensorShape& shape() const { return shape_; }

  /// An error if they are packed: no kernel but ours reads them.
  Status RequirePlain() const;

  /// A packed matrix of `depth` x `columns` for this CPU's tile: where it lies, or, packed for
  /// another tile, anew. Null if it cannot be one. The tensor has to live as long.
  IAllocatorUniquePtr<void> UseOrRepack(size_t depth, size_t columns,
                                        const AllocatorPtr& allocator) const;

 private:
  const Tensor& tensor_;
  TensorShape shape_;
  uint32_t layout_;  // 0: not packed
};

}  // namespace contrib
}  // namespace onnxruntime
