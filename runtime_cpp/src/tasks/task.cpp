#include "edge/task.hpp"

#include <algorithm>

#include "common/text.hpp"

namespace edge {
namespace {

constexpr double forgiven = 0.001;  // of all pixels: masks that differ in no more agree

}  // namespace

void check_roles(Fields top, const Card& card, const std::vector<std::string>& roles) {
  std::string expected;
  for (const std::string& role : roles) expected += (expected.empty() ? "" : ", ") + role;
  for (const TensorCard& output : card.outputs) {
    if (std::find(roles.begin(), roles.end(), output.role) == roles.end()) {
      top.reject("outputs", format("%s has the role %s, expected: %s", output.name.c_str(),
                                   output.role.c_str(), expected.c_str()));
    } else if (&card.outputs[*output_of(card, output.role.c_str())] != &output) {
      top.reject("outputs", "the role " + output.role + " comes twice");
    }
  }
}

std::optional<size_t> output_of(const Card& card, const char* role) {
  for (size_t i = 0; i < card.outputs.size(); ++i) {
    if (card.outputs[i].role == role) return i;
  }
  return std::nullopt;
}

std::optional<Region> region_told(const Card& card, const MapWindow& window) {
  if (!card.preprocess.roi) return std::nullopt;
  return Region{window.columns.start, window.rows.start, window.columns.length, window.rows.length};
}

std::vector<int64_t> numbers_of(const Region& region) {
  return {static_cast<int64_t>(region.x), static_cast<int64_t>(region.y),
          static_cast<int64_t>(region.width), static_cast<int64_t>(region.height)};
}

bool is_value(const std::vector<int64_t>& shape) {
  return std::all_of(shape.begin(), shape.end(), [](int64_t size) { return size == 1; });
}

bool is_plane(const std::vector<int64_t>& shape) {
  if (shape.size() != 3 && shape.size() != 4) return false;
  return is_value({shape.begin(), shape.end() - 2}) && count_values(shape) > 0;
}

std::string mask_problem(const Mask& expected, const Mask& found, const Agreement& agreement) {
  if (expected.is_ragged || found.is_ragged) return "the mask is too ragged to compare";
  const auto common = static_cast<double>(intersection(expected, found));
  const double both = static_cast<double>(expected.area + found.area);
  const double share = both == 0 ? 1 : common / (both - common);
  const auto pixels = static_cast<double>(expected.height * expected.width);
  if (share >= agreement.overlap || both - 2 * common <= forgiven * pixels) return "";
  return format("overlap %.3f, expected %g", share, agreement.overlap);
}

Result<Answer> make_answer(const Card& card, std::vector<Tensor> outputs,
                           const Placement& placement) {
  if (card.task == TaskKind::tensor) return Answer(TensorAnswer{std::move(outputs)});
  if (card.task == TaskKind::anomaly) return Answer(find_anomaly(card, outputs, placement));
  if (card.task == TaskKind::segment) return Answer(segment(card, outputs, placement));
  if (card.task == TaskKind::detect) {
    auto answer = detect(card, outputs, placement);
    return answer ? Result<Answer>(Answer(std::move(*answer))) : answer.error();
  }
  return Answer(classify(card, outputs));
}

Answer read_answer(Fields fields, const Card& card) {
  if (card.task == TaskKind::tensor) return TensorAnswer{};
  if (card.task == TaskKind::anomaly) return read_anomaly(fields, card);
  if (card.task == TaskKind::segment) return read_segments(fields, card);
  if (card.task == TaskKind::detect) return read_detections(fields, card);
  return read_class(fields, card);
}

void set_answer(Json entry, const Answer& answer, const Card& card) {
  std::visit([&](const auto& of_task) { set(entry, of_task, card); }, answer);
}

Comparison compare_answers(const Answer& expected, const Answer& answer, const Card& card,
                           const Agreement& agreement) {
  if (const auto* classes = std::get_if<ClassAnswer>(&expected)) {
    return compare(*classes, std::get<ClassAnswer>(answer), card, agreement);
  }
  if (const auto* anomaly = std::get_if<AnomalyAnswer>(&expected)) {
    return compare(*anomaly, std::get<AnomalyAnswer>(answer), card, agreement);
  }
  if (const auto* segments = std::get_if<SegmentAnswer>(&expected)) {
    return compare(*segments, std::get<SegmentAnswer>(answer), card, agreement);
  }
  if (const auto* things = std::get_if<DetectAnswer>(&expected)) {
    return compare(*things, std::get<DetectAnswer>(answer), card, agreement);
  }
  return {};  // of tensors nothing is known but their values
}

}  // namespace edge
