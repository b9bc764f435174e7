#include "edge/geometry.hpp"

#include <algorithm>
#include <cmath>

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

Placement Geometry::placement() const {
  return {static_cast<int>(width),
          static_cast<int>(height),
          x.scale(),
          y.scale(),
          x.offset(),
          y.offset()};
}

std::optional<Geometry> geometry_of(size_t height, size_t width, const Card& card) {
  const Size input{static_cast<size_t>(card.height()), static_cast<size_t>(card.width())};
  const Region part = card.preprocess.roi.value_or(Region{0, 0, width, height});
  if (part.x + part.width > width || part.y + part.height > height) return std::nullopt;
  const Size size = resized({part.height, part.width}, input, card.preprocess.fit);
  return Geometry{height, width, span(part.y, part.height, size.height, input.height),
                  span(part.x, part.width, size.width, input.width)};
}

}  // namespace edge
