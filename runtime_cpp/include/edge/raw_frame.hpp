#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "edge/image.hpp"

namespace edge {

/// How a camera lays out its pixels; client.h says what each is, by the same numbers.
enum class PixelFormat : uint32_t {
  gray = 1,
  rgb = 2,
  bgr = 3,
  nv12 = 4,
  yuyv = 5,
  nv12_full = 6,
  yuyv_full = 7,
  bayer_rggb = 8,
  bayer_grbg = 9,
  bayer_gbrg = 10,
  bayer_bggr = 11,
};

/// A picture as it lies in a camera's memory, upright.
struct RawFrame {
  PixelFormat format;
  size_t width;     // pixels
  size_t height;    // pixels
  size_t stride;    // bytes from one row to the next, also of NV12's chroma
  uint64_t chroma;  // of NV12: bytes from the first pixel to the first row of chroma
  const uint8_t* pixels = nullptr;

  size_t row_bytes() const;
  /// From the first pixel to the end of the last; of NV12, of the last row of luma.
  uint64_t first_plane_bytes() const;
  /// Likewise, with NV12's chroma.
  uint64_t bytes() const;
  /// Why there is no such frame; empty where there is. Its size is `check_size`'s to judge.
  std::string problem() const;
  /// Of the rows that `put_rows` hands on: 1 where it has gray, or gray is all that is wanted of
  /// luma and chroma, else 3.
  int channels(bool is_for_gray) const;
};

/// The rows of a sound frame as decoders give them, converted as docs/formats.md says.
void put_rows(const RawFrame& frame, bool is_for_gray, Rows& rows);

}  // namespace edge
