#include <algorithm>
#include <cmath>

#include "common/text.hpp"
#include "edge/card.hpp"
#include "edge/fields.hpp"

namespace edge {
namespace {

constexpr uint64_t max_side = 4096;  // pixels of what a picture is resized to
constexpr uint64_t max_picture_side = 16384;
constexpr char not_seen_whole[] = "scaled is for images that are seen whole: no roi, no tiling";

/// One of the words of a field, by its place in the list; the first where it is none of them.
size_t read_word(Fields& fields, const char* key, const std::vector<std::string>& words) {
  const std::string found = fields.text(key);
  const auto word = std::find(words.begin(), words.end(), found);
  if (word != words.end()) return static_cast<size_t>(word - words.begin());
  if (found.empty()) return 0;  // told already
  std::string expected = words.front();
  for (size_t i = 1; i < words.size(); ++i) {
    expected += (i + 1 < words.size() ? ", " : " or ") + words[i];
  }
  fields.reject(key, "expected " + expected + ", found " + found);
  return 0;
}

Color read_color(Fields& preprocess, int64_t channels) {
  const auto color = static_cast<Color>(read_word(preprocess, "color", {"gray", "rgb", "bgr"}));
  const std::string name = preprocess.text("color");
  if (!name.empty() && channels != (color == Color::gray ? 1 : 3)) {
    preprocess.reject(
        "color", format("%s does not fit %d channels", name.c_str(), static_cast<int>(channels)));
  }
  return color;
}

std::vector<double> read_per_channel(Fields& normalize, const char* key, size_t channels) {
  auto values = normalize.numbers(key);
  if (values.size() == channels) return values;
  normalize.reject(key, format("expected one value for each of %zu channels", channels));
  return {};
}

Normalize read_normalize(Fields fields, size_t channels) {
  enum { per_image, mean_std, scale };
  Normalize normalize;
  const size_t kind = read_word(fields, "kind", {"per_image", "mean_std", "scale"});
  if (kind == per_image) {
    normalize.per_image = true;
    normalize.epsilon = fields.number("epsilon");
    if (!(normalize.epsilon > 0)) fields.reject("epsilon", "expected more than 0");
  } else if (kind == mean_std) {
    normalize.mean = read_per_channel(fields, "mean", channels);
    normalize.std = read_per_channel(fields, "std", channels);
    for (const double value : normalize.std) {
      if (!(value > 0)) fields.reject("std", "expected more than 0");
    }
  } else {
    const double factor = fields.number("factor");
    if (!(factor > 0)) fields.reject("factor", "expected more than 0");
    normalize.mean.assign(channels, 0);
    normalize.std.assign(channels, 1 / (255 * factor));
  }
  return normalize;
}

void read_size(Fields& fields, size_t height, size_t width, Fit& fit) {
  const auto size = fields.numbers("size");
  const auto is_side = [](double value, size_t least) {
    return value >= static_cast<double>(least) && value <= max_side &&
           value == static_cast<double>(static_cast<size_t>(value));
  };
  if (size.size() != 2 || !is_side(size[0], height) || !is_side(size[1], width)) {
    fields.reject("size", format("expected [height, width], each at least the input's %zu x %zu "
                                 "and at most %d",
                                 height, width, static_cast<int>(max_side)));
    return;
  }
  fit.height = static_cast<size_t>(size[0]);
  fit.width = static_cast<size_t>(size[1]);
}

Fit read_fit(Fields fields, size_t height, size_t width) {
  Fit fit;
  const std::vector<std::string> kinds{"stretch", "center_crop", "letterbox"};
  fit.kind = static_cast<Fit::Kind>(read_word(fields, "kind", kinds));
  if (fit.kind == Fit::Kind::center_crop) {
    const uint64_t least = std::max(height, width);
    fit.resize_shorter = static_cast<size_t>(fields.whole("resize_shorter", least, max_side));
  } else if (fit.kind == Fit::Kind::letterbox) {
    fit.pad_value = static_cast<float>(fields.whole("pad_value", 0, 255));
  } else if (fields.has("size")) {
    read_size(fields, height, width, fit);
  }
  return fit;
}

CardRegion read_region(Fields fields) {
  if (fields.has("unit")) {
    fields.expect("unit", "fraction");
    const CardRegion region{true, fields.number("x"), fields.number("y"), fields.number("width"),
                            fields.number("height")};
    const bool fits = region.x >= 0 && region.y >= 0 && region.width > 0 && region.height > 0 &&
                      region.x + region.width <= 1 + 1e-9 && region.y + region.height <= 1 + 1e-9;
    if (!fits) fields.reject("unit", "expected shares of 0 to 1, within the image");
    return region;
  }
  const auto number = [&](const char* key, uint64_t low, uint64_t high) {
    return static_cast<double>(fields.whole(key, low, high));
  };
  return {false, number("x", 0, max_picture_side - 1), number("y", 0, max_picture_side - 1),
          number("width", 1, max_picture_side), number("height", 1, max_picture_side)};
}

void read_merge(Fields fields, Tiling& tiling) {
  if (fields.has("by"))
    tiling.merge_by_smaller = read_word(fields, "by", {"smaller", "union"}) == 0;
  if (!fields.has("threshold")) return;
  tiling.merge_threshold = fields.number("threshold");
  const bool fits = tiling.merge_threshold > 0 && tiling.merge_threshold < 1;
  if (!fits) fields.reject("threshold", "expected more than 0 and less than 1");
}

/// Notes what a card of schema 1 cannot say.
void reject_words_of_schema_2(Fields& fields, const Preprocess& preprocess) {
  if (preprocess.significant_bits != 0) fields.reject("significant_bits", "needs schema 2");
  if (preprocess.roi) fields.reject("roi", "needs schema 2");
  if (preprocess.is_jpeg_scaled) fields.reject("jpeg", "needs schema 2");
  const Fit& fit = preprocess.fit;
  if (fit.kind != Fit::Kind::stretch || fit.height != 0) fields.reject("fit", "needs schema 2");
  if (preprocess.color == Color::bgr) fields.reject("color", "bgr needs schema 2");
  if (preprocess.filter != Filter::triangle) {
    fields.reject("resize", fields.text("resize") + " needs schema 2");
  }
  Fields normalize = fields.object("normalize");
  if (normalize.has("factor")) normalize.reject("kind", "scale needs schema 2");
}

}  // namespace

Preprocess read_preprocess(Fields fields, int schema, const std::vector<int64_t>& shape) {
  Preprocess preprocess;
  preprocess.color = read_color(fields, shape[1]);
  preprocess.filter =
      static_cast<Filter>(read_word(fields, "resize", {"triangle", "bicubic", "bilinear"}));
  if (fields.has("significant_bits")) {
    preprocess.significant_bits = static_cast<int>(fields.whole("significant_bits", 9, 16));
  }
  preprocess.normalize = read_normalize(fields.object("normalize"), static_cast<size_t>(shape[1]));
  if (fields.has("fit")) {
    preprocess.fit = read_fit(fields.object("fit"), static_cast<size_t>(shape[2]),
                              static_cast<size_t>(shape[3]));
  }
  if (fields.has("roi")) preprocess.roi = read_region(fields.object("roi"));
  if (fields.has("jpeg")) {
    preprocess.is_jpeg_scaled = read_word(fields, "jpeg", {"full", "scaled"}) == 1;
    if (preprocess.is_jpeg_scaled && preprocess.roi) fields.reject("jpeg", not_seen_whole);
  }
  if (schema < 2) reject_words_of_schema_2(fields, preprocess);
  return preprocess;
}

Tiling read_tiling(Fields fields, TaskKind task, const Preprocess& preprocess) {
  constexpr double least_side = 16;
  Tiling tiling{16, 16};
  const auto size = fields.numbers("size");
  const auto is_side = [](double side) {
    return side >= least_side && side <= max_picture_side && side == std::floor(side);
  };
  if (size.size() == 2 && is_side(size[0]) && is_side(size[1])) {
    tiling.height = static_cast<size_t>(size[0]);
    tiling.width = static_cast<size_t>(size[1]);
  } else {
    fields.reject("size", "expected [height, width], of 16 to 16384 pixels");
  }
  if (fields.has("overlap")) {
    // At most half a side: more would make no end of tiles.
    const size_t most = std::min(tiling.height, tiling.width) / 2;
    tiling.overlap = static_cast<size_t>(fields.whole("overlap", 0, most));
  }
  if (fields.has("merge")) {
    read_merge(fields.object("merge"), tiling);
    if (task != TaskKind::detect) fields.reject("merge", "is for the boxes of a detector");
  }
  if (task == TaskKind::classify) {
    fields.reject("size", "tiles have a class each: tiling is not known to the task classify");
  }
  const Fit& fit = preprocess.fit;
  if (fit.kind == Fit::Kind::center_crop || fit.height != 0) {
    fields.reject("size", "needs a fit that shows all of a tile: stretch or letterbox");
  }
  if (preprocess.is_jpeg_scaled) {
    fields.reject("size", std::string("with preprocess.jpeg: ") + not_seen_whole);
  }
  return tiling;
}

}  // namespace edge
