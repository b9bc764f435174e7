#include <cctype>

#include "common/text.hpp"
#include "edge/image.hpp"

namespace edge {
namespace {

/// Reads the numbers of a PNM header; any fault leaves `ok` false.
struct Header {
  const Encoded& encoded;
  size_t at = 2;   // bytes read so far, the magic included
  bool ok = true;  // false after a malformed or missing number

  int peek() const { return at < encoded.size ? encoded.data[at] : -1; }

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
    at += 1;
    if (encoded.data[at - 1] == '\r' && peek() == '\n') ++at;
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
  const int channels = encoded.data[1] == '5' ? 1 : 3;
  const size_t stride = width * static_cast<size_t>(channels);
  const size_t wanted = height * stride;
  header.skip_line_end();
  const size_t found = encoded.size - header.at;
  if (found < wanted) {
    return truncated_image(encoded.name, format("%zu of %zu bytes of pixels", found, wanted));
  }
  // Not one byte more: a transfer that changed line ends has made the pixels' bytes more, too.
  if (found > wanted) {
    return corrupt_image(encoded.name, format("%zu bytes after its pixels", found - wanted));
  }
  rows.begin({static_cast<int>(width), static_cast<int>(height), channels, 1});
  for (size_t y = 0; y < height; ++y) rows.row(encoded.data + header.at + y * stride);
  return std::nullopt;
}

}  // namespace edge
