#include "contrib_ops/cpu/quantization/edgewright/linear.h"

#include <algorithm>

#include "core/mlas/inc/mlas.h"
#include "core/mlas/lib/edgewright/kernels.h"
#include "core/platform/threadpool.h"

namespace onnxruntime {
namespace contrib {
namespace {

constexpr std::ptrdiff_t kRowsPerTask = 32;

bool IsZero(const Tensor& zero_points) {
  const auto values = zero_points.DataAsSpan<int8_t>();
  return std::all_of(values.begin(), values.end(), [](int8_t value) { return value == 0; });
}

edgewright::Weights View(const Tensor& weights, const TensorShape& shape, bool transposed) {
  const auto rows = static_cast<size_t>(shape[0]);
  const auto columns = static_cast<size_t>(shape[1]);
  const int8_t* data = weights.Data<int8_t>();
  if (transposed) return {data, 1, columns, rows, 0, 1, columns};
  return {data, 1, rows, columns, 0, columns, 1};
}

/// The bias of every column, or zeros; empty if it is of another shape or not constant.
std::vector<int32_t> Bias(const OpKernelInfo& info, int input, size_t columns) {
  const auto& defs = info.node().InputDefs();
  const bool given = static_cast<size_t>(input) < defs.size() && defs[input]->Exists();
  if (!given) return std::vector<int32_t>(columns);
  const Tensor* bias = nullptr;
  if (!info.TryGetConstantInput(input, &bias)) return {};
  const auto values = bias->DataAsSpan<int32_t>();
  if (values.size() != columns) return {};
  return {values.begin(), values.end()};
}

}  // namespace

bool PackedLinear::Pack(const OpKernelInfo& info, const Inputs& inputs, const Tensor& weights,
                        const StoredWeights& stored, bool transposed,
                        const AllocatorPtr& allocator) {
  const Tensor *a_zero_point = nullptr, *b_zero_point = nullptr, *y_zero_point = nullptr;
  if (stored.shape().NumDimensions() != 2 || !weights.IsDataType<int8_t>()) return false;
  if (!info.TryGetConstantInput(inputs.a_zero_point, &a_zero_point) ||
      !info.TryGetConstantInput(inputs.b_zero_point, &b_zero_point) ||
      !info.TryGetConstantInput(inputs.y_zero_point, &y_zero_point)) {
    return false;
  }
  if (!a_zero_point->IsDataType<uint8_t>() || !y_zero_point->IsDataType<uint8_t>()) return false;
  const auto view = View(weights, stored.shape(), transposed);
  bias_ = Bias(info, inputs.bias, view.columns);
  if (bias_.empty() || !IsZero(*b_zero_point)) return false;
  depth_ = view.segment_size;
  columns_ = view.columns;
  if (edgewright::has_lowest(view.data, depth_ * columns_)) return false;
  if (stored.packed()) {
    weights_ = stored.UseOrRepack(depth_, columns_, allocator);
  } else {
    const size_t size = edgewright::packed_weights_size(depth_, columns_);
    weights_ = IAllocator::MakeUniquePtr<void>(allocator, size, true);
    edgewright::pack_weights(view, static_cast<int8_t*>(weights_.get()));
  }
  if (!weights_) return false;
  edgewright::add_column_sums(static_cast<const int8_t*>(weights_.get()), depth_, columns_,
                              128 - *a_zero_point->Data<uint8_t>(), bias_.data());
  return true;
}

void PackedLinear::Compute(const uint8_t* a, size_t rows, const std::vector<float>& scales,
                           uint8_t y_zero_point, uint8_t* y,
                           concurrency::ThreadPool* threads) const {
  const auto row_count = static_cast<std::ptrdiff_t>(rows);
  const auto work = [&](std::ptrdiff_t task) {
    const std::ptrdiff_t begin = task * kRowsPerTask;
    MLAS_CONV_SYM_PARAMS params = {};
    params.InputDirect = a + begin * depth_;
    params.Filter = weights_.get();
    params.Output = y + begin * columns_;
    params.InputChannels = depth_;
    params.OutputChannels = columns_;
    params.OutputCount = static_cast<size_t>(std::min(kRowsPerTask, row_count - begin));
    params.KernelSize = 1;
    params.Bias = bias_.data();
    params.Scale = scales.data();
    params.PerChannelScale = scales.size() > 1;
    params.OutputZeroPoint = y_zero_point;
    MlasConvSym(params);
  };
  const std::ptrdiff_t tasks = (row_count + kRowsPerTask - 1) / kRowsPerTask;
  concurrency::ThreadPool::TrySimpleParallelFor(threads, tasks, work);
}

}  // namespace contrib
}  // namespace onnxruntime
