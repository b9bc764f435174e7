#include <spng.h>

#include "edge/image.hpp"

namespace edge {
namespace {

constexpr size_t max_chunk_bytes = 16u << 20;  // of text and colour profiles
constexpr size_t max_deflate_ratio = 1032;     // of zlib: bytes out for one byte in

struct ContextDeleter {
  void operator()(spng_ctx* context) const { spng_ctx_free(context); }
};
using Context = std::unique_ptr<spng_ctx, ContextDeleter>;

Error png_error(const Encoded& encoded, int status) {
  const bool cut = status == SPNG_IO_EOF || status == SPNG_EIDAT_TOO_SHORT || status == SPNG_EOF;
  if (cut) return truncated_image(encoded.name, "the PNG data ends early");
  return corrupt_image(encoded.name, spng_strerror(status));
}

Context open_png(const Encoded& encoded) {
  Context context(spng_ctx_new(0));
  if (!context) return context;
  spng_set_crc_action(context.get(), SPNG_CRC_ERROR, SPNG_CRC_DISCARD);
  spng_set_chunk_limits(context.get(), max_chunk_bytes, max_chunk_bytes);
  spng_set_png_buffer(context.get(), encoded.data, encoded.size);
  return context;
}

/// Grey of up to 8 bits stays one channel; all else becomes RGB without alpha.
bool is_plain_gray(const spng_ihdr& header) {
  return header.color_type == SPNG_COLOR_TYPE_GRAYSCALE && header.bit_depth <= 8;
}

/// Whether `encoded` is so short that it cannot hold the pixels its header announces.
bool announces_too_much(const spng_ihdr& header, const Encoded& encoded) {
  const size_t bits = static_cast<size_t>(header.width) * header.height * header.bit_depth;
  return bits / 8 / max_deflate_ratio > encoded.size;
}

}  // namespace

Result<Image> decode_png(const Encoded& encoded) {
  const Context context = open_png(encoded);
  if (!context) return corrupt_image(encoded.name, "no memory for a PNG decoder");
  spng_ihdr header{};
  int status = spng_get_ihdr(context.get(), &header);
  if (status != SPNG_OK) return png_error(encoded, status);

  const bool gray = is_plain_gray(header);
  auto image = blank_image(encoded, header.width, header.height, gray ? 1 : 3);
  if (!image) return image;
  if (announces_too_much(header, encoded)) {
    return truncated_image(encoded.name, "too few bytes for its size in pixels");
  }
  const size_t bytes = static_cast<size_t>(header.width) * header.height * (gray ? 1 : 3);
  const int form = gray ? SPNG_FMT_G8 : SPNG_FMT_RGB8;
  status = spng_decode_image(context.get(), image->pixels.get(), bytes, form, 0);
  if (status == SPNG_OK) status = spng_decode_chunks(context.get());  // up to the end mark
  if (status != SPNG_OK) return png_error(encoded, status);
  return image;
}

}  // namespace edge
