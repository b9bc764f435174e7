#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "common/result.hpp"

namespace edge {

/// How large a picture may be. A release may set less than these, never more.
struct ImageLimits {
  size_t bytes = 64u << 20;   // of the file
  size_t pixels = 64u << 20;  // width × height
  size_t side = 16384;        // pixels; keeps the resize's middle step small
};

/// A decoded picture, 8 bits a channel.
struct Image {
  int width = 0;                      // pixels
  int height = 0;                     // pixels
  int channels = 0;                   // 1 is grey, 3 is RGB
  std::unique_ptr<uint8_t[]> pixels;  // height × width × channels
};

/// An undecoded picture.
struct Encoded {
  std::string name;     // for messages
  const uint8_t* data;  // size bytes
  size_t size;
  ImageLimits limits = {};
};

/// PNG, JPEG, PGM (P5) or PPM (P6), told apart by the first bytes.
Result<Image> decode(const Encoded& encoded);
Result<Image> load_image(const std::string& path, const ImageLimits& limits = {});

// What `decode` is made of: one function a format, and what they share.
Result<Image> decode_png(const Encoded& encoded);
Result<Image> decode_jpeg(const Encoded& encoded);
Result<Image> decode_pnm(const Encoded& encoded);
Result<Image> blank_image(const Encoded& encoded, size_t width, size_t height, int channels);
Error truncated_image(const std::string& name, const std::string& detail);
Error corrupt_image(const std::string& name, const std::string& detail);
Error foreign_image(const std::string& name, const std::string& detail);

}  // namespace edge
