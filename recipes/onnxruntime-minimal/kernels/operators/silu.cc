#include "contrib_ops/cpu/quantization/edgewright/silu.h"

#include <algorithm>
#include <array>

#include "contrib_ops/cpu/quantization/qlinear_lookup_table.h"
#include "core/graph/graph.h"
#include "core/mlas/inc/mlas.h"
#include "core/platform/threadpool.h"

namespace onnxruntime {
namespace contrib {
namespace {

constexpr int kA = 0, kB = 3, kC = 5;  // a QLinearMul's tensor, scale, zero point: A, B; C lacks one

int Other(int x) { return x == kA ? kB : kA; }

bool Same(const Node& mul, int mul_input, const Node& sigmoid, int sigmoid_input) {
  return mul.InputDefs()[mul_input]->Name() == sigmoid.InputDefs()[sigmoid_input]->Name();
}

/// Tensor, scale and zero point of x are the sigmoid's inputs; scale and zero point of its output
/// are what the multiplication takes it to have.
bool IsSilu(const Node& mul, int x, const Node& sigmoid) {
  const int s = Other(x);
  return sigmoid.OpType() == "QLinearSigmoid" && sigmoid.Domain() == kMSDomain &&
         sigmoid.InputDefs().size() == 5 && mul.InputDefs().size() == 8 &&
         Same(mul, x, sigmoid, 0) && Same(mul, x + 1, sigmoid, 1) && Same(mul, x + 2, sigmoid, 2) &&
         Same(mul, s + 1, sigmoid, 3) && Same(mul, s + 2, sigmoid, 4);
}

float Scale(OpKernelContext& context, int tensor) {
  return *context.Input<Tensor>(tensor + 1)->Data<float>();
}

template <typename T>
T ZeroPoint(OpKernelContext& context, int tensor) {
  const Tensor* zero_point = context.Input<Tensor>(tensor + 2);
  return zero_point == nullptr ? T{} : *zero_point->Data<T>();
}

/// The results by the byte of x.
template <typename T>
std::array<T, 256> Table(OpKernelContext& context, int x) {
  const int s = Other(x);
  std::array<T, 256> inputs, sigmoids, products;
  for (size_t i = 0; i < inputs.size(); ++i) inputs[i] = static_cast<T>(i);
  const LookupTableArrayTransformer logistic = [](const float* input, float* output, size_t n) {
    MlasComputeLogistic(input, output, n);
  };
  QlinearBuildLookupTable<T>(reinterpret_cast<uint8_t*>(sigmoids.data()),
                             context.Input<Tensor>(x + 1), context.Input<Tensor>(x + 2),
                             context.Input<Tensor>(s + 1), context.Input<Tensor>(s + 2), logistic);
  MlasQLinearMul(inputs.data(), Scale(context, x), ZeroPoint<T>(context, x), sigmoids.data(),
                 Scale(context, s), ZeroPoint<T>(context, s), Scale(context, kC),
                 ZeroPoint<T>(context, kC), products.data(), products.size(), false);
  return products;
}

}  // namespace

int SiluInput(const Node& mul) {
  if (mul.OpType() != "QLinearMul" || mul.Domain() != kMSDomain) return -1;
  for (auto edge = mul.InputEdgesBegin(); edge != mul.InputEdgesEnd(); ++edge) {
    for (const int x : {kA, kB}) {
      if (edge->GetDstArgIndex() == Other(x) && IsSilu(mul, x, edge->GetNode())) return x;
    }
  }
  return -1;
}

bool OnlyFeedsSilu(const Node& sigmoid) {
  const auto feeds_silu = [](const Node::EdgeEnd& edge) { return SiluInput(edge.GetNode()) >= 0; };
  return sigmoid.GetOutputEdgesCount() > 0 &&
         std::all_of(sigmoid.OutputEdgesBegin(), sigmoid.OutputEdgesEnd(), feeds_silu);
}

template <typename T>
Status ComputeSilu(OpKernelContext& context, int x) {
  const Tensor& input = *context.Input<Tensor>(x);
  const auto table = Table<T>(context, x);
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
