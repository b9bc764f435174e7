#include "edge/geometry.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace edge {
namespace {

struct Size {
  size_t height;
  size_t width;
};

/// In double and half to even, as Ultralytics' LetterBox.
size_t letterboxed(size_t side, double ratio, size_t most) {
  const double resized = std::nearbyint(static_cast<double>(side) * ratio);
  return std::min(std::max(static_cast<size_t>(resized), size_t{1}), most);
}

/// What the whole picture gets, some of which may be cut off.
Size resized(Size image, Size input, const Fit& fit) {
  if (fit.kind == Fit::Kind::letterbox) {
    const double ratio =
        std::min(static_cast<double>(input.height) / static_cast<double>(image.height),
                 static_cast<double>(input.width) / static_cast<double>(image.width));
    return {letterboxed(image.height, ratio, input.height),
            letterboxed(image.width, ratio, input.width)};
  }
  if (fit.kind == Fit::Kind::center_crop) {
    // The longer side rounded down, as torchvision's Resize.
    const size_t shorter = std::min(image.height, image.width);
    return {fit.resize_shorter * image.height / shorter,
            fit.resize_shorter * image.width / shorter};
  }
  return fit.height != 0 ? Size{fit.height, fit.width} : input;
}

/// Half to even where the middle is kept, as torchvision's CenterCrop; down where there is a
/// border, as Ultralytics' LetterBox.
Span span(size_t start, size_t length, size_t resized, size_t input) {
  const size_t surplus = resized > input ? resized - input : 0;
  const size_t border = input > resized ? input - resized : 0;
  const auto first = static_cast<size_t>(std::nearbyint(static_cast<double>(surplus) / 2));
  return {start, length, resized, first, std::min(resized, input), border / 2};
}

}  // namespace

Region CardRegion::of(size_t picture_width, size_t picture_height) const {
  if (!is_fraction) {
    return {static_cast<size_t>(x), static_cast<size_t>(y), static_cast<size_t>(width),
            static_cast<size_t>(height)};
  }
  const auto part = [](double start, double share, size_t side) {
    const auto edge = [&](double place) {
      return static_cast<size_t>(std::floor(place * static_cast<double>(side) + 0.5));
    };
    const size_t first = std::min(edge(start), side - 1);
    return std::pair{first, std::min(std::max(edge(start + share), first + 1), side) - first};
  };
  const auto [left, across] = part(x, width, picture_width);
  const auto [top, down] = part(y, height, picture_height);
  return {left, top, across, down};
}

Placement Geometry::placement() const {
  return {static_cast<int>(width),
          static_cast<int>(height),
          x.scale(),
          y.scale(),
          x.offset(),
          y.offset(),
          region};
}

std::optional<Region> region_of(size_t height, size_t width, const Card& card) {
  if (!card.preprocess.roi) return Region{0, 0, width, height};
  const Region part = card.preprocess.roi->of(width, height);
  if (part.x + part.width > width || part.y + part.height > height) return std::nullopt;
  return part;
}

int reduction_of(size_t height, size_t width, const Card& card) {
  if (!card.preprocess.is_jpeg_scaled) return 1;
  const Size input{static_cast<size_t>(card.height()), static_cast<size_t>(card.width())};
  const Size size = resized({height, width}, input, card.preprocess.fit);
  const size_t least = std::min(height / size.height, width / size.width);
  for (const int reduction : {8, 4, 2}) {  // that libjpeg's smaller transforms make
    if (least >= static_cast<size_t>(reduction)) return reduction;
  }
  return 1;
}

Geometry geometry_of(size_t height, size_t width, const Region& region, const Card& card) {
  const Size input{static_cast<size_t>(card.height()), static_cast<size_t>(card.width())};
  const Size size = resized({region.height, region.width}, input, card.preprocess.fit);
  return Geometry{height, width, region, span(region.y, region.height, size.height, input.height),
                  span(region.x, region.width, size.width, input.width)};
}

}  // namespace edge
