#include "edge/image.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "common/text.hpp"

namespace edge {
namespace {

Error too_large(const Encoded& encoded, const std::string& problem) {
  return {Exit::image, "image_too_large", encoded.name, problem, "crop it or scale it down"};
}

/// Numbers of a TIFF file, in its own byte order; 0 beyond its end.
struct Tiff {
  const Encoded& encoded;
  size_t start;  // of the block in the picture
  size_t size;
  bool big_endian;

  uint32_t number(size_t at, size_t bytes) const {
    uint8_t data[4] = {};
    if (at >= size || bytes > size - at) return 0;
    encoded.read(start + at, data, bytes);
    uint32_t value = 0;
    for (size_t i = 0; i < bytes; ++i) {
      value = value << 8 | data[big_endian ? i : bytes - 1 - i];
    }
    return value;
  }
};

size_t read_from_file(const Encoded& encoded, size_t at, uint8_t* to, size_t count) {
  size_t done = 0;
  while (done < count) {
    const auto place = static_cast<off_t>(at + done);
    const ssize_t bytes = pread(encoded.file, to + done, count - done, place);
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes < 0) encoded.fault = errno;
    if (bytes <= 0) break;
    done += static_cast<size_t>(bytes);
  }
  return done;
}

}  // namespace

size_t Encoded::read(size_t at, uint8_t* to, size_t count) const {
  at = std::min(at, size);
  count = std::min(count, size - at);
  if (data == nullptr && count >= sizeof window) return read_from_file(*this, at, to, count);
  if (data == nullptr && (at < window_at || at + count > window_at + window_size)) {
    window_at = at;
    window_size = read_from_file(*this, at, window, std::min(sizeof window, size - at));
    count = std::min(count, window_size);
  }
  std::copy_n(data != nullptr ? data + at : window + (at - window_at), count, to);
  return count;
}

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

std::optional<Error> check_size(const Encoded& encoded, size_t width, size_t height) {
  if (width == 0 || height == 0) return corrupt_image(encoded.name, "it has no pixels");
  const ImageLimits& limits = encoded.limits;
  if (width <= limits.side && height <= limits.side && width * height <= limits.pixels) {
    return std::nullopt;
  }
  return too_large(encoded, format("is %zu x %zu pixels, the limit is %zu a side and %zu in all",
                                   width, height, limits.side, limits.pixels));
}

size_t memory_left(const Encoded& encoded, size_t held) {
  const size_t most = encoded.limits.memory;
  return most - std::min(most, encoded.held() + held);
}

Error too_much_memory(const Encoded& encoded, const std::string& cause) {
  return too_large(encoded, cause + format(", and needs more than the %zu bytes of memory that an "
                                           "image may take",
                                           encoded.limits.memory));
}

int exif_orientation(const Encoded& encoded, size_t at, size_t size) {
  constexpr uint32_t orientation_tag = 0x112, short_type = 3;
  if (size < 8) return 1;
  uint8_t order = 0;
  encoded.read(at, &order, 1);
  const Tiff file{encoded, at, size, order == 'M'};
  const size_t directory = file.number(4, 4);
  const size_t entries = file.number(directory, 2);
  for (size_t i = 0; i < entries; ++i) {
    const size_t entry = directory + 2 + 12 * i;
    if (file.number(entry, 2) != orientation_tag) continue;
    if (file.number(entry + 2, 2) != short_type || file.number(entry + 4, 4) != 1) return 1;
    const auto value = static_cast<int>(file.number(entry + 8, 2));
    return value >= 1 && value <= 8 ? value : 1;
  }
  return 1;
}

namespace {

std::optional<Error> decode_by_format(const Encoded& encoded, Rows& rows) {
  if (encoded.size == 0) return truncated_image(encoded.name, "0 bytes");
  // A service that takes up smaller limits may have accepted it under the former ones.
  const size_t most = std::min(encoded.limits.bytes, encoded.limits.memory);
  if (encoded.held() > most) {
    return too_large(encoded, format("has %zu bytes, the limit is %zu", encoded.held(), most));
  }
  uint8_t magic[8] = {};
  encoded.read(0, magic, sizeof magic);
  if (std::memcmp(magic, "\x89PNG\r\n\x1a\n", 8) == 0) return decode_png(encoded, rows);
  if (std::memcmp(magic, "\xFF\xD8\xFF", 3) == 0) return decode_jpeg(encoded, rows);
  if (magic[0] == 'P' && (magic[1] == '5' || magic[1] == '6')) return decode_pnm(encoded, rows);
  return foreign_image(encoded.name, "is not an image of a known format");
}

}  // namespace

std::optional<Error> decode(const Encoded& encoded, Rows& rows) {
  auto error = decode_by_format(encoded, rows);
  if (!error || encoded.fault == 0) return error;
  errno = encoded.fault;
  return Error{Exit::image, "image_missing", encoded.name, system_fault(),
               "check the path and the file's permissions"};
}

}  // namespace edge
