#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "common/document.hpp"
#include "edge/card.hpp"
#include "edge/fields.hpp"
#include "edge/mask.hpp"
#include "edge/placement.hpp"
#include "edge/tensor.hpp"

namespace edge {

/// How far an answer may be from the one that is expected.
struct Agreement {
  double tolerance = 0;  // largest absolute difference of a probability or a score
  double overlap = 0;    // least intersection over union of two boxes, or of two masks
};

/// What is expected and did not come, in words; none: the answers agree.
struct Comparison {
  double difference = 0;  // the largest of all that is compared by `tolerance`
  std::vector<std::string> problems;
};

// A task is a type of answer with four functions. `read_…` and `set` are the same JSON, in and out:
// a golden case holds an answer.

/// How probable each class is.
struct ClassAnswer {
  size_t index = 0;  // of the likeliest
  std::vector<double> probabilities;
};
ClassAnswer classify(const Card& card, const std::vector<Tensor>& outputs);
ClassAnswer read_class(Fields fields, const Card& card);
void set(Json entry, const ClassAnswer& answer, const Card& card);
Comparison compare(const ClassAnswer& expected, const ClassAnswer& answer, const Card& card,
                   const Agreement& agreement);

/// Of a network with prototypes: which pixels things have.
struct ThingMasks {
  size_t height = 0;
  size_t width = 0;
  std::optional<Region> region;  // of the image that they are of; none: all of it
  std::vector<Mask> things;      // in the order of the detections
  std::vector<double> areas;  // of each label, share of the pixels that its things have; -1: none
};

/// Things and where they are, the best first; of equals, the one that the network names first.
struct DetectAnswer {
  std::vector<Detection> detections;
  std::optional<ThingMasks> masks = std::nullopt;
};
Result<DetectAnswer> detect(const Card& card, const std::vector<Tensor>& outputs,
                            const Placement& placement);
DetectAnswer read_detections(Fields fields, const Card& card);
void set(Json entry, const DetectAnswer& answer, const Card& card);
Comparison compare(const DetectAnswer& expected, const DetectAnswer& answer, const Card& card,
                   const Agreement& agreement);

/// The outputs themselves, for whoever knows what they mean. A golden case has samples of them.
struct TensorAnswer {
  std::vector<Tensor> tensors;
};
void set(Json entry, const TensorAnswer& answer, const Card& card);

/// How unlike the images it was made of an image is, and where.
struct AnomalyAnswer {
  bool is_anomalous = false;
  double score = 0;  // normalized, if the card has a normalization
  bool has_map = false;
  std::optional<Region> region;  // of the image that the map is of; none: all of it
  double peak_x = 0;             // of the map's largest value, in pixels of the image
  double peak_y = 0;
  double area = 0;  // share of the map that reaches its threshold
  Mask mask;        // what reaches it
};
void read_anomaly_card(Fields top, Card& card);
AnomalyAnswer find_anomaly(const Card& card, const std::vector<Tensor>& outputs,
                           const Placement& placement);
AnomalyAnswer read_anomaly(Fields fields, const Card& card);
void set(Json entry, const AnomalyAnswer& answer, const Card& card);
Comparison compare(const AnomalyAnswer& expected, const AnomalyAnswer& answer, const Card& card,
                   const Agreement& agreement);

/// The pixels of one label.
struct Segment {
  size_t label = 0;
  double left = 0;  // of its box, in pixels of the image
  double top = 0;
  double right = 0;
  double bottom = 0;
  Mask mask;
};

/// Which pixels of an image have which label; labels without any do not occur.
struct SegmentAnswer {
  size_t height = 0;  // of the masks
  size_t width = 0;
  std::optional<Region> region;   // of the image that they are of; none: all of it
  std::vector<Segment> segments;  // in the order of the card's labels
};
void read_segment_card(Fields top, Card& card);
SegmentAnswer segment(const Card& card, const std::vector<Tensor>& outputs,
                      const Placement& placement);
SegmentAnswer read_segments(Fields fields, const Card& card);
void set(Json entry, const SegmentAnswer& answer, const Card& card);
Comparison compare(const SegmentAnswer& expected, const SegmentAnswer& answer, const Card& card,
                   const Agreement& agreement);

/// What is wrong with a mask; empty: they agree. Both are of one size.
std::string mask_problem(const Mask& expected, const Mask& found, const Agreement& agreement);

using Answer = std::variant<ClassAnswer, TensorAnswer, AnomalyAnswer, SegmentAnswer, DetectAnswer>;

/// Notes each output of another role than these, or of one that comes twice.
void check_roles(Fields top, const Card& card, const std::vector<std::string>& roles);

/// Index of the output of a role; none: there is none.
std::optional<size_t> output_of(const Card& card, const char* role);

/// The part of the image that a map is of, where an answer tells it: a card's region.
std::optional<Region> region_told(const Card& card, const MapWindow& window);

/// x, y, width, height, as an answer has them.
std::vector<int64_t> numbers_of(const Region& region);

/// Whether a tensor is a single value.
bool is_value(const std::vector<int64_t>& shape);

/// Whether a tensor is one value for each pixel: [1, height, width] or [1, 1, height, width].
bool is_plane(const std::vector<int64_t>& shape);

/// What the card's task makes of a network's outputs. Of a size that is open in the card, and of
/// values, the network may make what its task cannot read: that is the model's fault.
Result<Answer> make_answer(const Card& card, std::vector<Tensor> outputs,
                           const Placement& placement);
Answer read_answer(Fields fields, const Card& card);
void set_answer(Json entry, const Answer& answer, const Card& card);
/// Both are of the card's task.
Comparison compare_answers(const Answer& expected, const Answer& answer, const Card& card,
                           const Agreement& agreement);

}  // namespace edge
