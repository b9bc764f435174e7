#include <algorithm>
#include <set>

#include "common/text.hpp"
#include "edge/card.hpp"
#include "edge/detect.hpp"

namespace edge {
namespace {

constexpr size_t most_outputs = 64;
constexpr size_t most_anchors = 16;
constexpr int64_t most_coefficients = 256;  // of a mask

struct RoleName {
  const char* name;
  DetectRole role;
  std::vector<Activation> activations;  // of which one is allowed
};

const std::vector<RoleName>& role_names() {
  using A = Activation;
  static const std::vector<RoleName> names = {
      {"predictions", DetectRole::predictions, {A::sigmoid, A::none}},
      {"detections", DetectRole::detections, {A::none}},
      {"boxes", DetectRole::boxes, {A::none}},
      {"scores", DetectRole::scores, {A::softmax, A::sigmoid, A::none}},
      {"classes", DetectRole::classes, {A::none}},
      {"box_distances", DetectRole::box_distances, {A::softmax}},
      {"class_scores", DetectRole::class_scores, {A::sigmoid}},
      {"anchored", DetectRole::anchored, {A::sigmoid}},
      {"mask_coefficients", DetectRole::mask_coefficients, {A::none}},
      {"prototypes", DetectRole::prototypes, {A::none}}};
  return names;
}

/// The value beside the text of a key, or the first one.
template <class T>
T read_word(Fields& fields, const char* key, const std::vector<std::pair<const char*, T>>& words) {
  const std::string found = fields.text(key);
  std::string expected;
  for (const auto& [word, value] : words) {
    if (found == word) return value;
    expected += (expected.empty() ? "" : ", ") + std::string(word);
  }
  if (!found.empty()) fields.reject(key, "expected one of " + expected + ", found " + found);
  return words.front().second;
}

Background read_background(Fields& fields, bool may_be_last) {
  std::vector<std::pair<const char*, Background>> words = {{"none", Background::none},
                                                           {"first", Background::first}};
  if (may_be_last) words.push_back({"last", Background::last});
  return fields.has("background") ? read_word(fields, "background", words) : Background::none;
}

std::vector<double> read_anchors(Fields& fields) {
  const std::vector<double> anchors = fields.numbers("anchors");
  const bool is_positive =
      std::all_of(anchors.begin(), anchors.end(), [](double side) { return side > 0; });
  if (!anchors.empty() && anchors.size() % 2 == 0 && anchors.size() <= 2 * most_anchors &&
      is_positive) {
    return anchors;
  }
  fields.reject("anchors", format("expected width, height of 1 to %zu anchors", most_anchors));
  return {1, 1};
}

DetectOutput read_output(Fields& fields, const TensorCard& tensor) {
  DetectOutput output;
  const auto& names = role_names();
  const auto place = std::find_if(names.begin(), names.end(),
                                  [&](const RoleName& name) { return name.name == tensor.role; });
  if (place == names.end()) {
    std::string expected;
    for (const RoleName& name : names) {
      expected += (expected.empty() ? "" : ", ") + std::string(name.name);
    }
    fields.reject("role", "expected one of " + expected + ", found " + tensor.role);
    return output;
  }
  output.role = place->role;
  const auto& allowed = place->activations;
  if (std::find(allowed.begin(), allowed.end(), tensor.activation) == allowed.end()) {
    fields.reject("activation", "is not one of the role " + tensor.role);
  }

  using R = DetectRole;
  const R role = output.role;
  const bool has_axis = role == R::boxes || role == R::scores;
  if (role == R::predictions || (has_axis && fields.has("channels"))) {
    output.channels_first = read_word<bool>(fields, "channels", {{"first", true}, {"last", false}});
  }
  if (role == R::predictions) {
    output.has_objectness = fields.has("objectness") && fields.flag("objectness");
    output.form = BoxForm::cxcywh;
  }
  if (role == R::boxes) {
    output.form = read_word<BoxForm>(
        fields, "form",
        {{"xyxy", BoxForm::xyxy}, {"cxcywh", BoxForm::cxcywh}, {"yxyx", BoxForm::yxyx}});
    output.is_fraction = read_word<bool>(fields, "unit", {{"pixels", false}, {"fraction", true}});
  }
  if (role == R::scores || role == R::classes) {
    output.background = read_background(fields, role == R::scores);
  }
  if (role == R::box_distances || role == R::class_scores || role == R::anchored ||
      role == R::mask_coefficients) {
    output.stride = static_cast<size_t>(fields.whole("stride", 1, 4096));
  }
  if (role == R::anchored) output.anchors = read_anchors(fields);
  return output;
}

double read_threshold(Fields& fields, const char* key, double absent) {
  if (!fields.has(key)) return absent;
  const double value = fields.number(key);
  if (value > 0 && value < 1) return value;
  fields.reject(key, "expected more than 0 and less than 1");
  return absent;
}

void read_settings_part(Fields fields, DetectCard& detect) {
  detect.score_threshold = read_threshold(fields, "score_threshold", detect.score_threshold);
  detect.iou_threshold = read_threshold(fields, "iou_threshold", detect.iou_threshold);
  if (fields.has("nms")) detect.nms = fields.flag("nms");
  if (fields.has("class_agnostic")) detect.is_class_agnostic = fields.flag("class_agnostic");
  if (fields.has("max_detections")) {
    detect.max_detections = static_cast<size_t>(fields.whole("max_detections", 1, 1000));
  }
}

bool has_role(const DetectCard& detect, DetectRole role) {
  return std::any_of(detect.outputs.begin(), detect.outputs.end(),
                     [&](const DetectOutput& output) { return output.role == role; });
}

/// Whether the outputs together are boxes with scores, neither more nor less.
bool is_whole(const DetectCard& detect) {
  using R = DetectRole;
  std::multiset<R> roles;
  std::multiset<size_t> distances, scores, anchored, masks;
  for (const DetectOutput& output : detect.outputs) {
    if (output.role != R::prototypes) roles.insert(output.role);
    if (output.role == R::mask_coefficients) masks.insert(output.stride);
    if (output.role == R::box_distances) distances.insert(output.stride);
    if (output.role == R::class_scores) scores.insert(output.stride);
    if (output.role == R::anchored) anchored.insert(output.stride);
  }
  const auto prototypes = detect.outputs.size() - roles.size();
  if (prototypes > 1) return false;
  std::vector<std::multiset<R>> flat = {{R::predictions}, {R::detections}};
  if (prototypes == 0) {
    flat.push_back({R::boxes, R::scores});
    flat.push_back({R::boxes, R::scores, R::classes});
  }
  if (std::find(flat.begin(), flat.end(), roles) != flat.end()) return true;
  const auto& heads = distances.empty() ? anchored : distances;
  const bool are_single = std::set<size_t>(heads.begin(), heads.end()).size() == heads.size();
  const bool are_alone =
      roles.size() == distances.size() + scores.size() + anchored.size() + masks.size();
  const bool have_masks = prototypes == 1 ? masks == distances : masks.empty();
  return !heads.empty() && are_single && are_alone && have_masks && distances == scores &&
         (distances.empty() || anchored.empty());
}

/// The shape behind the batch, -1: any size.
std::vector<int64_t> expected_sizes(const DetectCard& detect, size_t index, size_t labels) {
  const DetectOutput& output = detect.outputs[index];
  const auto count = static_cast<int64_t>(labels);
  const auto coefficients = static_cast<int64_t>(detect.coefficients);
  const auto table = [&](int64_t width) {
    return output.channels_first ? std::vector<int64_t>{width, -1}
                                 : std::vector<int64_t>{-1, width};
  };
  switch (output.role) {
    case DetectRole::predictions:
      return table(4 + (output.has_objectness ? 1 : 0) + count + coefficients);
    case DetectRole::detections:
      return {-1, 6 + coefficients};
    case DetectRole::boxes:
      return table(4);
    case DetectRole::scores:
      if (has_role(detect, DetectRole::classes)) return {-1};
      return table(count + (output.background == Background::none ? 0 : 1));
    case DetectRole::classes:
      return {-1};
    case DetectRole::box_distances:
      return {-1, -1, -1};
    case DetectRole::class_scores:
      return {count, -1, -1};
    case DetectRole::anchored:
      return {static_cast<int64_t>(output.anchors.size() / 2) * (5 + count + coefficients), -1, -1};
    case DetectRole::mask_coefficients:
    case DetectRole::prototypes:
      return {coefficients, -1, -1};
  }
  return {};
}

std::string sizes_in_words(const std::vector<int64_t>& sizes) {
  std::string words;
  for (const int64_t size : sizes) {
    words += (words.empty() ? "" : ", ") + (size < 0 ? "n" : std::to_string(size));
  }
  return "[" + words + "]";
}

}  // namespace

DetectCard read_detect(Fields top, const std::vector<TensorCard>& outputs, size_t labels) {
  DetectCard detect;
  read_settings_part(top.object("detect"), detect);
  std::vector<Fields> all = top.objects("outputs");
  if (all.size() != outputs.size() || all.size() > most_outputs) {
    top.reject("outputs", format("expected at most %zu", most_outputs));
    return detect;
  }
  for (size_t i = 0; i < all.size(); ++i) {
    detect.outputs.push_back(read_output(all[i], outputs[i]));
  }
  if (!is_whole(detect)) {
    top.reject("outputs",
               "expected predictions; detections; boxes and scores, with or without classes; "
               "box_distances and class_scores of each stride; or anchored of each stride; with "
               "prototypes also mask_coefficients beside class_scores");
    return detect;
  }
  for (size_t i = 0; i < all.size(); ++i) {
    if (detect.outputs[i].role != DetectRole::prototypes) continue;
    const std::vector<int64_t>& shape = outputs[i].shape;
    const int64_t count = shape.size() < 3 ? 0 : shape[shape.size() - 3];
    if (count_values(shape) == 0 || count < 1 || count > most_coefficients) {
      all[i].reject("shape", "expected [1, n, height, width], of fixed sizes and n at most 256");
      return detect;
    }
    detect.coefficients = static_cast<size_t>(count);
  }
  for (size_t i = 0; i < all.size(); ++i) {
    const std::string problem = shape_problem(detect, i, labels, outputs[i].shape);
    if (!problem.empty()) all[i].reject("shape", problem);
    const bool is_single =
        detect.outputs[i].role == DetectRole::scores && has_role(detect, DetectRole::classes);
    if (is_single && outputs[i].activation == Activation::softmax) {
      all[i].reject("activation", "one score of each candidate has no softmax");
    }
  }
  return detect;
}

std::string shape_problem(const DetectCard& detect, size_t index, size_t labels,
                          const std::vector<int64_t>& shape) {
  const std::vector<int64_t> expected = expected_sizes(detect, index, labels);
  const bool has_batch = shape.size() == expected.size() + 1 && (shape[0] == 1 || shape[0] == -1);
  const std::vector<int64_t> found(shape.begin() + (has_batch ? 1 : 0), shape.end());
  bool fits = found.size() == expected.size();
  for (size_t i = 0; fits && i < found.size(); ++i) {
    fits = found[i] == -1 || expected[i] == -1 || found[i] == expected[i];
  }
  const bool is_distances = detect.outputs[index].role == DetectRole::box_distances;
  if (fits && is_distances && found[0] != -1) fits = found[0] > 0 && found[0] % 4 == 0;
  if (fits) return "";
  return format("found %s, of %zu labels it is %s%s behind the batch",
                sizes_in_words(shape).c_str(), labels, sizes_in_words(expected).c_str(),
                is_distances ? " with a multiple of 4 bins" : "");
}

}  // namespace edge
