#pragma once

#include <vector>

#include "edge/card.hpp"
#include "edge/image.hpp"

namespace edge {

/// A plane of one channel.
struct Plane {
  int width = 0;              // pixels
  int height = 0;             // pixels
  std::vector<float> values;  // height × width
};

/// From an image of any size to the network's input: channels × height × width of the card.
std::vector<float> preprocess(const Image& image, const Card& card);

/// Channel `channel` of an image as values 0 to 255, 8-bit exact. Channel 0 of a grey image
/// stands for each of red, green and blue.
Plane plane_of(const Image& image, int channel);

/// ITU-R 601 luma in 16-bit fixed point, rounded to 8 bits as Pillow does it.
Plane luma_of(const Image& image);

/// Separable triangle filter with support max(scale, 1), as Pillow's BILINEAR in mode F.
Plane resize(Plane plane, int width, int height);

}  // namespace edge
