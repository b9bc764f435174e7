#include "contrib_ops/cpu/quantization/edgewright/silu.h"

#include <functional>

#include "contrib_ops/cpu/quantization/qlinear_lookup_table.h"
#include "core/mlas/inc/mlas.h"
#include "core/platform/threadpool.h"

namespace onnxruntime {
namespace contrib {
namespace {

constexpr int kA = 0, kB = 3, kC = 5;  // a QLinearMul's tensor, scale, zero point: A, B; C lacks one

/// The tensors of a QLinearMul by their place.
using Inputs = std::function<const Tensor*(int)>;

float Scale(const Inputs& inputs, int tensor) { return *inputs(tensor + 1)->Data<float>(); }

template <typename T>
T ZeroPoint(const Inputs& inputs, int tensor) {
  const Tensor* zero_point = inputs(tensor + 2);
  return zero_point == nullptr ? T{} : *zero_point->Data<T>();
}

/// The results by the byte of x.
template <typename T>
std::array<T, 256> Table(const Inputs& inputs, int x) {
  const int s = x == kA ? kB : kA;
  std::array<T, 256> bytes, sigmoids, products;
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<T>(i);
  const LookupTableArrayTransformer logistic = [](const float* input, float* output, size_t n) {
    MlasComputeLogistic(input, output, n);
  };
  QlinearBuildLookupTable<T>(reinterpret_cast<uint8_t*>(sigmoids.data()),
                             inputs(x + 1), inputs(x + 2), inputs(s + 1), inputs(s + 2), logistic);
  MlasQLinearMul(bytes.data(), Scale(inputs, x), ZeroPoint<T>(inputs, x), sigmoids.data(),
                 Scale(inputs, s), ZeroPoint<T>(inputs, s), Scale(inputs, kC),
                 ZeroPoint<T>(inputs, kC), products.data(), products.size(), false);
  return products;
}

}  // namespace

std::array<uint8_t, 256> SiluTable(const OpKernel& mul) {
  const auto constant = [&](int input) {
    const Tensor* tensor = nullptr;
    mul.Info().TryGetConstantInput(input, &tensor);
    return tensor;
  };
  return Table<uint8_t>(constant, SiluInput(mul.Node()));
}

template <typename T>
Status ComputeSilu(OpKernelContext& context, int x) {
  const Tensor& input = *context.Input<Tensor>(x);
  const auto table = Table<T>([&](int i) { return context.Input<Tensor>(i); }, x);
  const auto* from = static_cast<const uint8_t*>(input.DataRaw());
  auto* to = static_cast<uint8_t*>(context.Output(0, input.Shape())->MutableDataRaw());
  concurrency::ThreadPool::TryParallelFor(
      context.GetOperatorThreadPool(), static_cast<std::ptrdiff_t>(input.Shape().Size()), 1.0,
      [&](std::ptrdiff_t begin, std::ptrdiff_t end) {
        QLinearLookupTableTransform(from + begin, reinterpret_cast<const uint8_t*>(table.data()),
                                    to + begin, static_cast<size_t>(end - begin));
      });
  return Status::OK();
}

template Status ComputeSilu<uint8_t>(OpKernelContext& context, int x);
template Status ComputeSilu<int8_t>(OpKernelContext& context, int x);

}  // namespace contrib
}  // namespace onnxruntime
