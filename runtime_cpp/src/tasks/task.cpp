#include "edge/task.hpp"

namespace edge {

Result<Answer> make_answer(const Card& card, std::vector<Tensor> outputs, const Placement&) {
  if (card.task == TaskKind::tensor) return Answer(TensorAnswer{std::move(outputs)});
  return Answer(classify(card, outputs));
}

Answer read_answer(Fields fields, const Card& card) {
  if (card.task == TaskKind::tensor) return TensorAnswer{};
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
  return {};  // of tensors nothing is known but their values
}

}  // namespace edge
