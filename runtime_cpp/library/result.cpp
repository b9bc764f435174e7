#include <algorithm>
#include <cmath>

#include "common/document.hpp"
#include "common/text.hpp"
#include "library/handles.hpp"

using namespace edge;

namespace edge {
namespace {

/// That of the card where the caller leaves it out.
std::vector<int64_t> shape_of(const TensorCard& card, const edge_tensor& output) {
  if (output.shape == nullptr) return card.shape;
  return {output.shape, output.shape + output.rank};
}

std::string words_for(const std::vector<int64_t>& shape) {
  std::string text;
  for (const int64_t size : shape) {
    text += (text.empty() ? "" : ", ") + format("%lld", static_cast<long long>(size));
  }
  return "[" + text + "]";
}

bool fits(const std::vector<int64_t>& shape, const std::vector<int64_t>& card) {
  return shape.size() == card.size() &&
         std::equal(shape.begin(), shape.end(), card.begin(), [](int64_t size, int64_t expected) {
           return size == expected || (expected == -1 && size >= 0);
         });
}

/// `count_values` of sizes that are somebody else's: capped, where it would overflow.
size_t checked_count(const std::vector<int64_t>& shape) {
  constexpr uint64_t most = 1u << 26;  // values, as the card has it
  uint64_t count = 1;
  for (const int64_t size : shape) {
    if (size != 0 && count > most / static_cast<uint64_t>(size)) return most + 1;
    count *= static_cast<uint64_t>(size);
  }
  return static_cast<size_t>(count);
}

std::string output_problem(const TensorCard& card, const edge_tensor& output) {
  const std::vector<int64_t> shape = shape_of(card, output);
  if (output.values == nullptr && output.count > 0) return "has no values";
  if (!fits(shape, card.shape)) {
    return "has the shape " + words_for(shape) + ", the card says " + words_for(card.shape);
  }
  if (std::find(shape.begin(), shape.end(), -1) != shape.end()) {
    return "has no shape, and the card leaves a size open";
  }
  const size_t count = checked_count(shape);
  if (output.count == count) return "";
  return format("has %zu values, its shape says %zu", output.count, count);
}

bool is_finite(const edge_tensor& output) {
  return std::all_of(output.values, output.values + output.count,
                     [](float value) { return std::isfinite(value); });
}

void set_typed(edge_result& result) {
  const std::vector<std::string>& labels = result.card->labels;
  if (const auto* classes = std::get_if<ClassAnswer>(&result.answer)) {
    result.classification = {classes->index, labels[classes->index].c_str(),
                             classes->probabilities.data(), classes->probabilities.size()};
  } else if (const auto* anomaly = std::get_if<AnomalyAnswer>(&result.answer)) {
    result.anomaly = {anomaly->is_anomalous, anomaly->score, anomaly->area, anomaly->peak_x,
                      anomaly->peak_y};
  } else if (const auto* things = std::get_if<DetectAnswer>(&result.answer)) {
    for (const Detection& thing : things->detections) {
      const Box& box = thing.box;
      result.detections.push_back({thing.label, labels[thing.label].c_str(), thing.score, box.left,
                                   box.top, box.right, box.bottom});
    }
  }
}

/// yyjson's memory. It leaves out of a document what it has none for: that must be told.
struct JsonMemory {
  bool is_short = false;
  yyjson_alc allocator{allocate, nullptr, release, this};  // a document never reallocates

  static void* allocate(void* context, size_t size) {
    void* memory = operator new(size, std::nothrow);
    if (memory == nullptr) static_cast<JsonMemory*>(context)->is_short = true;
    return memory;
  }
  static void release(void*, void* memory) { operator delete(memory); }
};

std::string json_of(const Answer& answer, const Card& card) {
  JsonMemory memory;
  Document document(memory.allocator);
  set_answer(document.top(), answer, card);
  std::string json = document.text();
  if (memory.is_short || json.empty()) throw std::bad_alloc();
  json.pop_back();  // the end of the line
  return json;
}

}  // namespace

std::optional<Error> outputs_fault(const Card& card, const edge_tensor* outputs, size_t count) {
  const char* next = "give the outputs of the card's model, in the card's order";
  if (count != card.outputs.size()) {
    return Error{Exit::usage, "outputs_wrong", card.name,
                 format("has %zu outputs, got %zu", card.outputs.size(), count), next};
  }
  for (size_t i = 0; i < count; ++i) {
    const std::string subject = "output " + card.outputs[i].name;
    const std::string problem = output_problem(card.outputs[i], outputs[i]);
    if (!problem.empty()) return Error{Exit::usage, "outputs_wrong", subject, problem, next};
    if (!is_finite(outputs[i])) {
      return Error{Exit::model, "model_not_finite", subject, "is not finite",
                   "use another model, this one is broken"};
    }
  }
  return std::nullopt;
}

std::vector<Tensor> tensors_of(const Card& card, const edge_tensor* outputs) {
  std::vector<Tensor> tensors;
  for (size_t i = 0; i < card.outputs.size(); ++i) {
    const edge_tensor& output = outputs[i];
    tensors.push_back(
        {shape_of(card.outputs[i], output), {output.values, output.values + output.count}});
  }
  return tensors;
}

std::unique_ptr<edge_result> make_result(std::shared_ptr<const Card> card, Answer answer) {
  auto result = std::make_unique<edge_result>();
  result->card = std::move(card);
  result->answer = std::move(answer);
  set_typed(*result);
  result->json = json_of(result->answer, *result->card);
  return result;
}

}  // namespace edge

edge_error* edge_tensor_result(const edge_card* card, const edge_tensor* outputs, size_t count,
                               edge_result** result) {
  return guarded([&]() -> edge_error* {
    constexpr char function[] = "edge_tensor_result";
    if (result != nullptr) *result = nullptr;
    if (card == nullptr || outputs == nullptr || result == nullptr) {
      return argument_error(function, "got NULL");
    }
    const Card& of = *card->card;
    if (of.task != TaskKind::tensor) {
      return argument_error(function, "got a card of another task than tensor");
    }
    if (auto error = outputs_fault(of, outputs, count)) return handed(*error);
    auto answer = make_answer(of, tensors_of(of, outputs), {});
    if (!answer) return handed(answer.error());
    *result = make_result(card->card, std::move(*answer)).release();
    return nullptr;
  });
}

void edge_result_free(edge_result* result) {
  delete result;
}

const char* edge_result_json(const edge_result* result) {
  return result != nullptr ? result->json.c_str() : nullptr;
}

const edge_classification* edge_result_classification(const edge_result* result) {
  return result != nullptr && result->classification ? &*result->classification : nullptr;
}

const edge_anomaly* edge_result_anomaly(const edge_result* result) {
  return result != nullptr && result->anomaly ? &*result->anomaly : nullptr;
}

const edge_detection* edge_result_detections(const edge_result* result, size_t* count) {
  const size_t all = result != nullptr ? result->detections.size() : 0;
  if (count != nullptr) *count = all;
  return all > 0 ? result->detections.data() : nullptr;
}
