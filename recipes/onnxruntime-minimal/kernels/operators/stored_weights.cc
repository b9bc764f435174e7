#include "contrib_ops/cpu/quantization/edgewright/stored_weights.h"

#include "core/framework/tensorprotoutils.h"
#include "core/mlas/lib/edgewright/kernels.h"

namespace onnxruntime {
namespace contrib {

StoredWeights::StoredWeights(const OpKernelInfo& info, int input, const Tensor& tensor)
    : tensor_(tensor), shape_(tensor.Shape()), packed_(false) {
  const auto* shape = info.node().InputDefs()[input]->Shape();
  if (shape == nullptr || shape_.NumDimensions() != 2 || !tensor.IsDataType<int8_t>()) return;
  TensorShape in_graph = utils::GetTensorShapeFromTensorShapeProto(*shape);
  packed_ = in_graph != shape_ && in_graph.Size() == shape_.Size();
  if (packed_) shape_ = std::move(in_graph);
}

IAllocatorUniquePtr<void> StoredWeights::Take(size_t depth, size_t columns,
                                              [[maybe_unused]] const AllocatorPtr& allocator) const {
  using edgewright::StoredFor;
  const int8_t* stored = tensor_.Data<int8_t>();
  const auto tile_columns = static_cast<size_t>(tensor_.Shape()[0]);
  const StoredFor kind = edgewright::stored_for(depth, columns, tile_columns);
  if (kind == StoredFor::own_tile) return {const_cast<int8_t*>(stored), [](void*) {}};
#if defined(__aarch64__)
  if (kind == StoredFor::other_tile) {
    auto packed = IAllocator::MakeUniquePtr<void>(
        allocator, edgewright::packed_weights_size(depth, columns), true);
    edgewright::repack_weights(stored, depth, columns, static_cast<int8_t*>(packed.get()));
    return packed;
  }
#endif
  return nullptr;
}

}  // namespace contrib
}  // namespace onnxruntime
