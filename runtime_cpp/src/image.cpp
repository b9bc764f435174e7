#include "edge/image.hpp"

#include <cstring>
#include <new>

#include "common/text.hpp"
#include "edge/file.hpp"

namespace edge {
namespace {

bool starts_with(const Encoded& encoded, const char* magic, size_t length) {
  return encoded.size >= length && std::memcmp(encoded.data, magic, length) == 0;
}

Error too_large(const Encoded& encoded, size_t width, size_t height) {
  return {Exit::image, "image_too_large", encoded.name,
          format("is %zu x %zu pixels, the limit is %zu a side and %zu in all", width, height,
                 encoded.limits.side, encoded.limits.pixels),
          "crop it or scale it down"};
}

}  // namespace

Error truncated_image(const std::string& name, const std::string& detail) {
  return {Exit::image, "image_truncated", name, "is truncated (" + detail + ")",
          "copy or capture it again"};
}

Error corrupt_image(const std::string& name, const std::string& detail) {
  return {Exit::image, "image_corrupt", name, "is corrupt (" + detail + ")",
          "copy or capture it again"};
}

Error foreign_image(const std::string& name, const std::string& detail) {
  return {Exit::image, "image_format", name, detail, "give a PNG, JPEG, PGM or PPM file"};
}

Result<Image> blank_image(const Encoded& encoded, size_t width, size_t height, int channels) {
  if (width == 0 || height == 0) return corrupt_image(encoded.name, "it has no pixels");
  const ImageLimits& limits = encoded.limits;
  if (width > limits.side || height > limits.side) return too_large(encoded, width, height);
  if (width * height > limits.pixels) return too_large(encoded, width, height);
  const size_t bytes = width * height * static_cast<size_t>(channels);
  Image image{static_cast<int>(width), static_cast<int>(height), channels,
              std::unique_ptr<uint8_t[]>(new (std::nothrow) uint8_t[bytes])};
  if (!image.pixels) return too_large(encoded, width, height);
  return image;
}

Result<Image> decode(const Encoded& encoded) {
  if (encoded.size == 0) return truncated_image(encoded.name, "0 bytes");
  if (starts_with(encoded, "\x89PNG\r\n\x1a\n", 8)) return decode_png(encoded);
  if (starts_with(encoded, "\xFF\xD8\xFF", 3)) return decode_jpeg(encoded);
  if (starts_with(encoded, "P5", 2) || starts_with(encoded, "P6", 2)) return decode_pnm(encoded);
  return foreign_image(encoded.name, "is not an image of a known format");
}

Result<Image> load_image(const std::string& path, const ImageLimits& limits) {
  const auto bytes =
      read_file(path, {Exit::image, "image_missing", "image_too_large", limits.bytes});
  if (!bytes) return bytes.error();
  return decode({path, bytes->data.get(), bytes->size, limits});
}

}  // namespace edge
