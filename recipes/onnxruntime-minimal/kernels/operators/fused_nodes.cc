#include "contrib_ops/cpu/quantization/edgewright/fused_nodes.h"

#include <algorithm>
#include <array>
#include <optional>

#include "core/framework/callback.h"
#include "core/framework/op_kernel_context_internal.h"
#include "core/framework/tensorprotoutils.h"
#include "core/mlas/lib/edgewright/kernels.h"
#include "core/platform/env.h"

namespace onnxruntime {
namespace contrib {
namespace {

using ONNX_NAMESPACE::TensorProto;

constexpr int kA = 0, kB = 3;  // tensors of a QLinearMul
constexpr int kX = 0, kXZeroPoint = 2, kW = 3, kWZeroPoint = 5, kBias = 8;  // of a QLinearConv
constexpr int kRequired = 8;  // of its inputs, as of a QLinearMul's
constexpr int64_t kLeastImage = 256 * 1024;  // bytes: before and behind an activation, half a MiB
constexpr int64_t kLargestSize = 1 << 15;    // so that no product of four overflows

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

int64_t Integer(const Node& node, const char* name, int64_t otherwise) {
  const auto& attributes = node.GetAttributes();
  const auto attribute = attributes.find(name);
  return attribute == attributes.end() ? otherwise : attribute->second.i();
}

/// Whether all numbers of an attribute are within these bounds.
bool AreWithin(const Node& node, const char* name, int64_t least, int64_t most) {
  const auto& attributes = node.GetAttributes();
  const auto attribute = attributes.find(name);
  if (attribute == attributes.end()) return true;
  const auto& values = attribute->second.ints();
  return std::all_of(values.begin(), values.end(),
                     [=](int64_t i) { return least <= i && i <= most; });
}

/// A value's shape, if it is known as a whole and has that many dimensions.
std::optional<TensorShape> FixedShape(const NodeArg& value, size_t rank) {
  const auto* shape = value.Shape();
  if (shape == nullptr) return std::nullopt;
  const TensorShape fixed = utils::GetTensorShapeFromTensorShapeProto(*shape);
  const auto sizes = fixed.GetDims();
  const bool is_fixed = std::all_of(sizes.begin(), sizes.end(), [](int64_t size) {
    return size > 0 && size <= kLargestSize;
  });
  return is_fixed && sizes.size() == rank ? std::optional(fixed) : std::nullopt;
}

bool HasType(const NodeArg& value, TensorProto::DataType type) {
  const auto* declared = value.TypeAsProto();
  return declared != nullptr && declared->tensor_type().elem_type() == type;
}

bool IsPaddedByNumbers(const Node& node) {
  const auto& attributes = node.GetAttributes();
  const auto attribute = attributes.find("auto_pad");
  return attribute == attributes.end() || attribute->second.s() == "NOTSET";
}

/// The node that makes an input of another, or null.
const Node* Producer(const Node& node, int input) {
  for (auto edge = node.InputEdgesBegin(); edge != node.InputEdgesEnd(); ++edge) {
    if (edge->GetDstArgIndex() == input) return &edge->GetNode();
  }
  return nullptr;
}

bool IsPointwise(const Node& convolution, const TensorShape& weights) {
  return Integer(convolution, "group", 1) == 1 && weights[2] == 1 && weights[3] == 1 &&
         AreWithin(convolution, "strides", 1, 1) && AreWithin(convolution, "pads", 0, 0);
}

bool IsDepthwise(const Node& convolution, const TensorShape& weights) {
  return Integer(convolution, "group", 1) == weights[0] && weights[1] == 1 &&
         weights[0] % 8 == 0 && AreWithin(convolution, "strides", 1, kLargestSize) &&
         AreWithin(convolution, "dilations", 1, kLargestSize) &&
         AreWithin(convolution, "pads", 0, kLargestSize);
}

using Kind = bool (*)(const Node& convolution, const TensorShape& weights);

/// A convolution whose results, or the SiLU of these, one node reads, and nobody else.
struct Source {
  const Node* convolution;
  const Node* activation;
  const Node* sigmoid;
};

class Matcher {
 public:
  explicit Matcher(const GraphViewer& viewer) : viewer_(viewer) {}

  /// What a convolution of a kind reads, if it comes from another one.
  std::optional<Source> SourceOf(const Node& reader, Kind kind) const {
    if (!Is(reader, kind)) return std::nullopt;
    const Node* producer = Producer(reader, kX);
    if (producer == nullptr || !IsReadBy(*producer, 1)) return std::nullopt;
    const int x = SiluInput(*producer);
    if (x < 0) return Source{producer, nullptr, nullptr};  // `Is` looks at what it is
    const Node* sigmoid = Producer(*producer, Other(x));
    const Node* convolution = Producer(*producer, x);
    const bool is_own = convolution != nullptr && IsReadBy(*convolution, 2) &&
                        IsReadBy(*sigmoid, 1) && OnCpu(*sigmoid) && OnCpu(*producer) &&
                        AreConstant(*producer, {1, 2, 4, 5, 6, 7});
    return is_own ? std::optional(Source{convolution, producer, sigmoid}) : std::nullopt;
  }

  /// Whether QLinearConv packs a convolution's weights for our kernels (TryConvSymPrepack).
  bool IsPacked(const Node& convolution) const {
    const auto& inputs = convolution.InputDefs();
    const bool has_bias = static_cast<int>(inputs.size()) > kBias && inputs[kBias]->Exists();
    if (!AreConstant(convolution, {1, 2, 3, 4, 5, 6, 7})) return false;
    if (has_bias && !AreConstant(convolution, {kBias})) return false;
    const auto shape = FixedShape(*inputs[kW], 4);  // `Is` has looked whether there is one
    const int64_t columns = (*shape)[0], zero_points = CountOf(*inputs[kWZeroPoint]);
    return (!has_bias || CountOf(*inputs[kBias]) == columns) &&
           CountOf(*inputs[kXZeroPoint]) == 1 && (zero_points == 1 || zero_points == columns) &&
           IsOfShape(*inputs[kW], *shape) && HasType(*inputs[kX], TensorProto::UINT8) &&
           HasType(*inputs[kW], TensorProto::INT8) && IsZero(*inputs[kWZeroPoint]) &&
           !HasLowest(*inputs[kW]);
  }

  /// Whether a node is a convolution of a kind that its weights' shape tells.
  bool Is(const Node& node, Kind kind) const {
    if (node.OpType() != "QLinearConv" || !OnCpu(node)) return false;
    if (static_cast<int>(node.InputDefs().size()) < kRequired) return false;
    if (Integer(node, "channels_last", 0) != 1 || !IsPaddedByNumbers(node)) return false;
    const auto weights = FixedShape(*node.InputDefs()[kW], 4);
    return weights && kind(node, *weights);
  }

 private:
  static bool OnCpu(const Node& node) {
    return node.GetExecutionProviderType() == kCpuExecutionProvider;
  }

  bool IsReadBy(const Node& node, size_t readers) const {
    return node.GetOutputEdgesCount() == readers && !viewer_.NodeProducesGraphOutput(node);
  }

  const TensorProto* Constant(const NodeArg& value) const {
    return viewer_.GetConstantInitializer(value.Name(), false);  // as kernels see them
  }

  int64_t CountOf(const NodeArg& constant) const {
    return utils::GetTensorShapeFromTensorProto(*Constant(constant)).Size();
  }

  /// Whether a constant has the shape that its value declares; stored weights have another one.
  bool IsOfShape(const NodeArg& constant, const TensorShape& declared) const {
    const TensorShape shape = utils::GetTensorShapeFromTensorProto(*Constant(constant));
    return shape.NumDimensions() == 1 || shape == declared;
  }

  bool AreConstant(const Node& node, std::initializer_list<int> inputs) const {
    return std::all_of(inputs.begin(), inputs.end(), [&](int input) {
      return Constant(*node.InputDefs()[input]) != nullptr;
    });
  }

  /// Calls `check` with a constant's bytes; false without them.
  template <class Check>
  bool Bytes(const NodeArg& value, Check check) const {
    const TensorProto& tensor = *Constant(value);
    if (!utils::HasExternalData(tensor)) {
      return check(reinterpret_cast<const int8_t*>(tensor.raw_data().data()),
                   tensor.raw_data().size());
    }
    void* data = nullptr;
    SafeInt<size_t> size = 0;
    OrtCallback release{nullptr, nullptr};
    const Status status = utils::GetExtDataFromTensorProto(
        Env::Default(), viewer_.ModelPath(), tensor, data, size, release);
    const ScopedOrtCallbackInvoker owner(release);
    return status.IsOK() && check(static_cast<const int8_t*>(data), size);
  }

  bool IsZero(const NodeArg& value) const {
    return Bytes(value, [](const int8_t* bytes, size_t size) {
      return std::all_of(bytes, bytes + size, [](int8_t byte) { return byte == 0; });
    });
  }

  /// Stored weights, which have one dimension, were packed without any; so they need no look.
  bool HasLowest(const NodeArg& weights) const {
    if (Constant(weights)->dims_size() == 1) return false;
    return !Bytes(weights, [](const int8_t* bytes, size_t size) {
      return !edgewright::has_lowest(bytes, size);
    });
  }

  const GraphViewer& viewer_;
};

bool IsLarge(const NodeArg& image) {
  const auto shape = FixedShape(image, 4);
  return shape && shape->SizeFromDimension(1) >= kLeastImage;
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

void FusedNodes::Find(const GraphViewer& graph) {
  const Matcher matcher(graph);
  for (const NodeIndex index : graph.GetNodesInTopologicalOrder()) {
    const Node& project = *graph.GetNode(index);
    const auto last = matcher.SourceOf(project, IsPointwise);
    if (!last) continue;
    const Node& depthwise = *last->convolution;
    const auto first = matcher.SourceOf(depthwise, IsDepthwise);
    if (!first || !matcher.Is(*first->convolution, IsPointwise)) continue;
    if (!IsLarge(*depthwise.InputDefs()[kX])) continue;
    const Node& expand = *first->convolution;
    if (Producer(expand, kX) == nullptr || block_of_.count(expand.Index()) != 0) continue;
    const auto is_packed = [&](const Node* node) { return matcher.IsPacked(*node); };
    const std::array<const Node*, 3> convolutions{&expand, &depthwise, &project};
    if (!std::all_of(convolutions.begin(), convolutions.end(), is_packed)) continue;
    Add({&expand, first->activation, &depthwise, last->activation, &project},
        {&expand, first->sigmoid, first->activation, &depthwise, last->sigmoid, last->activation,
         &project});
  }
}

void FusedNodes::Add(const InvertedResidual& block, std::initializer_list<const Node*> nodes) {
  for (const Node* node : nodes) {
    if (node != nullptr) block_of_[node->Index()] = blocks_.size();
  }
  blocks_.push_back(block);
}

bool FusedNodes::PassesOn(NodeIndex node) const {
  return block_of_.count(node) != 0 && ComputedBy(node) == nullptr;
}

const InvertedResidual* FusedNodes::ComputedBy(NodeIndex node) const {
  const auto place = block_of_.find(node);
  if (place == block_of_.end()) return nullptr;
  const InvertedResidual& block = blocks_[place->second];
  return block.project->Index() == node ? &block : nullptr;
}

bool PassedOn(const OpKernel& kernel, OpKernelContext& context) {
  const auto& state = static_cast<OpKernelContextInternal&>(context).GetSessionState();
  if (!state.GetFusedNodes().PassesOn(kernel.Node().Index())) return false;
  context.Output(0, context.Input<Tensor>(0)->Shape());
  return true;
}

}  // namespace contrib
}  // namespace onnxruntime
