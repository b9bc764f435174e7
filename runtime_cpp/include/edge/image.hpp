#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "common/result.hpp"

namespace edge {

/// How large a picture may be. A release may set less than these, never more.
struct ImageLimits {
  size_t bytes = 64u << 20;   // of the file
  size_t pixels = 64u << 20;  // width × height: time, as rows cost no memory
  size_t side = 16384;        // pixels
  size_t memory = 64u << 20;  // bytes that decoder, frame and an image in memory may hold at once
};

/// What a decoder tells before the first row.
struct ImageShape {
  int width;        // pixels, as stored
  int height;       // pixels, as stored
  int channels;     // 1 is grey, 3 is RGB
  int orientation;  // EXIF's, 1 to 8: how the stored picture is to be turned
};

/// Takes a picture row by row: no decoder need hold all of it.
class Rows {
 public:
  virtual ~Rows() = default;
  /// By how much a JPEG of this shape is to be reduced in size when it is decoded: 1, 2, 4 or 8.
  /// It begins with its sides divided by that and rounded up.
  virtual int choose_reduction(const ImageShape&) { return 1; }
  virtual void begin(const ImageShape& shape) = 0;
  virtual void row(const uint8_t* pixels) = 0;  // width × channels, the top row first
  /// Bytes of memory for the picture, once it has begun: a decoder may take what they leave.
  virtual size_t held() const { return 0; }
};

/// An undecoded picture, in memory or in a file that is read piece by piece, by one thread.
struct Encoded {
  std::string name;     // for messages
  const uint8_t* data;  // size bytes; null: they are in `file`
  size_t size;
  ImageLimits limits = {};
  int significant_bits = 0;  // of samples with 16 bits; 0: the card does not say
  int file = -1;             // descriptor
  bool is_for_gray = false;  // of a JPEG in colour its luma is decoded alone
  mutable int fault = 0;     // errno of a piece that could not be read
  // Of the file, as it was read last: segments may be short and many.
  mutable uint8_t window[4096] = {};
  mutable size_t window_at = 0;
  mutable size_t window_size = 0;

  /// Copies bytes from the place `at` on; how many there were.
  size_t read(size_t at, uint8_t* to, size_t count) const;
  size_t held() const { return data != nullptr ? size : 0; }  // bytes of memory
};

/// Decodes a PNG, JPEG, PGM (P5) or PPM (P6), told apart by the first bytes, to 8 bits a channel.
/// After a fault the rows that came are worth nothing.
std::optional<Error> decode(const Encoded& encoded, Rows& rows);

// What `decode` is made of: one function a format, and what they share.
std::optional<Error> decode_png(const Encoded& encoded, Rows& rows);
std::optional<Error> decode_jpeg(const Encoded& encoded, Rows& rows);
std::optional<Error> decode_pnm(const Encoded& encoded, Rows& rows);
std::optional<Error> check_size(const Encoded& encoded, size_t width, size_t height);
/// Bytes that whoever holds `held` of them beside the picture leaves of its limit.
size_t memory_left(const Encoded& encoded, size_t held = 0);
/// `cause` is what about the picture takes the memory: "is interlaced".
Error too_much_memory(const Encoded& encoded, const std::string& cause);
Error truncated_image(const std::string& name, const std::string& detail);
Error corrupt_image(const std::string& name, const std::string& detail);
Error foreign_image(const std::string& name, const std::string& detail);

/// Orientation in an EXIF block of `size` bytes, which is a TIFF file: 1 where it says none, or is
/// malformed.
int exif_orientation(const Encoded& encoded, size_t at, size_t size);

}  // namespace edge
