#include "contrib_ops/cpu/quantization/edgewright/stored_weights.h"

#include <cstdlib>

#include "core/framework/tensorprotoutils.h"
#include "core/mlas/lib/edgewright/kernels.h"

namespace onnxruntime {
namespace contrib {

StoredWeights::StoredWeights(const OpKernelInfo& info, int input, const Tensor& tensor)
    : tensor_(tensor), shape_(tensor.Shape()), layout_(0) {
  const auto* shape = info.node().InputDefs()[input]->Shape();
  if (shape == nullptr || shape_.NumDimensions() != 1 || !tensor.IsDataType<int8_t>()) return;
  TensorShape in_graph = utils::GetTensorShapeFromTensorShapeProto(*shape);
  // What is read behind the weights is the tensor's own, wherever ONNX Runtime keeps it.
  constexpr auto kReadBeyond = static_cast<int64_t>(edgewright::kReadBeyond);
  if (in_graph.Size() <= 0 || in_graph.Size() + kReadBeyond != shape_.Size()) return;
  const std::string layout = info.GetConfigOptions().GetConfigOrDefault(kWeightsLayout, "0");
  layout_ = static_cast<uint32_t>(std::strtoul(layout.c_str(), nullptr, 10));
  if (packed()) shape_ = std::move(in_graph);
}

Status StoredWeights::RequirePlain() const {
  ORT_RETURN_IF(packed(), "its weights are packed for another kernel");
  return Status::OK();
}

IAllocatorUniquePtr<void> StoredWeights::UseOrRepack(
    size_t depth, size_t columns, [[maybe_unused]] const AllocatorPtr& allocator) const {
  using edgewright::StoredFor;
  const int8_t* stored = tensor_.Data<int8_t>();
  const StoredFor kind = edgewright::stored_for(layout_, depth, columns);
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
