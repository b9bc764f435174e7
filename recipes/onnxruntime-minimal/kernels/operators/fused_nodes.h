// Nodes that another one computes for, because what lies between them should not exist as a whole.
#pragma once

#include <initializer_list>
#include <unordered_map>
#include <vector>

#include "core/graph/graph_viewer.h"

namespace onnxruntime {

class OpKernel;
class OpKernelContext;

namespace contrib {

/// Which of a QLinearMul's two tensors (input 0 or 3) is x, where the other is QLinearSigmoid(x)
/// with the same quantization; -1 if it is no SiLU.
int SiluInput(const Node& mul);

/// True if nothing reads a QLinearSigmoid's output but QLinearMuls that `SiluInput` knows.
bool OnlyFeedsSilu(const Node& sigmoid);

/// The nodes of an inverted residual. The last one, `project`, computes it from what the first one
/// reads. Activations are QLinearMuls that `SiluInput` knows, or null.
struct InvertedResidual {
  const Node* expand;
  const Node* expand_activation;
  const Node* depthwise;
  const Node* depthwise_activation;
  const Node* project;
};

/// The inverted residuals of a graph whose expanded images do not fit into a small core's caches.
class FusedNodes {
 public:
  /// Finds them, before buffers are planned and while the graph has its initializers.
  void Find(const GraphViewer& graph);

  /// Whether a node gives its first input on as its output, since a later one computes for it.
  bool PassesOn(NodeIndex node) const;

  /// The inverted residual that a node computes, or null.
  const InvertedResidual* ComputedBy(NodeIndex node) const;

 private:
  void Add(const InvertedResidual& block, std::initializer_list<const Node*> nodes);

  std::vector<InvertedResidual> blocks_;
  std::unordered_map<NodeIndex, size_t> block_of_;
};

/// Gives a kernel's first input on if its node does that, and tells whether it does. The planner
/// put the output where the input is.
bool PassedOn(const OpKernel& kernel, OpKernelContext& context);

}  // namespace contrib
}  // namespace onnxruntime
