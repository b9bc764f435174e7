#include "edge/card.hpp"

#include "common/text.hpp"
#include "edge/fields.hpp"
#include "library/handles.hpp"

using namespace edge;

namespace {

std::vector<edge_tensor_info> infos_of(const std::vector<TensorCard>& tensors) {
  std::vector<edge_tensor_info> infos;
  for (const TensorCard& tensor : tensors) {
    infos.push_back({tensor.name.c_str(), tensor.shape.data(), tensor.shape.size(),
                     count_values(tensor.shape)});
  }
  return infos;
}

edge_error* hand_out(Result<Card> card, edge_card** out) {
  if (!card) return handed(card.error());
  auto handle = std::make_unique<edge_card>();
  handle->card = std::make_shared<const Card>(std::move(*card));
  handle->inputs = infos_of(handle->card->inputs);
  handle->outputs = infos_of(handle->card->outputs);
  *out = handle.release();
  return nullptr;
}

}  // namespace

edge_error* edge_card_read(const char* path, edge_card** card) {
  return guarded([&] {
    if (card != nullptr) *card = nullptr;
    if (path == nullptr || card == nullptr) return argument_error("edge_card_read", "got NULL");
    return hand_out(load_card(path), card);
  });
}

edge_error* edge_card_parse(const char* json, size_t size, edge_card** card) {
  return guarded([&] {
    if (card != nullptr) *card = nullptr;
    if (json == nullptr || card == nullptr) return argument_error("edge_card_parse", "got NULL");
    if (size > max_json_bytes) {
      return argument_error("edge_card_parse",
                            format("got %zu bytes, at most %zu are read", size, max_json_bytes));
    }
    return hand_out(parse_card("card", json, size), card);
  });
}

void edge_card_free(edge_card* card) {
  delete card;
}

edge_task edge_card_task(const edge_card* card) {
  if (card == nullptr) return EDGE_TASK_CLASSIFY;
  switch (card->card->task) {
    case TaskKind::tensor:
      return EDGE_TASK_TENSOR;
    case TaskKind::anomaly:
      return EDGE_TASK_ANOMALY;
    case TaskKind::segment:
      return EDGE_TASK_SEGMENT;
    case TaskKind::detect:
      return EDGE_TASK_DETECT;
    default:
      return EDGE_TASK_CLASSIFY;
  }
}

const char* edge_card_name(const edge_card* card) {
  return card != nullptr ? card->card->name.c_str() : nullptr;
}

size_t edge_card_label_count(const edge_card* card) {
  return card != nullptr ? card->card->labels.size() : 0;
}

const char* edge_card_label(const edge_card* card, size_t index) {
  if (index >= edge_card_label_count(card)) return nullptr;
  return card->card->labels[index].c_str();
}

size_t edge_card_input_count(const edge_card* card) {
  return card != nullptr ? card->inputs.size() : 0;
}

size_t edge_card_output_count(const edge_card* card) {
  return card != nullptr ? card->outputs.size() : 0;
}

const edge_tensor_info* edge_card_input(const edge_card* card, size_t index) {
  return index < edge_card_input_count(card) ? &card->inputs[index] : nullptr;
}

const edge_tensor_info* edge_card_output(const edge_card* card, size_t index) {
  return index < edge_card_output_count(card) ? &card->outputs[index] : nullptr;
}
