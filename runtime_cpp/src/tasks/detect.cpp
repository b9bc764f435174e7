#include "edge/detect.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/text.hpp"
#include "edge/task.hpp"
#include "edge/tiles.hpp"

namespace edge {
namespace {

constexpr double least_area = 1e-12;  // square pixels: two empty boxes have no overlap
// A raw value is compared with the threshold's before exp; what lies so near is computed exactly.
constexpr double margin = 1e-3;
constexpr size_t most_held_runs = 1u << 22;  // of the masks of all tiles: 16 MiB
constexpr size_t block = 1024;               // candidates whose best labels are sought in one go

struct Candidate {
  Box box;  // in pixels of the image, within it
  double score;
  int64_t label;
  const float* coefficients;  // of the mask, each `step` behind the last; null: there are none
  size_t step;
};

/// Scores of candidates: of candidate i and label k values[i · item_step + k · label_step].
struct Scores {
  const float* values;
  size_t count;  // of candidates
  size_t labels;
  size_t item_step;
  size_t label_step;
  Activation activation;
  const float* background = nullptr;    // of candidate 0; it takes part in the softmax
  const float* objectness = nullptr;    // of candidate 0; it multiplies every score
  const float* coefficients = nullptr;  // of candidate 0's mask, as far apart as the labels are
};

double area(const Box& box) {
  return (box.right - box.left) * (box.bottom - box.top);
}

double shared_area(const Box& a, const Box& b) {
  const double width = std::min(a.right, b.right) - std::max(a.left, b.left);
  const double height = std::min(a.bottom, b.bottom) - std::max(a.top, b.top);
  return std::max(width, 0.0) * std::max(height, 0.0);
}

struct Best {
  float value;
  size_t label;
};

double sigmoid(double value) {
  return 1 / (1 + std::exp(-value));
}

double activated(float value, Activation activation) {
  return activation == Activation::none ? static_cast<double>(value)
                                        : sigmoid(static_cast<double>(value));
}

/// Candidates of an image as they come, without those that no detection can be of.
class Collector {
 public:
  Collector(const DetectCard& detect, const Placement& placement)
      : least_score_(detect.score_threshold), placement_(placement) {}

  double least_score() const { return least_score_; }

  /// `box` is in pixels of the input.
  void add(const Box& box, double score, int64_t label, const float* coefficients = nullptr,
           size_t step = 1) {
    if (!(score >= least_score_)) return;
    const Placement& p = placement_;
    const auto within = [](double value, double size) { return std::clamp(value, 0.0, size); };
    const Box placed = {within((box.left - p.left) / p.scale_x, p.width),
                        within((box.top - p.top) / p.scale_y, p.height),
                        within((box.right - p.left) / p.scale_x, p.width),
                        within((box.bottom - p.top) / p.scale_y, p.height)};
    if (placed.right > placed.left && placed.bottom > placed.top) {
      candidates_.push_back({placed, score, label, coefficients, step});
    }
  }

  std::vector<Candidate> take() { return std::move(candidates_); }

 private:
  double least_score_;
  Placement placement_;
  std::vector<Candidate> candidates_;
};

/// The raw value below which no score reaches `score`.
double least_raw(double score, Activation activation) {
  if (activation == Activation::none) return score;
  return std::log(score / (1 - score)) - margin;
}

Best best_label(const Scores& scores, size_t i) {
  const float* values = scores.values + i * scores.item_step;
  Best best = {values[0], 0};
  for (size_t k = 1; k < scores.labels; ++k) {
    const float value = values[k * scores.label_step];
    if (value > best.value) best = {value, k};
  }
  return best;
}

/// The best labels of `count` candidates from `start`: along the memory, whichever way it lies.
void best_labels(const Scores& scores, size_t start, size_t count, Best* best) {
  if (scores.item_step != 1) {
    for (size_t i = 0; i < count; ++i) best[i] = best_label(scores, start + i);
    return;
  }
  for (size_t i = 0; i < count; ++i) best[i] = {scores.values[start + i], 0};
  for (size_t k = 1; k < scores.labels; ++k) {
    const float* values = scores.values + k * scores.label_step + start;
    for (size_t i = 0; i < count; ++i) {
      if (values[i] > best[i].value) best[i] = {values[i], k};
    }
  }
}

/// The share of the best label in the softmax over all labels and the background; less than
/// `least`, where that is sure without exp: 0.
double softmax_share(const Scores& scores, size_t i, const Best& best, double least) {
  const float* background = scores.background;
  float most = best.value;
  if (background != nullptr) most = std::max(most, background[i * scores.item_step]);
  const auto above = [&](float value) {
    return static_cast<double>(value) - static_cast<double>(most);
  };
  if (above(best.value) < std::log(least) - margin) return 0;
  double sum = background != nullptr ? std::exp(above(background[i * scores.item_step])) : 0;
  for (size_t k = 0; k < scores.labels; ++k) {
    sum += std::exp(above(scores.values[i * scores.item_step + k * scores.label_step]));
  }
  return std::exp(above(best.value)) / sum;
}

/// Adds each candidate with its best label; `box_of` gives the box of a candidate that may count.
template <class BoxOf>
void collect(const Scores& scores, const BoxOf& box_of, Collector& collector) {
  const double least = least_raw(collector.least_score(), scores.activation);
  const auto add = [&](size_t i, const Best& best, double factor) {
    const double score = scores.activation == Activation::softmax
                             ? softmax_share(scores, i, best, collector.least_score())
                             : activated(best.value, scores.activation);
    if (factor * score >= collector.least_score()) {
      const float* coefficients = scores.coefficients;
      if (coefficients != nullptr) coefficients += i * scores.item_step;
      collector.add(box_of(i), factor * score, static_cast<int64_t>(best.label), coefficients,
                    scores.label_step);
    }
  };
  if (scores.objectness != nullptr) {  // it ends most candidates: one value of each is read
    for (size_t i = 0; i < scores.count; ++i) {
      const float objectness = scores.objectness[i * scores.item_step];
      if (static_cast<double>(objectness) < least) continue;
      const Best best = best_label(scores, i);
      add(i, best, activated(objectness, scores.activation));
    }
    return;
  }
  Best best[block];
  for (size_t start = 0; start < scores.count; start += block) {
    const size_t count = std::min(block, scores.count - start);
    best_labels(scores, start, count, best);
    for (size_t i = 0; i < count; ++i) {
      const bool may_count =
          scores.activation == Activation::softmax || static_cast<double>(best[i].value) >= least;
      if (may_count) add(start + i, best[i], 1);
    }
  }
}

Box corners(BoxForm form, double a, double b, double c, double d) {
  if (form == BoxForm::cxcywh) return {a - c / 2, b - d / 2, a + c / 2, b + d / 2};
  if (form == BoxForm::yxyx) return {b, a, d, c};
  return {a, b, c, d};
}

/// A table of candidates: number k of candidate i is values[i · item_step + k · step].
struct Table {
  const float* values;
  size_t count;
  size_t item_step;
  size_t step;

  double at(size_t i, size_t k) const {
    return static_cast<double>(values[i * item_step + k * step]);
  }
  Box box(size_t i, BoxForm form) const {
    return corners(form, at(i, 0), at(i, 1), at(i, 2), at(i, 3));
  }
};

Table table(const Tensor& tensor, const DetectOutput& output) {
  const auto rows = static_cast<size_t>(tensor.shape[tensor.shape.size() - 2]);
  const auto columns = static_cast<size_t>(tensor.shape.back());
  const float* values = tensor.values.data();
  return output.channels_first ? Table{values, columns, 1, columns}
                               : Table{values, rows, columns, 1};
}

int64_t whole(double value) {
  return static_cast<int64_t>(std::clamp(std::nearbyint(value), -1.0, 2147483648.0));
}

/// A detector's outputs, by role.
class Reader {
 public:
  Reader(const Card& card, const std::vector<Tensor>& outputs, Collector& collector)
      : card_(card), outputs_(outputs), collector_(collector) {}

  /// Shapes were checked. False: two outputs are not of the same candidates.
  bool read() {
    for (size_t i = 0; i < outputs_.size(); ++i) {
      switch (card_.detect.outputs[i].role) {
        case DetectRole::predictions:
          read_predictions(i);
          break;
        case DetectRole::detections:
          read_detections(i);
          break;
        case DetectRole::boxes:
          if (!read_boxes(i)) return false;
          break;
        case DetectRole::box_distances:
          if (!read_distances(i)) return false;
          break;
        case DetectRole::anchored:
          read_anchored(i);
          break;
        case DetectRole::scores:
        case DetectRole::classes:
        case DetectRole::class_scores:
        case DetectRole::mask_coefficients:
        case DetectRole::prototypes:
          break;  // read with their boxes
      }
    }
    return true;
  }

 private:
  size_t labels() const { return card_.labels.size(); }
  bool has_masks() const { return card_.detect.coefficients > 0; }

  /// The place of the output of this role and stride; the number of outputs if there is none.
  size_t find(DetectRole role, size_t stride = 0) const {
    const auto& all = card_.detect.outputs;
    const auto place = std::find_if(all.begin(), all.end(), [&](const DetectOutput& output) {
      return output.role == role && output.stride == stride;
    });
    return static_cast<size_t>(place - all.begin());
  }

  void read_predictions(size_t i) {
    const DetectOutput& output = card_.detect.outputs[i];
    const Table rows = table(outputs_[i], output);
    const size_t first = output.has_objectness ? 5 : 4;
    Scores scores = {
        rows.values + first * rows.step, rows.count, labels(), rows.item_step, rows.step,
        card_.outputs[i].activation};
    if (output.has_objectness) scores.objectness = rows.values + 4 * rows.step;
    if (has_masks()) scores.coefficients = rows.values + (first + labels()) * rows.step;
    collect(scores, [&](size_t k) { return rows.box(k, BoxForm::cxcywh); }, collector_);
  }

  void read_detections(size_t i) {
    const Table rows = table(outputs_[i], card_.detect.outputs[i]);
    for (size_t k = 0; k < rows.count; ++k) {
      const float* coefficients = has_masks() ? rows.values + k * rows.item_step + 6 : nullptr;
      collector_.add(rows.box(k, BoxForm::xyxy), rows.at(k, 4), whole(rows.at(k, 5)), coefficients);
    }
  }

  bool read_boxes(size_t i) {
    const DetectOutput& output = card_.detect.outputs[i];
    const Table rows = table(outputs_[i], output);
    const double width = output.is_fraction ? card_.width() : 1;
    const double height = output.is_fraction ? card_.height() : 1;
    const auto box_of = [&](size_t k) {
      const Box box = rows.box(k, output.form);
      return Box{box.left * width, box.top * height, box.right * width, box.bottom * height};
    };
    const size_t of_scores = find(DetectRole::scores);
    const size_t of_classes = find(DetectRole::classes);
    return of_classes < outputs_.size() ? read_classes(rows.count, of_scores, of_classes, box_of)
                                        : read_scores(rows.count, of_scores, box_of);
  }

  template <class BoxOf>
  bool read_classes(size_t count, size_t of_scores, size_t of_classes, const BoxOf& box_of) {
    const std::vector<float>& scores = outputs_[of_scores].values;
    const std::vector<float>& classes = outputs_[of_classes].values;
    if (scores.size() != count || classes.size() != count) return false;
    const Background background = card_.detect.outputs[of_classes].background;
    const int64_t first = background == Background::first ? 1 : 0;
    for (size_t k = 0; k < count; ++k) {
      const double score = activated(scores[k], card_.outputs[of_scores].activation);
      collector_.add(box_of(k), score, whole(static_cast<double>(classes[k])) - first);
    }
    return true;
  }

  template <class BoxOf>
  bool read_scores(size_t count, size_t i, const BoxOf& box_of) {
    const DetectOutput& output = card_.detect.outputs[i];
    const Table rows = table(outputs_[i], output);
    if (rows.count != count) return false;
    const size_t first = output.background == Background::first ? 1 : 0;
    Scores scores = {rows.values + first * rows.step, count, labels(), rows.item_step, rows.step,
                     card_.outputs[i].activation};
    if (output.background == Background::first) scores.background = rows.values;
    if (output.background == Background::last) {
      scores.background = rows.values + labels() * rows.step;
    }
    collect(scores, box_of, collector_);
    return true;
  }

  /// YOLOv8: distances from a cell's centre to the box's sides, each the mean of its bins' softmax.
  bool read_distances(size_t i) {
    const size_t stride = card_.detect.outputs[i].stride;
    const size_t of_scores = find(DetectRole::class_scores, stride);
    const std::vector<int64_t>& shape = outputs_[i].shape;
    const size_t rank = shape.size();
    const auto width = static_cast<size_t>(shape[rank - 1]);
    const size_t cells = static_cast<size_t>(shape[rank - 2]) * width;
    const auto bins = static_cast<size_t>(shape[rank - 3]) / 4;
    if (outputs_[of_scores].values.size() != labels() * cells) return false;
    Scores scores = {
        outputs_[of_scores].values.data(), cells, labels(), 1, cells, Activation::sigmoid};
    if (has_masks()) {
      const std::vector<float>& masks =
          outputs_[find(DetectRole::mask_coefficients, stride)].values;
      if (masks.size() != card_.detect.coefficients * cells) return false;
      scores.coefficients = masks.data();
    }
    const float* values = outputs_[i].values.data();
    const auto box_of = [&](size_t k) {
      const double x = static_cast<double>(k % width) + 0.5;
      const double y = static_cast<double>(k / width) + 0.5;
      double sides[4];
      for (size_t side = 0; side < 4; ++side) {
        sides[side] = distance(values + side * bins * cells + k, bins, cells);
      }
      const auto scale = static_cast<double>(stride);
      return Box{(x - sides[0]) * scale, (y - sides[1]) * scale, (x + sides[2]) * scale,
                 (y + sides[3]) * scale};
    };
    collect(scores, box_of, collector_);
    return true;
  }

  static double distance(const float* values, size_t bins, size_t step) {
    if (bins == 1) return static_cast<double>(values[0]);
    float most = values[0];
    for (size_t bin = 1; bin < bins; ++bin) most = std::max(most, values[bin * step]);
    double sum = 0;
    double weighted = 0;
    for (size_t bin = 0; bin < bins; ++bin) {
      const double above = static_cast<double>(values[bin * step]) - static_cast<double>(most);
      const double power = std::exp(above);
      sum += power;
      weighted += power * static_cast<double>(bin);
    }
    return weighted / sum;
  }

  /// YOLOv5: of each anchor x, y, width, height, objectness, scores.
  void read_anchored(size_t i) {
    const DetectOutput& output = card_.detect.outputs[i];
    const std::vector<int64_t>& shape = outputs_[i].shape;
    const auto width = static_cast<size_t>(shape.back());
    const size_t cells = static_cast<size_t>(shape[shape.size() - 2]) * width;
    const auto stride = static_cast<double>(output.stride);
    for (size_t anchor = 0; anchor < output.anchors.size() / 2; ++anchor) {
      const size_t numbers = 5 + labels() + card_.detect.coefficients;
      const float* values = outputs_[i].values.data() + anchor * numbers * cells;
      Scores scores = {values + 5 * cells, cells, labels(), 1, cells, Activation::sigmoid};
      scores.objectness = values + 4 * cells;
      if (has_masks()) scores.coefficients = values + (5 + labels()) * cells;
      const auto box_of = [&](size_t k) {
        const auto at = [&](size_t channel) {
          return sigmoid(static_cast<double>(values[channel * cells + k]));
        };
        const double x = (2 * at(0) - 0.5 + static_cast<double>(k % width)) * stride;
        const double y = (2 * at(1) - 0.5 + static_cast<double>(k / width)) * stride;
        const double w = 4 * at(2) * at(2) * output.anchors[2 * anchor];
        const double h = 4 * at(3) * at(3) * output.anchors[2 * anchor + 1];
        return corners(BoxForm::cxcywh, x, y, w, h);
      };
      collect(scores, box_of, collector_);
    }
  }

  const Card& card_;
  const std::vector<Tensor>& outputs_;
  Collector& collector_;
};

/// The best first; greedy non-maximum suppression where the card asks for it.
std::vector<Candidate> choose(std::vector<Candidate> candidates, const DetectCard& detect) {
  std::stable_sort(candidates.begin(), candidates.end(),
                   [](const Candidate& a, const Candidate& b) { return a.score > b.score; });
  std::vector<Candidate> best;
  for (const Candidate& candidate : candidates) {
    if (best.size() == detect.max_detections) break;
    const auto suppresses = [&](const Candidate& better) {
      return (detect.is_class_agnostic || better.label == candidate.label) &&
             overlap(better.box, candidate.box) > detect.iou_threshold;
    };
    if (detect.nms && std::any_of(best.begin(), best.end(), suppresses)) continue;
    best.push_back(candidate);
  }
  return best;
}

/// The pixels of detections on the map of one image or tile: those of a detection's box where the
/// sum of the prototypes is above 0.
class MaskReader {
 public:
  MaskReader(const Card& card, const Tensor& prototypes, const Placement& placement)
      : prototypes_(prototypes.values.data()),
        window_(window_of(prototypes.shape, card, placement)),
        width_(static_cast<size_t>(prototypes.shape.back())),
        plane_(width_ * static_cast<size_t>(prototypes.shape[prototypes.shape.size() - 2])),
        count_(card.detect.coefficients) {}

  const MapWindow& window() const { return window_; }

  bool has(const Candidate& candidate, size_t row, size_t column) const {
    const Box& box = candidate.box;
    const double x = window_.columns.middle(column);
    const double y = window_.rows.middle(row);
    if (!(x >= box.left && x < box.right && y >= box.top && y < box.bottom)) return false;
    const float* value = prototypes_ + window_.at(row, column, width_);
    double sum = 0;
    for (size_t k = 0; k < count_; ++k) {
      sum += static_cast<double>(candidate.coefficients[k * candidate.step]) *
             static_cast<double>(value[k * plane_]);
    }
    return sum > 0;
  }

 private:
  const float* prototypes_;
  MapWindow window_;
  size_t width_;  // of a row of the map
  size_t plane_;
  size_t count_;
};

ThingMasks empty_masks(const Card& card, const MapWindow& window) {
  ThingMasks masks;
  masks.height = window.rows.size();
  masks.width = window.columns.size();
  masks.region = region_told(card, window);
  return masks;
}

double share_of(const std::vector<bool>& pixels) {
  return static_cast<double>(std::count(pixels.begin(), pixels.end(), true)) /
         static_cast<double>(pixels.size());
}

ThingMasks masks_of(const Card& card, const MaskReader& reader,
                    const std::vector<Candidate>& best) {
  ThingMasks masks = empty_masks(card, reader.window());
  std::vector<std::vector<bool>> united(card.labels.size());
  for (const Candidate& candidate : best) {
    std::vector<bool>& pixels = united[static_cast<size_t>(candidate.label)];
    pixels.resize(masks.height * masks.width);
    masks.things.push_back(make_mask(masks.height, masks.width, [&](size_t row, size_t column) {
      const bool has = reader.has(candidate, row, column);
      if (has) pixels[row * masks.width + column] = true;
      return has;
    }));
  }
  for (const std::vector<bool>& pixels : united) {
    masks.areas.push_back(pixels.empty() ? -1 : share_of(pixels));
  }
  return masks;
}

Error bad_output(const Card& card, const std::string& problem) {
  return {Exit::model, "model_mismatch", card.file_name, problem,
          "use the card that was made with the model"};
}

/// The detections of one image or tile, the best first, their shapes and labels checked.
Result<std::vector<Candidate>> best_candidates(const Card& card, const std::vector<Tensor>& outputs,
                                               const Placement& placement) {
  for (size_t i = 0; i < outputs.size(); ++i) {
    const std::string problem = shape_problem(card.detect, i, card.labels.size(), outputs[i].shape);
    if (!problem.empty())
      return bad_output(card, "output " + card.outputs[i].name + ": " + problem);
  }
  Collector collector(card.detect, placement);
  if (!Reader(card, outputs, collector).read()) {
    return bad_output(card, "its outputs have different numbers of candidates");
  }
  std::vector<Candidate> best = choose(collector.take(), card.detect);
  for (const Candidate& candidate : best) {
    if (candidate.label < 0 || candidate.label >= static_cast<int64_t>(card.labels.size())) {
      return bad_output(card, format("answers with class %lld, its card has %zu labels",
                                     static_cast<long long>(candidate.label), card.labels.size()));
    }
  }
  return best;
}

Detection detection_of(const Candidate& candidate) {
  return {static_cast<size_t>(candidate.label), candidate.score, candidate.box};
}

/// The detections of all tiles, without those that another tile has a better one of.
class DetectionMerger : public TileMerger {
 public:
  DetectionMerger(const Card& card, const TilePlan& plan) : card_(card), plan_(plan) {}

  std::optional<Error> add(const std::vector<Tensor>& outputs,
                           const Placement& placement) override {
    const auto best = best_candidates(card_, outputs, placement);
    if (!best) return best.error();
    for (const Candidate& candidate : *best) all_.push_back({detection_of(candidate), tile_, {}});
    const auto place = output_of(card_, "prototypes");
    auto error =
        place ? add_masks(MaskReader(card_, outputs[*place], placement), *best) : std::nullopt;
    ++tile_;
    return error;
  }

  Answer answer() override {
    std::stable_sort(all_.begin(), all_.end(), [](const TileDetection& a, const TileDetection& b) {
      return a.detection.score > b.detection.score;
    });
    std::vector<const TileDetection*> best;
    for (const TileDetection& candidate : all_) {
      if (best.size() == card_.detect.max_detections) break;
      const bool is_known = std::any_of(best.begin(), best.end(), [&](const TileDetection* better) {
        return is_one_thing(*better, candidate);
      });
      if (!is_known) best.push_back(&candidate);
    }
    DetectAnswer answer;
    for (const TileDetection* survivor : best) answer.detections.push_back(survivor->detection);
    if (stitching_) answer.masks = stitched_masks(best);
    return answer;
  }

 private:
  struct TileDetection {
    Detection detection;
    size_t tile;
    Mask mask;  // on the map over all tiles
  };

  /// Places the masks of the tile's detections, the last of `all_`, on the map over all tiles.
  std::optional<Error> add_masks(const MaskReader& reader, const std::vector<Candidate>& best) {
    if (!stitching_) {
      stitching_.emplace(plan_, reader.window());
      if (auto error = stitching_->fault()) return error;
    }
    const MapWindow& whole = stitching_->window();
    const auto [rows, columns] = stitching_->covered(tile_);
    std::vector<size_t> places;  // of the rows, in the tile's map
    for (size_t row = rows.first; row < rows.end; ++row) {
      places.push_back(reader.window().rows.place_of(whole.rows.centre(row)));
    }
    const size_t height = whole.rows.size();
    TileDetection* detection = all_.data() + (all_.size() - best.size());
    for (const Candidate& candidate : best) {
      Runs runs(most_held_runs);
      runs.add(false, columns.first * height);
      for (size_t column = columns.first; column < columns.end; ++column) {
        const size_t across = reader.window().columns.place_of(whole.columns.centre(column));
        runs.add(false, rows.first);
        for (const size_t row : places) runs.add(reader.has(candidate, row, across), 1);
        runs.add(false, height - rows.end);
      }
      runs.add(false, (whole.columns.size() - columns.end) * height);
      detection->mask = runs.mask(height, whole.columns.size());
      held_runs_ += detection->mask.runs.size();
      if (held_runs_ > most_held_runs) return too_ragged();
      ++detection;
    }
    return std::nullopt;
  }

  Error too_ragged() const {
    return {Exit::image, "image_too_large",
            format("%zu x %zu pixels", plan_.region.width, plan_.region.height),
            format("has masks of more than %zu runs over all tiles", most_held_runs),
            "raise detect.score_threshold in the card, or state larger tiles"};
  }

  ThingMasks stitched_masks(const std::vector<const TileDetection*>& best) const {
    ThingMasks masks = empty_masks(card_, stitching_->window());
    for (const TileDetection* survivor : best) masks.things.push_back(told(survivor->mask));
    for (size_t label = 0; label < card_.labels.size(); ++label) {
      std::vector<bool> pixels;  // of one label at a time: the map may be large
      for (const TileDetection* survivor : best) {
        if (survivor->detection.label != label) continue;
        pixels.resize(masks.height * masks.width);
        size_t pixel = 0;
        bool is_set = false;
        for (const uint32_t run : survivor->mask.runs) {
          if (is_set) std::fill_n(pixels.begin() + static_cast<ptrdiff_t>(pixel), run, true);
          pixel += run;
          is_set = !is_set;
        }
      }
      masks.areas.push_back(pixels.empty() ? -1 : share_of(pixels));
    }
    return masks;
  }

  bool is_one_thing(const TileDetection& a, const TileDetection& b) const {
    const bool is_same_class =
        card_.detect.is_class_agnostic || a.detection.label == b.detection.label;
    if (a.tile == b.tile || !is_same_class) return false;
    const Box& first = a.detection.box;
    const Box& second = b.detection.box;
    const double share =
        card_.tiling->merge_by_smaller
            ? shared_area(first, second) / std::max(std::min(area(first), area(second)), least_area)
            : overlap(first, second);
    return share > card_.tiling->merge_threshold;
  }

  const Card& card_;
  const TilePlan& plan_;
  std::vector<TileDetection> all_;
  std::optional<Stitching> stitching_;  // of a network with prototypes
  size_t held_runs_ = 0;
  size_t tile_ = 0;
};

std::string words(const Detection& detection, const Card& card) {
  const Box& box = detection.box;
  return format("%s %.2f at [%.1f, %.1f, %.1f, %.1f]", card.labels[detection.label].c_str(),
                detection.score, box.left, box.top, box.right - box.left, box.bottom - box.top);
}

/// The score from which a detection cannot have been left out for a small difference.
double sure_score(const DetectAnswer& a, const DetectAnswer& b, const DetectCard& detect,
                  double tolerance) {
  double border = detect.score_threshold;
  for (const DetectAnswer* answer : {&a, &b}) {
    const bool is_full = answer->detections.size() == detect.max_detections;
    if (is_full) border = std::max(border, answer->detections.back().score);
  }
  return border + tolerance;
}

}  // namespace

double overlap(const Box& a, const Box& b) {
  return shared_area(a, b) / std::max(area(a) + area(b) - shared_area(a, b), least_area);
}

std::unique_ptr<TileMerger> merge_detections(const Card& card, const TilePlan& plan) {
  return std::make_unique<DetectionMerger>(card, plan);
}

Result<DetectAnswer> detect(const Card& card, const std::vector<Tensor>& outputs,
                            const Placement& placement) {
  const auto best = best_candidates(card, outputs, placement);
  if (!best) return best.error();
  DetectAnswer answer;
  for (const Candidate& candidate : *best) answer.detections.push_back(detection_of(candidate));
  if (const auto place = output_of(card, "prototypes")) {
    answer.masks = masks_of(card, MaskReader(card, outputs[*place], placement), *best);
  }
  return answer;
}

DetectAnswer read_detections(Fields fields, const Card& card) {
  constexpr uint64_t max_side = 1u << 24;  // of a map over all tiles
  DetectAnswer answer;
  if (card.detect.coefficients > 0) {
    Fields size = fields.object("masks");
    answer.masks.emplace();
    answer.masks->width = static_cast<size_t>(size.whole("width", 1, max_side));
    answer.masks->height = static_cast<size_t>(size.whole("height", 1, max_side));
    for (Fields& area : size.objects("areas")) answer.masks->areas.push_back(area.number("area"));
  }
  for (Fields& entry : fields.objects("detections")) {
    Detection detection;
    const std::string label = entry.text("class");
    const auto place = std::find(card.labels.begin(), card.labels.end(), label);
    detection.label = static_cast<size_t>(place - card.labels.begin());
    if (place == card.labels.end()) {
      entry.reject("class", "is no label of the card: " + label);
      continue;
    }
    detection.score = entry.number("score");
    const std::vector<double> box = entry.numbers("box");
    if (box.size() != 4) {
      entry.reject("box", "expected x, y, width, height");
      continue;
    }
    detection.box = {box[0], box[1], box[0] + box[2], box[1] + box[3]};
    if (answer.masks) {
      std::optional<Mask> mask = Mask{answer.masks->height, answer.masks->width, {}, true, 0};
      if (entry.has("mask")) {
        mask = decode(entry.text("mask"), answer.masks->height, answer.masks->width);
      }
      if (!mask) {
        entry.reject("mask", "is no mask of the answer's size");
        continue;
      }
      answer.masks->things.push_back(std::move(*mask));
    }
    answer.detections.push_back(detection);
  }
  return answer;
}

void set(Json entry, const DetectAnswer& answer, const Card& card) {
  Json list = entry.list("detections");
  size_t place = 0;  // of the mask
  for (const Detection& detection : answer.detections) {
    const Box& box = detection.box;
    Json item = list.append();
    item.set("class", card.labels[detection.label]);
    item.set("score", round_probabilities({detection.score})[0]);
    std::vector<double> numbers = {box.left, box.top, box.right - box.left, box.bottom - box.top};
    for (double& number : numbers) number = std::round(number * 1000) / 1000;
    item.set("box", numbers);
    if (!answer.masks) continue;
    const Mask& mask = answer.masks->things[place++];
    item.set("area", round_millionths(static_cast<double>(mask.area) /
                                      static_cast<double>(mask.height * mask.width)));
    if (!mask.is_ragged) item.set("mask", encode(mask));
  }
  if (!answer.masks) return;
  Json masks = entry.object("masks");
  masks.set("width", static_cast<uint64_t>(answer.masks->width));
  masks.set("height", static_cast<uint64_t>(answer.masks->height));
  if (answer.masks->region) masks.set("region", numbers_of(*answer.masks->region));
  Json areas = masks.list("areas");
  for (size_t label = 0; label < answer.masks->areas.size(); ++label) {
    if (answer.masks->areas[label] < 0) continue;
    Json area = areas.append();
    area.set("class", card.labels[label]);
    area.set("area", round_millionths(answer.masks->areas[label]));
  }
}

Comparison compare(const DetectAnswer& expected, const DetectAnswer& answer, const Card& card,
                   const Agreement& agreement) {
  Comparison comparison;
  if (expected.masks && answer.masks &&
      (expected.masks->width != answer.masks->width ||
       expected.masks->height != answer.masks->height)) {
    comparison.problems.push_back("masks are of another size than expected");
    return comparison;
  }
  size_t place = 0;  // of the mask that is expected
  const double sure = sure_score(expected, answer, card.detect, agreement.tolerance);
  std::vector<bool> is_matched(answer.detections.size(), false);
  for (const Detection& wanted : expected.detections) {
    const size_t thing = place++;
    double most = agreement.overlap;
    size_t match = answer.detections.size();
    for (size_t i = 0; i < answer.detections.size(); ++i) {
      const Detection& found = answer.detections[i];
      const bool may_match = !is_matched[i] && found.label == wanted.label &&
                             std::fabs(found.score - wanted.score) <= agreement.tolerance;
      if (!may_match) continue;
      const double share = overlap(wanted.box, found.box);
      if (share > most || (match == answer.detections.size() && share == most)) {
        most = share;
        match = i;
      }
    }
    if (match < answer.detections.size()) {
      is_matched[match] = true;
      comparison.difference =
          std::max(comparison.difference, std::fabs(answer.detections[match].score - wanted.score));
      if (!expected.masks || !answer.masks || wanted.score < sure) continue;
      const std::string problem =
          mask_problem(expected.masks->things[thing], answer.masks->things[match], agreement);
      if (!problem.empty()) comparison.problems.push_back(words(wanted, card) + ": " + problem);
    } else if (wanted.score >= sure) {
      comparison.problems.push_back("expected " + words(wanted, card) + ", not found");
    }
  }
  for (size_t i = 0; i < answer.detections.size(); ++i) {
    if (!is_matched[i] && answer.detections[i].score >= sure) {
      comparison.problems.push_back("found " + words(answer.detections[i], card) +
                                    ", not expected");
    }
  }
  return comparison;
}

}  // namespace edge
