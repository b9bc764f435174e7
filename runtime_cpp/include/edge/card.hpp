#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/result.hpp"
#include "edge/detect.hpp"
#include "edge/placement.hpp"

namespace edge {

/// How pixels become the network's input values.
struct Normalize {
  bool per_image = false;    // else with the mean and deviation below
  double epsilon = 0;        // per_image: smallest deviation, as a share of 255
  std::vector<double> mean;  // one for each channel, of values in 0..1
  std::vector<double> std;   // one for each channel, of values in 0..1
};

/// Which planes the network takes, in which order.
enum class Color { gray, rgb, bgr };

/// Pillow's BILINEAR and BICUBIC, which widen when they shrink; OpenCV's INTER_LINEAR, which does
/// not.
enum class Filter { triangle, bicubic, bilinear };

/// How the picture's proportions are brought to the input's.
struct Fit {
  enum class Kind { stretch, center_crop, letterbox };
  Kind kind = Kind::stretch;
  size_t height = 0;          // stretch: to this size, of which the middle is kept; 0: the input's
  size_t width = 0;           // stretch: as height
  size_t resize_shorter = 0;  // center_crop: what the shorter side becomes
  float pad_value = 0;        // letterbox: of the border, 0 to 255
};

/// A part of the upright picture, as a card states it.
struct CardRegion {
  bool is_fraction = false;  // of the picture's width and height, else pixels
  double x = 0;
  double y = 0;
  double width = 0;
  double height = 0;

  /// In pixels of an upright picture of this size; it may reach beyond, unless in fractions.
  Region of(size_t picture_width, size_t picture_height) const;
};

/// How a picture is cut into tiles of one size, which the network sees one after the other.
struct Tiling {
  size_t height = 0;  // of a tile, in pixels of the upright picture
  size_t width = 0;
  size_t overlap = 0;            // pixels that neighbours share at least
  bool merge_by_smaller = true;  // of boxes: the intersection is divided by the smaller, else union
  double merge_threshold = 0.5;  // of two boxes of different tiles, above which one thing has both
};

/// From pixels to the network's input.
struct Preprocess {
  Color color = Color::gray;
  Filter filter = Filter::triangle;
  Fit fit;
  std::optional<CardRegion> roi;  // all else is as if the picture were this part alone
  int significant_bits = 0;       // of samples with 16 bits; 0: not said
  bool is_jpeg_scaled = false;    // decoded at 1/2, 1/4 or 1/8 where that is large enough
  Normalize normalize;
};

/// What turns the network's outputs into probabilities.
enum class Activation { softmax, sigmoid, none };

/// What a network is for; it decides what its outputs mean.
enum class TaskKind { classify, tensor, anomaly, segment, detect };

/// One input or output of the network.
struct TensorCard {
  std::string name = {};
  std::vector<int64_t> shape = {};  // -1 where it is open
  std::string role = {};            // what an output means to its task
  Activation activation = Activation::none;
  double temperature = 1;  // that a classifier's values are divided by before the activation
};

/// An image has the label from this probability on; below it the likeliest of the others.
struct Decision {
  size_t label = 0;
  double threshold = 0;
};

/// In units of the score and of the map, after their activation and before normalization.
struct AnomalySettings {
  double threshold = 0;      // of the score; what reaches it is anomalous
  double map_threshold = 0;  // of the map
  double span = 0;           // scores so far apart are 1 apart in an answer; 0: as they are
};

struct SegmentSettings {
  std::optional<double> threshold;   // from which a pixel has a label; none: the likeliest has it
  std::optional<size_t> background;  // a label that no answer tells of
};

/// What `card.json` says of a model; docs/formats.md is the contract.
struct Card {
  TaskKind task = TaskKind::classify;
  std::string name;                  // of the model
  std::vector<std::string> labels;   // of the classes; none where the task has no classes
  std::vector<TensorCard> inputs;    // of an image one: 1, channels, height, width
  std::vector<TensorCard> outputs;   // in the order in which the task reads them
  DetectCard detect;                 // of a detector
  Preprocess preprocess;             // of the image, where the task takes one
  std::optional<Tiling> tiling;      // of the image; none: it is one tile
  std::optional<Decision> decision;  // of a classifier; none: the likeliest label is the answer
  AnomalySettings anomaly;           // of that task alone
  SegmentSettings segment;           // of that task alone
  std::string file_name;             // of the model that the card belongs to
  uint64_t file_bytes = 0;           // of that file
  std::string file_sha256;           // of its content

  // Of the image, where the task takes one.
  int channels() const { return static_cast<int>(inputs[0].shape[1]); }
  int height() const { return static_cast<int>(inputs[0].shape[2]); }
  int width() const { return static_cast<int>(inputs[0].shape[3]); }
  bool takes_gray() const { return preprocess.color == Color::gray; }
  size_t values() const;  // of all inputs
};

/// Number of values of a shape; 0 where a size is open.
size_t count_values(const std::vector<int64_t>& shape);

class Fields;
/// How the input of a card is made of an image; `shape` is 1, channels, height, width.
Preprocess read_preprocess(Fields fields, int schema, const std::vector<int64_t>& shape);
/// How images are cut into tiles, which `fit` shows whole.
Tiling read_tiling(Fields fields, TaskKind task, const Preprocess& preprocess);

/// All defects of a card are told at once.
Result<Card> load_card(const std::string& path);

/// Of text that is in memory; `name` is for messages.
Result<Card> parse_card(const std::string& name, const char* text, size_t size);

}  // namespace edge
