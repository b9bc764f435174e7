#include <cstdlib>
#include <fstream>

#include "common/text.hpp"
#include "edge/file.hpp"
#include "edge/resize.hpp"
#include "support.hpp"

using namespace edge;

namespace {

/// "ok 40x30x3" or the code of the error, as the corpus' manifest words it.
std::string verdict(const Result<Image>& image) {
  if (!image) return image.error().code;
  return "ok " + std::to_string(image->shape.width) + "x" + std::to_string(image->shape.height) +
         "x" + std::to_string(image->shape.channels);
}

Result<Image> decode_text(const std::string& content) {
  return decode_image({"test", reinterpret_cast<const uint8_t*>(content.data()), content.size()});
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
    size_t spare = contains(entry.path, ".png") ? 4 : 0;
    if (contains(entry.path, "surplus")) spare = 500;  // nor is what follows the picture
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
  CHECK(png->pixels == ppm->pixels);
}

TEST_CASE("alpha is dropped, 16 bits keep their upper 8, interlacing does not matter") {
  const auto plain = load_image(EDGE_CORPUS "/good-rgb.png");
  const auto alpha = load_image(EDGE_CORPUS "/good-rgba.png");
  const auto deep = load_image(EDGE_CORPUS "/good-gray16.png");
  const auto gray = load_image(EDGE_CORPUS "/good-gray.png");
  const auto interlaced = load_image(EDGE_CORPUS "/good-gray-interlaced.png");
  REQUIRE((plain && alpha && deep && gray && interlaced));
  CHECK(plain->pixels == alpha->pixels);
  CHECK(deep->pixels[7] == (7 * 1600) >> 8);
  CHECK(gray->pixels == interlaced->pixels);
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

TEST_CASE("16 bits of which fewer are significant are reduced by those, or refused") {
  // good-gray16.png has values up to 39 * 1600 + 29, which need 16 bits.
  CHECK(load_image(EDGE_CORPUS "/good-gray16.png", {}, 16)->pixels[7] == (7 * 1600) >> 8);
  const auto over = load_image(EDGE_CORPUS "/good-gray16.png", {}, 12);
  REQUIRE_FALSE(over);
  CHECK(contains(over.error().message(), "has a value of 62429, the card says that 12 bits"));
  CHECK(contains(over.error().next, "preprocess.significant_bits"));
  CHECK(load_image(EDGE_CORPUS "/dark-gray16.png", {}, 12)->pixels[7] == (7 * 100) >> 4);
  const auto unsaid = load_image(EDGE_CORPUS "/dark-gray16.png");
  REQUIRE_FALSE(unsaid);
  CHECK(contains(unsaid.error().problem, "has 16 bits and no value above 3929, and the card"));
}

TEST_CASE("of a JPEG in colour the luma is decoded alone, for a network that takes grey") {
  const auto bytes =
      read_file(EDGE_CORPUS "/good-rgb.jpg", {Exit::image, "missing", "too_large", 1u << 20});
  REQUIRE(bytes);
  Encoded picture{"rgb.jpg", bytes->data.get(), bytes->size};
  const auto colors = decode_image(picture);
  picture.is_for_gray = true;
  const auto gray = decode_image(picture);
  REQUIRE(colors);
  REQUIRE(gray);
  CHECK(colors->shape.channels == 3);
  CHECK(gray->shape.channels == 1);
  std::vector<uint8_t> luma(gray->pixels.size());
  luma_row(colors->pixels.data(), luma.size(), luma.data());
  // Colours that are cut at 0 or 255 have another luma than the file: of some pixels it differs.
  int sum = 0;
  for (size_t i = 0; i < luma.size(); ++i) sum += std::abs(luma[i] - gray->pixels[i]);
  CHECK(sum <= static_cast<int>(luma.size()));
}

TEST_CASE("a picture that must be held whole is refused where the memory does not do") {
  const auto with_memory = [](const char* name, size_t memory) {
    return load_image(std::string(EDGE_CORPUS) + name, {1u << 20, 1u << 20, 16384, memory});
  };
  const auto refused = with_memory("/good-gray-interlaced.png", 1199);  // 40 x 30 pixels
  REQUIRE_FALSE(refused);
  CHECK(std::string(refused.error().code) == "image_too_large");
  CHECK(refused.error().problem ==
        "is interlaced, and needs more than the 1199 bytes of memory that an image may take");
  CHECK(with_memory("/good-gray-interlaced.png", 1200));
  CHECK(with_memory("/good-gray.png", 1));  // rows are not counted
  CHECK(with_memory("/good-gray.jpg", 5000));
}

TEST_CASE("an image in memory that is larger than its limit is refused, whatever its format") {
  for (const char* name : {"/good-gray.png", "/good-progressive.jpg", "/good.ppm"}) {
    const std::string content = content_of(std::string(EDGE_CORPUS) + name);
    Encoded picture{name, reinterpret_cast<const uint8_t*>(content.data()), content.size()};
    CHECK(decode_image(picture));
    picture.limits.memory = content.size() - 1;
    const auto refused = decode_image(picture);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().problem ==
          format("has %zu bytes, the limit is %zu", content.size(), content.size() - 1));
    CHECK(std::string(refused.error().code) == "image_too_large");
  }
}

TEST_CASE("of a file short segments and fill bytes cost no system call each") {
  const auto reads = [] {
    std::ifstream counters("/proc/self/io");
    std::string name;
    size_t count = 0;
    while (counters >> name >> count && name != "syscr:") continue;
    return count;
  };
  const TemporaryFolder folder;
  const std::string jpeg = content_of(EDGE_CORPUS "/good-gray.jpg");
  std::string segments;
  for (size_t i = 0; i < 20000; ++i) segments += std::string("\xFF\xE5\0\x02", 4);
  const std::string png = content_of(EDGE_CORPUS "/good-gray.png");
  const std::string chunk("\0\0\0\0teSt\x4D\xFB\x5A\xAE", 12);
  std::string chunks;
  for (size_t i = 0; i < 20000; ++i) chunks += chunk;
  for (const std::string& content :
       {jpeg.substr(0, 2) + std::string(100000, '\xFF') + jpeg.substr(2),
        jpeg.substr(0, 2) + segments + jpeg.substr(2),
        png.substr(0, 33) + chunks + png.substr(33)}) {
    const std::string path = folder.write("image", content);
    const size_t before = reads();
    CHECK(load_image(path));
    CHECK(reads() - before < 1000);
  }
}

TEST_CASE("orientation is read of either byte order, and is 1 where it is malformed") {
  const auto of = [](const std::string& text) {
    const Encoded block{"tiff", reinterpret_cast<const uint8_t*>(text.data()), text.size()};
    return exif_orientation(block, 0, text.size());
  };
  const std::string big("MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0", 22);
  const std::string little("II\x2a\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x08\0\0\0", 22);
  CHECK(of(big) == 6);
  CHECK(of(little) == 8);
  for (size_t length = 0; length < 20; ++length) CHECK(of(big.substr(0, length)) == 1);
  CHECK(of(replaced(big, "\x06", "\x09")) == 1);
  CHECK(of(replaced(big, "\x08", "\xff")) == 1);
}
