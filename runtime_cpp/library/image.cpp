#include "edge/image.hpp"

#include <algorithm>

#include "common/text.hpp"
#include "edge/file.hpp"
#include "edge/geometry.hpp"
#include "edge/raw_frame.hpp"
#include "library/handles.hpp"

using namespace edge;

namespace {

struct LimitsProblem {
  ImageLimits limits;
  std::string text;  // empty: there is none
};

LimitsProblem limits_of(const edge_limits* wanted) {
  LimitsProblem result;
  if (wanted == nullptr) return result;
  if (wanted->struct_size < sizeof *wanted) {
    result.text =
        format("limits.struct_size is %zu, expected %zu", wanted->struct_size, sizeof *wanted);
    return result;
  }
  const auto set = [&](const char* name, size_t value, size_t& limit) {
    if (value > limit) result.text = format("limits.%s is %zu, at most %zu", name, value, limit);
    if (value > 0 && value <= limit) limit = value;
  };
  set("bytes", wanted->bytes, result.limits.bytes);
  set("pixels", wanted->pixels, result.limits.pixels);
  set("side", wanted->side, result.limits.side);
  set("memory", wanted->memory, result.limits.memory);
  return result;
}

static_assert(EDGE_PIXELS_GRAY == static_cast<int>(PixelFormat::gray));
static_assert(EDGE_PIXELS_RGB == static_cast<int>(PixelFormat::rgb));
static_assert(EDGE_PIXELS_BGR == static_cast<int>(PixelFormat::bgr));
static_assert(EDGE_PIXELS_NV12 == static_cast<int>(PixelFormat::nv12));
static_assert(EDGE_PIXELS_BAYER_BGGR == static_cast<int>(PixelFormat::bayer_bggr));

RawFrame frame_of(const edge_pixels& pixels) {
  RawFrame frame{static_cast<PixelFormat>(pixels.format),
                 pixels.width,
                 pixels.height,
                 pixels.stride,
                 pixels.chroma,
                 pixels.data};
  if (frame.stride == 0) frame.stride = frame.row_bytes();
  if (frame.chroma == 0) frame.chroma = uint64_t{frame.height} * frame.stride;
  return frame;
}

/// Why there are no pixels; empty where there are.
std::string memory_problem(const edge_pixels& pixels) {
  if (pixels.struct_size < sizeof pixels) {
    return format("pixels.struct_size is %zu, expected %zu", pixels.struct_size, sizeof pixels);
  }
  return pixels.data == nullptr ? "pixels.data is NULL" : "";
}

edge_error* hand_out(const edge_card& card, const std::string& name, Result<Input> input,
                     edge_image** out) {
  if (!input) return handed(input.error());
  auto image = std::make_unique<edge_image>();
  image->card = card.card;
  image->input = std::move(*input);
  if (card.card->tiling) {
    auto plan = plan_tiles(image->input.frame, *card.card, name);
    if (!plan) return handed(plan.error());
    image->plan = std::move(*plan);
    image->merger = merge_tiles(*image->card, *image->plan);
  }
  *out = image.release();
  return nullptr;
}

/// What the three functions that make an image have in common. `load` makes the input of it.
template <class Load>
edge_error* make_image(const char* function, const edge_card* card, const void* source,
                       const edge_limits* limits, edge_image** image, Load load) noexcept {
  return guarded([&] {
    if (image != nullptr) *image = nullptr;
    if (card == nullptr || source == nullptr || image == nullptr) {
      return argument_error(function, "got NULL");
    }
    if (card->card->task == TaskKind::tensor) {
      return argument_error(function, "got a card of the task tensor, which takes no images");
    }
    const LimitsProblem checked = limits_of(limits);
    if (!checked.text.empty()) return argument_error(function, checked.text);
    return load(*card->card, checked.limits);
  });
}

Placement placement_of(const edge_image& image, size_t tile) {
  if (!image.plan) return image.input.placement;
  const auto [width, height] = image.input.frame.upright_size();
  return geometry_of(height, width, image.plan->tiles[tile], *image.card).placement();
}

/// Takes the outputs for the tile that comes next.
std::optional<Error> take(edge_image& image, std::vector<Tensor> outputs) {
  const Placement placement = placement_of(image, image.done);
  if (!image.plan) {
    auto answer = make_answer(*image.card, std::move(outputs), placement);
    if (!answer) return answer.error();
    image.answer = std::move(*answer);
  } else {
    // What ends half-way leaves no merger behind.
    auto merger = std::move(image.merger);
    if (auto error = merger->add(outputs, placement)) return error;
    if (image.done + 1 == image.plan->tiles.size()) image.answer = merger->answer();
    image.merger = std::move(merger);
  }
  ++image.done;
  return std::nullopt;
}

}  // namespace

edge_error* edge_image_read(const edge_card* card, const char* path, const edge_limits* limits,
                            edge_image** image) {
  const auto load = [&](const Card& of, const ImageLimits& most) {
    return hand_out(*card, path, load_input(path, of, most), image);
  };
  return make_image("edge_image_read", card, path, limits, image, load);
}

edge_error* edge_image_decode(const edge_card* card, const void* data, size_t size,
                              const edge_limits* limits, edge_image** image) {
  const auto load = [&](const Card& of, const ImageLimits& most) {
    const auto* bytes = static_cast<const uint8_t*>(data);
    return hand_out(*card, "image", decode_input({"image", bytes, size, most}, of), image);
  };
  return make_image("edge_image_decode", card, data, limits, image, load);
}

edge_error* edge_image_from_pixels(const edge_card* card, const edge_pixels* pixels,
                                   const edge_limits* limits, edge_image** image) {
  const auto load = [&](const Card& of, const ImageLimits& most) {
    std::string problem = memory_problem(*pixels);
    if (!problem.empty()) return argument_error("edge_image_from_pixels", problem);
    const Encoded picture{"pixels", nullptr, 0, most};
    if (auto error = check_size(picture, pixels->width, pixels->height)) return handed(*error);
    const RawFrame frame = frame_of(*pixels);
    problem = frame.problem();
    if (!problem.empty())
      return argument_error("edge_image_from_pixels", "a frame that " + problem);
    const auto source = [&](Rows& rows) {
      put_rows(frame, of.takes_gray(), rows);
      return std::optional<Error>();
    };
    return hand_out(*card, "pixels", make_input(picture, source, of), image);
  };
  return make_image("edge_image_from_pixels", card, pixels, limits, image, load);
}

void edge_image_free(edge_image* image) {
  delete image;
}

size_t edge_image_tiles(const edge_image* image) {
  if (image == nullptr) return 0;
  return image->plan ? image->plan->tiles.size() : 1;
}

edge_error* edge_image_input(const edge_image* image, size_t tile, float* values, size_t count) {
  return guarded([&]() -> edge_error* {
    constexpr char function[] = "edge_image_input";
    if (image == nullptr || values == nullptr) return argument_error(function, "got NULL");
    if (tile >= edge_image_tiles(image)) {
      return argument_error(function, format("got tile %zu of %zu", tile, edge_image_tiles(image)));
    }
    const size_t expected = image->card->values();
    if (count != expected) {
      return argument_error(
          function, format("got room for %zu values, the card's input has %zu", count, expected));
    }
    if (!image->plan) {
      std::copy(image->input.values.begin(), image->input.values.end(), values);
      return nullptr;
    }
    const Input input = tile_input(image->input.frame, image->plan->tiles[tile], *image->card);
    std::copy(input.values.begin(), input.values.end(), values);
    return nullptr;
  });
}

edge_error* edge_image_set_outputs(edge_image* image, size_t tile, const edge_tensor* outputs,
                                   size_t count) {
  return guarded([&]() -> edge_error* {
    constexpr char function[] = "edge_image_set_outputs";
    if (image == nullptr || outputs == nullptr) return argument_error(function, "got NULL");
    if (image->answer || tile != image->done) {
      return argument_error(function, format("got tile %zu, after %zu of %zu", tile, image->done,
                                             edge_image_tiles(image)));
    }
    if (image->plan && !image->merger) {
      return argument_error(function, "got an image, a tile of which was not taken");
    }
    if (auto error = outputs_fault(*image->card, outputs, count)) return handed(*error);
    auto error = take(*image, tensors_of(*image->card, outputs));
    return error ? handed(*error) : nullptr;
  });
}

edge_error* edge_image_result(const edge_image* image, edge_result** result) {
  return guarded([&]() -> edge_error* {
    constexpr char function[] = "edge_image_result";
    if (result != nullptr) *result = nullptr;
    if (image == nullptr || result == nullptr) return argument_error(function, "got NULL");
    if (!image->answer) {
      return argument_error(function, format("has the outputs for %zu of %zu tiles", image->done,
                                             edge_image_tiles(image)));
    }
    *result = make_result(image->card, *image->answer).release();
    return nullptr;
  });
}
