#include <spng.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "common/text.hpp"
#include "edge/image.hpp"

namespace edge {
namespace {

constexpr size_t max_chunk_bytes = 16u << 20;  // of text and colour profiles
constexpr size_t max_deflate_ratio = 1032;     // of zlib: bytes out for one byte in
constexpr int unsaid_bits = 14;  // a 16-bit picture within so few is dark, or a camera's of fewer

struct ContextDeleter {
  void operator()(spng_ctx* context) const { spng_ctx_free(context); }
};
using Context = std::unique_ptr<spng_ctx, ContextDeleter>;

Error png_error(const Encoded& encoded, int status) {
  const bool cut = status == SPNG_IO_EOF || status == SPNG_EIDAT_TOO_SHORT || status == SPNG_EOF;
  if (cut) return truncated_image(encoded.name, "the PNG data ends early");
  return corrupt_image(encoded.name, spng_strerror(status));
}

/// Where libspng reads next.
struct Stream {
  const Encoded& encoded;
  size_t at = 0;
};

int read_stream(spng_ctx*, void* user, void* to, size_t count) {
  auto* stream = static_cast<Stream*>(user);
  const size_t bytes = stream->encoded.read(stream->at, static_cast<uint8_t*>(to), count);
  stream->at += bytes;
  return bytes == count ? 0 : SPNG_IO_EOF;
}

Context open_png(Stream& stream) {
  Context context(spng_ctx_new(0));
  if (!context) return context;
  spng_set_crc_action(context.get(), SPNG_CRC_ERROR, SPNG_CRC_ERROR);
  spng_set_chunk_limits(context.get(), max_chunk_bytes, max_chunk_bytes);
  spng_set_png_stream(context.get(), read_stream, &stream);
  return context;
}

/// Whether `encoded` is so short that it cannot hold the pixels its header announces.
bool announces_too_much(const spng_ihdr& header, const Encoded& encoded) {
  const size_t bits = static_cast<size_t>(header.width) * header.height * header.bit_depth;
  return bits / 8 / max_deflate_ratio > encoded.size;
}

uint32_t big_endian(const uint8_t* p) {
  return uint32_t{p[0]} << 24 | uint32_t{p[1]} << 16 | uint32_t{p[2]} << 8 | uint32_t{p[3]};
}

/// The orientation is needed before the first row, and its chunk may come after the last.
int orientation_of(const Encoded& encoded) {
  uint8_t head[8];
  for (size_t at = 8; encoded.size - at >= 12;) {
    if (encoded.read(at, head, sizeof head) < sizeof head) return 1;
    const size_t length = big_endian(head);
    if (length > encoded.size - at - 12) return 1;
    if (std::memcmp(head + 4, "eXIf", 4) == 0) return exif_orientation(encoded, at + 8, length);
    at += length + 12;
  }
  return 1;
}

/// What libspng writes for one row, and what becomes of it.
struct Layout {
  int format;      // libspng's
  size_t samples;  // of a pixel, alpha included where libspng gives it
  int channels;    // that go on: 1 or 3
  bool deep;       // samples of 16 bits

  size_t pixel_bytes() const { return samples * (deep ? 2 : 1); }
};

/// Grey stays one channel, all else becomes RGB; alpha is dropped.
Layout layout_of(const spng_ihdr& header) {
  switch (header.bit_depth == 16 ? header.color_type : -1) {
    case SPNG_COLOR_TYPE_GRAYSCALE:
      return {SPNG_FMT_PNG, 1, 1, true};
    case SPNG_COLOR_TYPE_GRAYSCALE_ALPHA:
      return {SPNG_FMT_PNG, 2, 1, true};
    case SPNG_COLOR_TYPE_TRUECOLOR:
      return {SPNG_FMT_PNG, 3, 3, true};
    case SPNG_COLOR_TYPE_TRUECOLOR_ALPHA:
      return {SPNG_FMT_PNG, 4, 3, true};
    default:
      break;
  }
  if (header.color_type == SPNG_COLOR_TYPE_GRAYSCALE) return {SPNG_FMT_G8, 1, 1, false};
  return {SPNG_FMT_RGB8, 3, 3, false};
}

/// Hands rows on, those of 16 bits reduced to the upper 8 of their significant bits.
class Reducer {
 public:
  Reducer(const Layout& layout, size_t width, int significant_bits, Rows& rows)
      : layout_(layout), width_(width), bits_(significant_bits), rows_(rows) {
    if (layout.deep) reduced_.resize(width * static_cast<size_t>(layout.channels));
  }

  void row(const uint8_t* pixels) {
    rows_.row(layout_.deep ? reduce(reinterpret_cast<const uint16_t*>(pixels)) : pixels);
  }

  /// Whether the values are as the card says. Where it says nothing, they must need 16 bits: a
  /// camera's 10 or 12 bits read as 16 are a picture that is nearly black.
  std::optional<Error> fault(const std::string& name) const {
    if (!layout_.deep) return std::nullopt;
    if (bits_ == 0 && highest_ >> unsaid_bits == 0) {
      return significance_error(
          name, format("has 16 bits and no value above %u, and the card does not say how "
                       "many are significant",
                       highest_));
    }
    if (bits_ == 0 || highest_ >> bits_ == 0) return std::nullopt;
    return significance_error(
        name,
        format("has a value of %u, the card says that %d bits are significant", highest_, bits_));
  }

 private:
  static Error significance_error(const std::string& name, const std::string& problem) {
    return {Exit::image, "image_format", name, problem,
            "set preprocess.significant_bits of the model's card to what the camera gives"};
  }

  const uint8_t* reduce(const uint16_t* samples) {
    const auto channels = static_cast<size_t>(layout_.channels);
    const int shift = (bits_ != 0 ? bits_ : 16) - 8;
    uint8_t* out = reduced_.data();
    for (size_t x = 0; x < width_; ++x, samples += layout_.samples) {
      for (size_t c = 0; c < channels; ++c) {
        highest_ = std::max(highest_, uint32_t{samples[c]});
        *out++ = static_cast<uint8_t>(samples[c] >> shift);
      }
    }
    return reduced_.data();
  }

  Layout layout_;
  size_t width_;
  int bits_;
  Rows& rows_;
  std::vector<uint8_t> reduced_;
  uint32_t highest_ = 0;
};

/// The rows of an interlaced picture are whole after the last pass only.
int read_interlaced(spng_ctx* context, const Layout& layout, const spng_ihdr& header,
                    uint8_t* pixels, Reducer& reducer) {
  const size_t stride = header.width * layout.pixel_bytes();
  const int status = spng_decode_image(context, pixels, stride * header.height, layout.format, 0);
  for (size_t y = 0; status == SPNG_OK && y < header.height; ++y) reducer.row(pixels + y * stride);
  return status;
}

int read_rows(spng_ctx* context, const Layout& layout, const spng_ihdr& header, uint8_t* row,
              Reducer& reducer) {
  int status = spng_decode_image(context, nullptr, 0, layout.format, SPNG_DECODE_PROGRESSIVE);
  for (size_t y = 0; status == SPNG_OK && y < header.height; ++y) {
    status = spng_decode_row(context, row, header.width * layout.pixel_bytes());
    if (status == SPNG_OK || status == SPNG_EOI) reducer.row(row);
  }
  return status == SPNG_EOI ? SPNG_OK : status;
}

}  // namespace

std::optional<Error> decode_png(const Encoded& encoded, Rows& rows) {
  Stream stream{encoded};
  const Context context = open_png(stream);
  if (!context) return corrupt_image(encoded.name, "no memory for a PNG decoder");
  spng_ihdr header{};
  int status = spng_get_ihdr(context.get(), &header);
  if (status != SPNG_OK) return png_error(encoded, status);
  if (auto error = check_size(encoded, header.width, header.height)) return error;
  if (announces_too_much(header, encoded)) {
    return truncated_image(encoded.name, "too few bytes for its size in pixels");
  }
  const Layout layout = layout_of(header);
  if (layout.deep && layout.samples > 1 && encoded.significant_bits % 16 != 0) {
    return foreign_image(encoded.name,
                         format("has 16 bits and colour or alpha, of which %d significant bits "
                                "are not read",
                                encoded.significant_bits));
  }
  const bool interlaced = header.interlace_method != 0;
  const size_t bytes = header.width * layout.pixel_bytes() * (interlaced ? header.height : 1);
  rows.begin({static_cast<int>(header.width), static_cast<int>(header.height), layout.channels,
              orientation_of(encoded)});
  // A row is not counted, as with the other formats.
  const bool fits = !interlaced || bytes <= memory_left(encoded, rows.held());
  const std::unique_ptr<uint8_t[]> pixels(fits ? new (std::nothrow) uint8_t[bytes] : nullptr);
  if (!pixels) return too_much_memory(encoded, interlaced ? "is interlaced" : "has wide rows");

  Reducer reducer(layout, header.width, encoded.significant_bits, rows);
  const auto read = interlaced ? read_interlaced : read_rows;
  status = read(context.get(), layout, header, pixels.get(), reducer);
  if (status == SPNG_OK) status = spng_decode_chunks(context.get());  // up to the end mark
  if (status != SPNG_OK) return png_error(encoded, status);
  return reducer.fault(encoded.name);
}

}  // namespace edge
