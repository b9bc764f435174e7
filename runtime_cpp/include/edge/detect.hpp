#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "edge/fields.hpp"

namespace edge {

/// What an output of a detector holds; docs/formats.md has the layout of each.
enum class DetectRole {
  predictions,
  detections,
  boxes,
  scores,
  classes,
  box_distances,
  class_scores,
  anchored,
  mask_coefficients,
  prototypes
};

/// How four numbers are a box.
enum class BoxForm { xyxy, cxcywh, yxyx };

/// Which class of a network is no label.
enum class Background { none, first, last };

/// What the card of a detector says of one output, beside what the cards of all tasks say. Each
/// role has its own of these.
struct DetectOutput {
  DetectRole role = DetectRole::predictions;
  bool channels_first = false;  // the numbers of a candidate lie along the first axis
  bool has_objectness = false;
  BoxForm form = BoxForm::xyxy;
  bool is_fraction = false;  // boxes are in fractions of the input, else in its pixels
  Background background = Background::none;
  size_t stride = 0;                 // pixels of the input to a cell of the head
  std::vector<double> anchors = {};  // width, height, width, …, in pixels of the input
};

/// The card's part `detect`, and its outputs in their order.
struct DetectCard {
  double score_threshold = 0.25;
  bool nms = true;
  double iou_threshold = 0.45;
  bool is_class_agnostic = false;
  size_t max_detections = 100;
  size_t coefficients = 0;  // of a mask; 0: there are no prototypes
  std::vector<DetectOutput> outputs = {};
};

struct TensorCard;
struct Card;

/// What a detector's card has more than others; `outputs` are those that `top` has.
DetectCard read_detect(Fields top, const std::vector<TensorCard>& outputs, size_t labels);

/// Why the card's output `index` cannot have this shape, in which -1 is not known; empty: it can.
std::string shape_problem(const DetectCard& detect, size_t index, size_t labels,
                          const std::vector<int64_t>& shape);

/// Corners, in pixels.
struct Box {
  double left, top, right, bottom;
};

/// Intersection over union.
double overlap(const Box& a, const Box& b);

/// A thing and where it is, in pixels of the upright image.
struct Detection {
  size_t label = 0;  // index among the card's
  double score = 0;
  Box box = {};
};

}  // namespace edge
