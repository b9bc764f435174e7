#include <cctype>
#include <cstring>

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
};

}  // namespace

Result<Image> decode_pnm(const Encoded& encoded) {
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
  auto image = blank_image(encoded, width, height, encoded.data[1] == '5' ? 1 : 3);
  if (!image) return image;
  const size_t wanted = width * height * static_cast<size_t>(image->channels);
  const size_t found = encoded.size - header.at - 1;
  if (found < wanted) {
    return truncated_image(encoded.name, format("%zu of %zu bytes of pixels", found, wanted));
  }
  std::memcpy(image->pixels.get(), encoded.data + header.at + 1, wanted);
  return image;
}

}  // namespace edge
