#include <algorithm>
#include <fstream>

#include "edge/unsure_images.hpp"
#include "support.hpp"

using namespace edge;

namespace {

/// A deploy root with one release in it, and an image of four bytes.
struct Deployed {
  explicit Deployed(size_t images, size_t bytes = 1000) {
    folder.write("releases/0123456789abcdef/run.json", "{}");
    image = folder.write("image", "four");
    settings.release = folder.path("releases/0123456789abcdef");
    settings.unsure_images = {images, bytes};
  }

  std::vector<std::string> names() const {
    std::vector<std::string> names;
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator(folder.path("unsure"), ignored))
      names.push_back(entry.path().filename());
    std::sort(names.begin(), names.end());
    return names;
  }

  TemporaryFolder folder;
  std::string image;
  Settings settings;
};

ImageWriter writer_of(const std::string& path) {
  return [path](int to, size_t limit) {
    const auto file = open_file(path, {Exit::image, "", "", limit}, Links::refuse);
    return file && copy_file(file->descriptor.get(), to, limit);
  };
}

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("nothing is kept unless the release asks for it") {
  const Deployed deployed(0);
  UnsureImages images(deployed.settings);
  images.offer("a.png", 0.1, 5, writer_of(deployed.image));
  CHECK(images.folder() == -1);
  CHECK(deployed.names().empty());
}

TEST_CASE("the least certain images are kept, also over a restart") {
  const Deployed deployed(2);
  {
    UnsureImages images(deployed.settings);
    images.offer("half.png", 0.5, 5, writer_of(deployed.image));
    images.offer("sure.png", 0.9, 6, writer_of(deployed.image));
    images.offer("unsure.png", 0.25, 7, writer_of(deployed.image));
    images.offer("surest.png", 1, 8, writer_of(deployed.image));
  }
  CHECK(deployed.names() == Names{"0250000-7-unsure.png", "0500000-5-half.png"});
  UnsureImages again(deployed.settings);
  again.offer("0 $(x)/\xc3\xa4.png", 0, 9, writer_of(deployed.image));
  CHECK(deployed.names() == Names{"0000000-9-0___x____.png", "0250000-7-unsure.png"});
}

TEST_CASE("all that are kept together have no more bytes than the release says") {
  const Deployed deployed(100, 9);
  UnsureImages images(deployed.settings);
  images.offer("a", 0.2, 1, writer_of(deployed.image));
  images.offer("b", 0.3, 1, writer_of(deployed.image));
  images.offer("c", 0.1, 1, writer_of(deployed.image));
  CHECK(deployed.names() == Names{"0100000-1-c", "0200000-1-a"});
  images.offer("d", 0, 1, writer_of(deployed.folder.write("large", "ten bytes!")));
  images.offer("e", 0, 1, writer_of(deployed.folder.path("none")));
  CHECK(deployed.names().size() == 2);
}
