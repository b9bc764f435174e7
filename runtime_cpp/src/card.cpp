#include "edge/card.hpp"

#include "common/text.hpp"
#include "edge/fields.hpp"

namespace edge {
namespace {

constexpr double max_side = 4096;       // pixels of the network's input
constexpr double max_bytes = 1u << 30;  // of the model file

bool is_whole(double value, double low, double high) {
  return value >= low && value <= high && value == static_cast<double>(static_cast<int64_t>(value));
}

std::array<int64_t, 4> read_input_shape(Fields input) {
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

void check_color(Fields preprocess, int channels) {
  const std::string color = preprocess.text("color");
  if (color != "gray" && color != "rgb") {
    preprocess.reject("color", "expected gray or rgb, found " + color);
  } else if (channels != (color == "gray" ? 1 : 3)) {
    preprocess.reject("color", format("%s does not fit %d channels", color.c_str(), channels));
  }
}

std::vector<double> read_per_channel(Fields& normalize, const char* key, int channels) {
  auto values = normalize.numbers(key);
  if (values.size() == static_cast<size_t>(channels)) return values;
  normalize.reject(key, format("expected one value for each of %d channels", channels));
  return {};
}

Normalize read_normalize(Fields fields, int channels) {
  Normalize normalize;
  const std::string kind = fields.text("kind");
  normalize.per_image = kind == "per_image";
  if (normalize.per_image) {
    normalize.epsilon = fields.number("epsilon");
    if (!(normalize.epsilon > 0)) fields.reject("epsilon", "expected more than 0");
  } else if (kind == "mean_std") {
    normalize.mean = read_per_channel(fields, "mean", channels);
    normalize.std = read_per_channel(fields, "std", channels);
    for (const double value : normalize.std) {
      if (!(value > 0)) fields.reject("std", "expected more than 0");
    }
  } else {
    fields.reject("kind", "expected per_image or mean_std, found " + kind);
  }
  return normalize;
}

uint64_t read_bytes(Fields file) {
  const double bytes = file.number("bytes");
  if (is_whole(bytes, 1, max_bytes)) return static_cast<uint64_t>(bytes);
  file.reject("bytes", "expected a number of bytes");
  return 0;
}

Card read_card(Fields top) {
  Card card;
  const int schema = top.expect_schema(2);
  card.name = top.text("name");
  card.labels = top.texts("labels");
  if (card.labels.empty()) top.reject("labels", "expected at least one");

  Fields input = top.object("input");
  input.expect("layout", "NCHW");
  card.input_name = input.text("name");
  card.shape = read_input_shape(input);

  Fields output = top.object("output");
  card.output_name = output.text("name");
  check_output_shape(output, card.labels.size());
  if (schema >= 2) card.activation = read_activation(output);

  Fields preprocess = top.object("preprocess");
  preprocess.expect("resize", "triangle");
  check_color(preprocess, card.channels());
  if (preprocess.has("significant_bits")) {
    card.significant_bits = static_cast<int>(preprocess.whole("significant_bits", 9, 16));
    if (schema < 2) preprocess.reject("significant_bits", "needs schema 2");
  }
  card.normalize = read_normalize(preprocess.object("normalize"), card.channels());

  Fields file = top.object("file");
  card.file_name = file.text("name");
  card.file_bytes = read_bytes(file);
  card.file_sha256 = file.text("sha256");
  return card;
}

}  // namespace

Result<Card> load_card(const std::string& path) {
  const auto document = read_json(path, "card_missing", "card_invalid");
  if (!document) return document.error();
  std::vector<std::string> problems;
  Card card = read_card(Fields(yyjson_doc_get_root(document->get()), "", problems));
  if (problems.empty()) return card;
  return defects(path, "card_invalid", problems, "use the card that was made with the model");
}

}  // namespace edge
