#include <algorithm>
#include <numeric>

#include "edge/task.hpp"

namespace edge {
namespace {

constexpr size_t most_shown = 1000;  // values; a larger tensor is summed up

}  // namespace

void set(Json entry, const TensorAnswer& answer, const Card& card) {
  Json list = entry.list("tensors");
  for (size_t i = 0; i < answer.tensors.size(); ++i) {
    const std::vector<float>& values = answer.tensors[i].values;
    Json tensor = list.append();
    tensor.set("name", card.outputs[i].name);
    tensor.set("shape", answer.tensors[i].shape);
    if (values.empty()) continue;
    const auto [least, most] = std::minmax_element(values.begin(), values.end());
    const double sum = std::accumulate(values.begin(), values.end(), 0.0);
    tensor.set("min", static_cast<double>(*least));
    tensor.set("max", static_cast<double>(*most));
    tensor.set("mean", sum / static_cast<double>(values.size()));
    if (values.size() <= most_shown) {
      tensor.set("values", std::vector<double>(values.begin(), values.end()));
    }
  }
}

}  // namespace edge
