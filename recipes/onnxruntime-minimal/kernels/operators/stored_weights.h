// Weights that lie packed in a model's file, as `edgewright build` stores them (docs/formats.md).
#pragma once

#include "core/framework/op_kernel.h"

namespace onnxruntime {
namespace contrib {

/// A constant matrix of an operator, and the shape that it has in the graph. Packed, its tensor has
/// another one: the columns of a tile, and how often as many weights follow.
class StoredWeights {
 public:
  StoredWeights(const OpKernelInfo& info, int input, const Tensor& tensor);

  bool packed() const { return packed_; }
  const TensorShape& shape() const { return shape_; }

  /// A packed matrix of `depth` x `columns` for this CPU's tile: where it lies, or, packed for
  /// another tile, anew. Null if it cannot be one. The tensor has to live as long.
  IAllocatorUniquePtr<void> Take(size_t depth, size_t columns, const AllocatorPtr& allocator) const;

 private:
  const Tensor& tensor_;
  TensorShape shape_;
  bool packed_;
};

}  // namespace contrib
}  // namespace onnxruntime
