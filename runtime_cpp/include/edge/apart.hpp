#pragma once

#include <functional>
#include <memory>
#include <string>

#include "common/result.hpp"
#include "edge/card.hpp"
#include "edge/image.hpp"
#include "edge/preprocess.hpp"

namespace edge {

/// Makes the input of an image; a frame is kept in the memory, unless that is null.
using Decoder = std::function<Result<Input>(std::shared_ptr<uint8_t>)>;

/// Decodes in a process of its own, for a service: an image that crashes the decoder, takes memory
/// without end or never finishes ends that process, and is told as `image_crashed`. `name` is for
/// messages. `beat` is called every few seconds meanwhile.
Result<Input> decode_apart(const std::string& name, const Decoder& decoder, const Card& card,
                           const ImageLimits& limits, const std::function<void()>& beat);

/// `load_input` in a process of its own. Links are not followed.
Result<Input> load_input_apart(const std::string& path, const Card& card, const ImageLimits& limits,
                               const std::function<void()>& beat);

}  // namespace edge
