#include <cctype>
#include <vector>

#include "common/text.hpp"
#include "edge/image.hpp"

namespace edge {
namespace {

/// Reads the numbers of a PNM header; any fault leaves `ok` false.
struct Header {
  const Encoded& encoded;
  size_t at = 2;   // bytes read so far, the magic included
  bool ok = true;  // false after a malformed or missing number

  /// The byte that comes next, -1 at the end.
  int peek() {
    uint8_t byte = 0;
    return encoded.read(at, &byte, 1) == 1 ? byte : -1;
  }

  void skip_blanks_and_comments() {
    while (std::isspace(peek()) || peek() == '#') {
      if (peek() == '#') {
        while (peek() != '\n' && peek() != -1) ++at;
      } else {
        ++at;
      }
    }
  }

  size_t number() {
    skip_blanks_and_comments();
    size_t value = 0;
    if (!std::isdigit(peek())) ok = false;
    for (; std::isdigit(peek()) && value < 1000000; ++at) {
      value = value * 10 + static_cast<size_t>(peek() - '0');
    }
    return value;
  }

  /// One white-space character, or the two that end a line elsewhere.
  void skip_line_end() {
    const int first = peek();
    ++at;
    if (first == '\r' && peek() == '\n') ++at;
  }
};

}  // namespace

std::optional<Error> decode_pnm(const Encoded& encoded, Rows& rows) {
  Header header{encoded};
  const size_t width = header.number();
  const size_t height = header.number();
  const size_t maximum = header.number();
  const bool separated = std::isspace(header.peek());
  if (header.at >= encoded.size) return truncated_image(encoded.name, "the header is cut off");
  if (!header.ok || !separated) return corrupt_image(encoded.name, "the header is malformed");
  if (maximum != 255) {
    return foreign_image(encoded.name, format("has a maximum of %zu, only 255 is read", maximum));
  }
  if (auto error = check_size(encoded, width, height)) return error;
  uint8_t kind = 0;
  encoded.read(1, &kind, 1);
  const int channels = kind == '5' ? 1 : 3;
  const size_t stride = width * static_cast<size_t>(channels);
  const size_t wanted = height * stride;
  header.skip_line_end();
  const size_t bytes = encoded.size - header.at;
  if (bytes < wanted) {
    return truncated_image(encoded.name, format("%zu of %zu bytes of pixels", bytes, wanted));
  }
  // Not one byte more: a transfer that changed line ends has made the pixels' bytes more, too.
  if (bytes > wanted) {
    return corrupt_image(encoded.name, format("%zu bytes after its pixels", bytes - wanted));
  }
  rows.begin({static_cast<int>(width), static_cast<int>(height), channels, 1});
  std::vector<uint8_t> row(stride);
  for (size_t y = 0; y < height; ++y) {
    if (encoded.read(header.at + y * stride, row.data(), stride) < stride) {
      return truncated_image(encoded.name, "its file became shorter");
    }
    rows.row(row.data());
  }
  return std::nullopt;
}

}  // namespace edge
