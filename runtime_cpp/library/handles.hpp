#pragma once

#include <memory>
#include <new>
#include <optional>
#include <string>
#include <vector>

#include "common/result.hpp"
#include "edge/edge.h"
#include "edge/preprocess.hpp"
#include "edge/task.hpp"
#include "edge/tiles.hpp"

// What the handles of edge.h hold. Sources here are the only ones that are compiled for nothing but
// libedge: with exceptions, so that a lack of memory unwinds to `guarded` and no further.

struct edge_card {
  std::shared_ptr<const edge::Card> card;  // shared with the images that are made by it
  std::vector<edge_tensor_info> inputs;
  std::vector<edge_tensor_info> outputs;
};

struct edge_image {
  std::shared_ptr<const edge::Card> card;
  edge::Input input;                         // of tiles, the frame
  std::optional<edge::TilePlan> plan;        // none: the image is one tile
  std::unique_ptr<edge::TileMerger> merger;  // of tiles; none after one that it could not take
  size_t done = 0;                           // tiles whose outputs have come
  std::optional<edge::Answer> answer;        // once they all have
};

struct edge_result {
  std::shared_ptr<const edge::Card> card;  // whose labels the answer is of
  edge::Answer answer;
  std::string json;
  std::optional<edge_classification> classification;
  std::optional<edge_anomaly> anomaly;
  std::vector<edge_detection> detections;
};

namespace edge {

/// An error that the caller frees.
edge_error* handed(const Error& error);
edge_error* argument_error(const char* subject, const std::string& problem);
edge_error* no_memory();
edge_error* unexpected();

/// What is wrong with outputs of a card's network; nothing if they can be read as such.
std::optional<Error> outputs_fault(const Card& card, const edge_tensor* outputs, size_t count);
std::vector<Tensor> tensors_of(const Card& card, const edge_tensor* outputs);
std::unique_ptr<edge_result> make_result(std::shared_ptr<const Card> card, Answer answer);

/// Calls a function that returns an error or null; a lack of memory is one, too.
template <class Function>
edge_error* guarded(Function function) noexcept {
  try {
    return function();
  } catch (const std::bad_alloc&) {
    return no_memory();
  } catch (...) {
    return unexpected();
  }
}

}  // namespace edge
