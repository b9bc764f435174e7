// MLAS's symmetric convolution (convsym.cpp): takes the place of that file.
//
// MLAS has this path for x86 and AArch64 only. On AArch32 it would answer "no dispatch", and
// QLinearConv would copy every window of the image (im2col), multiply to 32-bit sums in memory and
// requantize them in a second pass.

#include <algorithm>
#include <cstring>

#include "../mlasi.h"
#include "kernels.h"

namespace {

constexpr size_t kDepthwiseAlignment = 8;
constexpr int32_t kSignedFixup = 128;  // activations are unsigned and become signed
constexpr int32_t kRowsPerTask = 16;

edgewright::Requantize RequantizeOf(const MLAS_CONV_SYM_PARAMS& params) {
  return {params.Bias, params.Scale, params.PerChannelScale, params.OutputZeroPoint};
}

const uint8_t* const* Taps(const MLAS_CONV_SYM_PARAMS& params) {
  return reinterpret_cast<const uint8_t* const*>(params.InputIndirection);
}

}  // namespace

uint8_t* edgewright::thread_scratch(size_t size) {
  MlasThreadedBufAlloc(size);
  return ThreadedBufHolder.get();
}

size_t MlasConvSymPackWSize(size_t GroupCount, size_t InputChannels, size_t OutputChannels,
                            size_t KernelSize, bool InputIsSigned) {
  if (InputIsSigned) return 0;
  if (GroupCount == 1) {
    return edgewright::packed_weights_size(InputChannels * KernelSize, OutputChannels);
  }
  const bool depthwise = InputChannels == 1 && OutputChannels == 1;
  return depthwise && GroupCount % kDepthwiseAlignment == 0 ? GroupCount * KernelSize : 0;
}

void MlasConvSymPackW(size_t GroupCount, size_t InputChannels, size_t OutputChannels,
                      size_t KernelSize, const int8_t* W, int8_t* PackedW, size_t, bool) {
  if (GroupCount == 1) {
    const size_t depth = InputChannels * KernelSize;
    const edgewright::Weights weights{W, KernelSize, InputChannels, OutputChannels,
                                      1, KernelSize, depth};
    edgewright::pack_weights(weights, PackedW);
    return;
  }
  for (size_t group = 0; group < GroupCount; ++group) {
    for (size_t k = 0; k < KernelSize; ++k) PackedW[k * GroupCount + group] = *W++;
  }
}

int32_t MlasConvSymFixupInputZeroPoint(int32_t zero_point_value, bool) {
  return zero_point_value - kSignedFixup;
}

int32_t MlasConvSymGetKernelOutputCount(bool) { return kRowsPerTask; }

int32_t MlasConvSymDepthwiseGetKernelOutputCnt(bool) { return kRowsPerTask; }

void MlasConvSym(const MLAS_CONV_SYM_PARAMS& Params) {
  const edgewright::Rows rows{static_cast<const uint8_t*>(Params.InputDirect), Taps(Params),
                              Params.KernelSize, Params.InputChannels};
  edgewright::multiply(rows, Params.OutputCount, static_cast<const int8_t*>(Params.Filter),
                       Params.OutputChannels, RequantizeOf(Params),
                       static_cast<uint8_t*>(Params.Output), Params.OutputChannels,
                       edgewright::thread_scratch(edgewright::multiply_scratch_size(rows.depth())));
}

void MlasConvSymDepthwise(const MLAS_CONV_SYM_PARAMS& Params) {
  edgewright::depthwise(Taps(Params), Params.KernelSize, static_cast<const int8_t*>(Params.Filter),
                        Params.OutputChannels, Params.OutputCount, RequantizeOf(Params),
                        static_cast<uint8_t*>(Params.Output));
}
