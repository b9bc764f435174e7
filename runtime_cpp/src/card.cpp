#include "edge/card.hpp"

#include <algorithm>

#include "common/text.hpp"
#include "edge/fields.hpp"
#include "edge/task.hpp"

namespace edge {
namespace {

constexpr double max_side = 4096;       // pixels of the network's input
constexpr double max_values = 1 << 26;  // of a tensor
constexpr size_t max_rank = 8;
constexpr double max_bytes = 1u << 30;  // of the model file

bool is_whole(double value, double low, double high) {
  return value >= low && value <= high && value == static_cast<double>(static_cast<int64_t>(value));
}

std::vector<int64_t> read_input_shape(Fields input) {
  const auto shape = input.numbers("shape");
  const bool good = shape.size() == 4 && shape[0] == 1 && (shape[1] == 1 || shape[1] == 3) &&
                    is_whole(shape[2], 1, max_side) && is_whole(shape[3], 1, max_side);
  if (!good) {
    input.reject("shape", "expected [1, 1 or 3, height, width]");
    return {1, 1, 1, 1};
  }
  return {1, static_cast<int64_t>(shape[1]), static_cast<int64_t>(shape[2]),
          static_cast<int64_t>(shape[3])};
}

void check_output_shape(Fields output, size_t labels) {
  const auto shape = output.numbers("shape");
  if (shape.size() == 2 && shape[0] == 1 && shape[1] == static_cast<double>(labels)) return;
  output.reject("shape", format("expected [1, %zu], one for each label", labels));
}

Activation read_activation(Fields output) {
  const std::string name = output.text("activation");
  if (name == "sigmoid") return Activation::sigmoid;
  if (name == "none") return Activation::none;
  if (name != "softmax" && !name.empty()) {
    output.reject("activation", "expected softmax, sigmoid or none, found " + name);
  }
  return Activation::softmax;
}

/// `open`: whether a size may be -1, which the network decides on while it runs.
TensorCard read_tensor(Fields fields, bool open) {
  TensorCard tensor;
  tensor.name = fields.text("name");
  double values = 1;
  for (const double size : fields.numbers("shape")) {
    const bool good = is_whole(size, 1, max_values) || (open && size == -1);
    if (!good) fields.reject("shape", format("expected sizes from 1%s", open ? ", or -1" : ""));
    values *= size < 0 ? 1 : size;
    tensor.shape.push_back(good ? static_cast<int64_t>(size) : 1);
  }
  if (tensor.shape.size() > max_rank || values > max_values) {
    fields.reject("shape", "expected at most 8 sizes and 2^26 values");
    tensor.shape = {1};
  }
  return tensor;
}

std::vector<TensorCard> read_outputs(Fields top, bool open) {
  std::vector<TensorCard> outputs;
  for (Fields& fields : top.objects("outputs")) {
    outputs.push_back(read_tensor(fields, open));
    outputs.back().role = fields.text("role");
    if (fields.has("activation")) outputs.back().activation = read_activation(fields);
  }
  if (outputs.empty()) top.reject("outputs", "expected at least one");
  return outputs;
}

TaskKind read_task(Fields top, int schema) {
  if (!top.has("task")) return TaskKind::classify;
  const std::string task = top.text("task");
  if (task == "classify") return TaskKind::classify;
  if (schema < 2) top.reject("task", "needs schema 2");
  if (task == "anomaly") return TaskKind::anomaly;
  if (task == "segment") return TaskKind::segment;
  if (task == "detect") return TaskKind::detect;
  if (task != "tensor") top.reject("task", "is not known to this edge-infer: " + task);
  return TaskKind::tensor;
}

/// The one output of a classifier.
TensorCard read_scores(Fields output, size_t labels, int schema) {
  check_output_shape(output, labels);
  TensorCard scores;
  scores.name = output.text("name");
  scores.role = "scores";
  scores.shape = {1, static_cast<int64_t>(labels)};
  scores.activation = schema >= 2 ? read_activation(output) : Activation::softmax;
  if (!output.has("temperature")) return scores;
  scores.temperature = output.number("temperature");
  const bool fits = scores.temperature >= 0.01 && scores.temperature <= 100;
  if (!fits) output.reject("temperature", "expected 0.01 to 100");
  if (schema < 2 || scores.activation == Activation::none) {
    output.reject("temperature", "needs schema 2, and an activation");
  }
  return scores;
}

Decision read_decision(Fields fields, const std::vector<std::string>& labels, int schema) {
  Decision decision;
  const auto place = std::find(labels.begin(), labels.end(), fields.text("label"));
  decision.label = static_cast<size_t>(place - labels.begin());
  if (place == labels.end()) fields.reject("label", "is no label of the card");
  decision.threshold = fields.number("threshold");
  const bool fits = decision.threshold > 0 && decision.threshold < 1;
  if (!fits) fields.reject("threshold", "expected more than 0 and less than 1");
  if (schema < 2) fields.reject("threshold", "needs schema 2");
  return decision;
}

uint64_t read_bytes(Fields file) {
  const double bytes = file.number("bytes");
  if (is_whole(bytes, 1, max_bytes)) return static_cast<uint64_t>(bytes);
  file.reject("bytes", "expected a number of bytes");
  return 0;
}

/// A task that takes images: the tensor, and how it is made of pixels.
void read_image(Fields top, int schema, Card& card) {
  Fields input = top.object("input");
  input.expect("layout", "NCHW");
  card.inputs = {{input.text("name"), read_input_shape(input), "image"}};

  card.preprocess = read_preprocess(top.object("preprocess"), schema, card.inputs[0].shape);
  if (!top.has("tiling")) return;
  if (schema < 2) top.reject("tiling", "needs schema 2");
  card.tiling = read_tiling(top.object("tiling"), card.task, card.preprocess);
}

Card read_card(Fields top) {
  Card card;
  const int schema = top.expect_schema(2);
  card.task = read_task(top, schema);
  card.name = top.text("name");
  const bool has_classes = card.task != TaskKind::tensor;
  if (has_classes) card.labels = top.texts("labels");
  if (has_classes && card.labels.empty()) top.reject("labels", "expected at least one");

  if (card.task == TaskKind::tensor) {
    for (Fields& input : top.objects("inputs")) card.inputs.push_back(read_tensor(input, false));
    if (card.inputs.empty()) top.reject("inputs", "expected at least one");
  } else {
    read_image(top, schema, card);
  }
  if (card.task == TaskKind::classify) {
    card.outputs = {read_scores(top.object("output"), card.labels.size(), schema)};
    if (top.has("decision")) {
      card.decision = read_decision(top.object("decision"), card.labels, schema);
    }
  } else {
    card.outputs = read_outputs(top, true);
    if (card.task == TaskKind::detect) {
      card.detect = read_detect(top, card.outputs, card.labels.size());
    }
  }
  if (card.task == TaskKind::anomaly) read_anomaly_card(top, card);
  if (card.task == TaskKind::segment) read_segment_card(top, card);

  Fields file = top.object("file");
  card.file_name = file.text("name");
  card.file_bytes = read_bytes(file);
  card.file_sha256 = file.text("sha256");
  return card;
}

Result<Card> card_of(const std::string& name, const JsonFile& document) {
  std::vector<std::string> problems;
  Card card = read_card(Fields(yyjson_doc_get_root(document.get()), "", problems));
  if (problems.empty()) return card;
  return defects(name, "card_invalid", problems, "use the card that was made with the model");
}

}  // namespace

size_t count_values(const std::vector<int64_t>& shape) {
  size_t count = 1;
  for (const int64_t size : shape) count *= static_cast<size_t>(std::max<int64_t>(size, 0));
  return count;
}

size_t Card::values() const {
  size_t count = 0;
  for (const TensorCard& input : inputs) count += count_values(input.shape);
  return count;
}

Result<Card> load_card(const std::string& path) {
  const auto document = read_json(path, "card_missing", "card_invalid");
  return document ? card_of(path, *document) : document.error();
}

Result<Card> parse_card(const std::string& name, const char* text, size_t size) {
  const auto document = parse_json(name, text, size, "card_invalid");
  return document ? card_of(name, *document) : document.error();
}

}  // namespace edge
