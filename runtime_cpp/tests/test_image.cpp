#include <cstring>

#include "support.hpp"

using namespace edge;

namespace {

/// "ok 40x30x3" or the code of the error, as the corpus' manifest words it.
std::string verdict(const Result<Image>& image) {
  if (!image) return image.error().code;
  return "ok " + std::to_string(image->width) + "x" + std::to_string(image->height) + "x" +
         std::to_string(image->channels);
}

Result<Image> decode_text(const std::string& content) {
  return decode({"test", reinterpret_cast<const uint8_t*>(content.data()), content.size()});
}

}  // namespace

TEST_CASE("every picture of the corpus is decoded, or refused for its one defect") {
  REQUIRE(corpus().size() > 30);
  for (const CorpusEntry& entry : corpus()) {
    INFO(entry.path);
    const auto image = load_image(entry.path);
    CHECK(verdict(image) == entry.expected);
    if (!image) {
      CHECK(image.error().exit == Exit::image);
      CHECK(image.error().subject == entry.path);
      CHECK(!image.error().next.empty());
    }
  }
}

TEST_CASE("a file cut off anywhere is refused and never crashes the decoder") {
  for (const CorpusEntry& entry : corpus()) {
    if (entry.expected.rfind("ok", 0) != 0) continue;
    const std::string content = content_of(entry.path);
    // Only the checksum of a PNG's empty end mark is not missed.
    const size_t spare = contains(entry.path, ".png") ? 4 : 0;
    for (size_t length = 0; length + spare < content.size(); ++length) {
      INFO(entry.path << " cut to " << length);
      CHECK(!decode_text(content.substr(0, length)));
    }
  }
}

TEST_CASE("a file with any one byte changed is decoded or refused, never a crash") {
  for (const CorpusEntry& entry : corpus()) {
    const std::string content = content_of(entry.path);
    for (size_t at = 0; at < content.size() && at < 1500; ++at) {
      std::string changed = content;
      changed[at] = static_cast<char>(changed[at] ^ 0xFF);
      const auto image = decode_text(changed);
      CHECK((image || image.error().exit == Exit::image));
    }
  }
}

TEST_CASE("PNG and PPM of one picture have the same pixels") {
  const auto png = load_image(EDGE_CORPUS "/good-rgb.png");
  const auto ppm = load_image(EDGE_CORPUS "/good.ppm");
  REQUIRE((png && ppm));
  CHECK(std::memcmp(png->pixels.get(), ppm->pixels.get(), 40 * 30 * 3) == 0);
}

TEST_CASE("alpha is dropped, 16 bits keep their upper 8, interlacing does not matter") {
  const auto plain = load_image(EDGE_CORPUS "/good-rgb.png");
  const auto alpha = load_image(EDGE_CORPUS "/good-rgba.png");
  const auto deep = load_image(EDGE_CORPUS "/good-gray16.png");
  const auto gray = load_image(EDGE_CORPUS "/good-gray.png");
  const auto interlaced = load_image(EDGE_CORPUS "/good-gray-interlaced.png");
  REQUIRE((plain && alpha && deep && gray && interlaced));
  CHECK(std::memcmp(plain->pixels.get(), alpha->pixels.get(), 40 * 30 * 3) == 0);
  CHECK(deep->pixels[3 * 7] == (7 * 1600) >> 8);
  CHECK(std::memcmp(gray->pixels.get(), interlaced->pixels.get(), 40 * 30) == 0);
}

TEST_CASE("a PGM with comments is read") {
  const auto image = load_image(EDGE_CORPUS "/good-comment.pgm");
  REQUIRE(image);
  CHECK(image->pixels[0] == 0);
  CHECK(image->pixels[1] == 255);
}

TEST_CASE("what is no file is told as such") {
  const TemporaryFolder folder;
  const auto absent = load_image(folder.path("absent.png"));
  CHECK(absent.error().message() == folder.path("absent.png") + ": no such file or directory");
  CHECK(load_image(folder.path("")).error().problem == "is a folder");
  CHECK(load_image("/dev/zero").error().problem == "is not a regular file");
}
