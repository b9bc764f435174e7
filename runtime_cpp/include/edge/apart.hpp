#pragma once

#include <functional>
#include <memory>
#include <string>

#include "common/result.hpp"
#include "edge/card.hpp"
#include "edge/descriptor.hpp"
#include "edge/image.hpp"
#include "edge/preprocess.hpp"

namespace edge {

/// Makes the input of an image; a frame is kept in the memory, unless that is null.
using Decoder = std::function<Result<Input>(std::shared_ptr<uint8_t>)>;

struct ApartAnswer;

/// Decodes in a process of its own, for a service: an image that crashes the decoder, takes memory
/// without end or never finishes ends that process, and is told as `image_crashed`. The service
/// may do something else meanwhile.
class Apart {
 public:
  /// Begins. `name` is for messages; the card outlives this. `image` is the descriptor that the
  /// decoder reads, -1: none; its process has no other of the service.
  Apart(std::string name, Decoder decoder, const Card& card, const ImageLimits& limits,
        int image = -1);
  Apart(const Apart&) = delete;
  Apart& operator=(const Apart&) = delete;
  ~Apart();  // what was not finished is ended

  /// Waits for the input, once; `beat` is called every few seconds. A decoder that the kernel
  /// ended, as memory is short while a network runs beside it, is begun again: there is none by
  /// now.
  Result<Input> finish(const std::function<void()>& beat);

 private:
  void begin();

  std::string name_;
  Decoder decoder_;
  const Card& card_;
  ImageLimits limits_;
  int image_;
  std::shared_ptr<ApartAnswer> shared_;
  int child_ = -1;  // its process; -1: none
  Descriptor end_;  // of a pipe whose other end closes with the process
};

/// Begins to load an image file. Links are not followed.
std::unique_ptr<Apart> load_apart(const std::string& path, const Card& card,
                                  const ImageLimits& limits);

}  // namespace edge
