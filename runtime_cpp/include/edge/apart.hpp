#pragma once

#include <functional>
#include <string>

#include "common/result.hpp"
#include "edge/card.hpp"
#include "edge/image.hpp"
#include "edge/preprocess.hpp"

namespace edge {

/// `load_input` in a process of its own, for a service: an image that crashes the decoder, takes
/// memory without end or never finishes ends that process, and is told as `image_crashed`.
/// Links are not followed. `beat` is called every few seconds meanwhile.
Result<Input> load_input_apart(const std::string& path, const Card& card, const ImageLimits& limits,
                               const std::function<void()>& beat);

}  // namespace edge
