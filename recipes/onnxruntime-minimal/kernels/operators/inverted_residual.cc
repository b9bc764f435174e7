#include "contrib_ops/cpu/quantization/edgewright/inverted_residual.h"

#include <algorithm>
#include <array>

#include "contrib_ops/cpu/quantization/edgewright/silu.h"
#include "core/mlas/lib/edgewright/kernels.h"
#include "core/platform/threadpool.h"

namespace onnxruntime {
namespace contrib {
namespace {

edgewright::Requantize RequantizeOf(const PackedConvolution& convolution) {
  return {convolution.bias->data(), convolution.scales.data(), convolution.scales.size() > 1,
          convolution.output_zero_point};
}

edgewright::Pointwise PointwiseOf(const PackedConvolution& convolution) {
  const auto columns = static_cast<size_t>(convolution.shape[0]);
  return {convolution.weights, columns, RequantizeOf(convolution)};
}

/// Whether weights are those of a 1x1 convolution of so many channels. What the model declares of
/// them was looked at before; this is what was packed.
bool IsPointwise(const PackedConvolution& convolution, int64_t channels) {
  const TensorShape& shape = convolution.shape;
  return shape.NumDimensions() == 4 && shape[1] == channels && shape[2] == 1 && shape[3] == 1;
}

/// Null without an activation.
const uint8_t* TableOf(const OpKernel* activation, std::array<uint8_t, 256>& table) {
  if (activation == nullptr) return nullptr;
  table = SiluTable(*activation);
  return table.data();
}

/// Whether the memory of a band can be counted in 32 bits, whatever a model's shapes are.
bool IsCountable(const edgewright::Windows& w) {
  constexpr int64_t kMost = 1 << 28, kMostRows = 1 << 17;
  if (std::max({w.height, w.width, w.output_width}) > kMostRows) return false;
  const int64_t channels = w.pixel_size, width = w.output_width;
  const int64_t span = int64_t{w.kernel_height - 1} * w.dilation_y + 1;
  return span <= kMost && std::min<int64_t>(span, w.height) * w.width * channels <= kMost &&
         width * channels <= kMost && width * w.kernel_height * w.kernel_width <= kMost;
}

/// The windows of a convolution over images of [height, width], and the height of its output.
Status WindowsOf(const PackedConvolution& convolution, const TensorShape& image,
                 edgewright::Windows& windows, int64_t& height) {
  const ConvAttributes& attributes = *convolution.attributes;
  TensorShapeVector kernel, output;
  ORT_RETURN_IF_ERROR(attributes.ComputeKernelShape(convolution.shape, kernel));
  ConvAttributes::ConvPadVector pads(attributes.pads);
  pads.resize(4, 0);
  TensorShapeVector strides(attributes.strides), dilations(attributes.dilations);
  strides.resize(2, 1);
  dilations.resize(2, 1);
  ORT_RETURN_IF_ERROR(
      attributes.InferPadsAndOutputShape(image, kernel, strides, dilations, pads, output));
  const auto size = [](int64_t value) { return static_cast<ptrdiff_t>(value); };
  windows = {nullptr, nullptr, size(convolution.shape[0]), size(image[0]), size(image[1]),
             size(output[1]), size(kernel[0]), size(kernel[1]), size(strides[0]), size(strides[1]),
             size(dilations[0]), size(dilations[1]), size(pads[0]), size(pads[1])};
  height = output[0];
  return Status::OK();
}

}  // namespace

Status ComputeInvertedResidual(OpKernelContext& context, const PackedConvolution& expand,
                               const OpKernel* expand_activation,
                               const PackedConvolution& depthwise,
                               const OpKernel* depthwise_activation,
                               const PackedConvolution& project) {
  const Tensor& input = *context.Input<Tensor>(0);
  const TensorShape& shape = input.Shape();
  const int64_t channels = expand.shape[0];
  ORT_RETURN_IF_NOT(shape.NumDimensions() == 4 && IsPointwise(expand, shape[3]) &&
                        depthwise.shape.NumDimensions() == 4 && depthwise.shape[0] == channels &&
                        IsPointwise(project, channels),
                    "the shapes of an inverted residual do not fit");
  edgewright::Windows windows;
  int64_t height;
  ORT_RETURN_IF_ERROR(WindowsOf(depthwise, shape.Slice(1, 3), windows, height));
  ORT_RETURN_IF_NOT(IsCountable(windows), "an inverted residual is too large");
  Tensor& output = *context.Output(0, {shape[0], height, windows.output_width, project.shape[0]});
  if (output.Shape().Size() == 0) return Status::OK();

  const std::vector<uint8_t> padding(static_cast<size_t>(channels), depthwise.input_zero_point);
  windows.padding = padding.data();
  std::array<uint8_t, 256> tables[2];
  const edgewright::InvertedResidual first_image{
      input.Data<uint8_t>(), static_cast<size_t>(shape[3]),
      PointwiseOf(expand), TableOf(expand_activation, tables[0]),
      windows, depthwise.weights,
      RequantizeOf(depthwise), TableOf(depthwise_activation, tables[1]),
      PointwiseOf(project), output.MutableData<uint8_t>()};
  AllocatorPtr allocator;
  ORT_RETURN_IF_ERROR(context.GetTempSpaceAllocator(&allocator));
  concurrency::ThreadPool* threads = context.GetOperatorThreadPool();
  // No more bands than threads: rows at the border of two are expanded by both.
  const int64_t bands =
      std::min<int64_t>(height, concurrency::ThreadPool::DegreeOfParallelism(threads));
  const auto work = [&](std::ptrdiff_t task) {
    const int64_t image = task / bands, band = task % bands;
    edgewright::InvertedResidual block = first_image;
    block.input += image * shape.SizeFromDimension(1);
    block.output += image * output.Shape().SizeFromDimension(1);
    const auto scratch = IAllocator::MakeUniquePtr<uint8_t>(
        allocator, edgewright::inverted_residual_scratch_size(block));
    edgewright::inverted_residual(block, static_cast<size_t>(band * height / bands),
                                  static_cast<size_t>((band + 1) * height / bands), scratch.get());
  };
  const auto tasks = static_cast<std::ptrdiff_t>(shape[0] * bands);
  concurrency::ThreadPool::TrySimpleParallelFor(threads, tasks, work);
  return Status::OK();
}

}  // namespace contrib
}  // namespace onnxruntime
