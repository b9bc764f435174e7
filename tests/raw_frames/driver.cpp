// Frames from standard input, one after the other, and their rows to standard output: eight numbers
// of 32 bits (format, width, height, stride, chroma, is_for_gray, is_at_begin, bytes), then the
// bytes. A frame lies at the begin or the end of its pages, beside one that nobody may touch: a
// read before or beyond it ends the program.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "edge/raw_frame.hpp"

namespace {

class WrittenRows : public edge::Rows {
 public:
  void begin(const edge::ImageShape& shape) override {
    bytes_ = static_cast<size_t>(shape.width) * static_cast<size_t>(shape.channels);
  }
  void row(const uint8_t* pixels) override { std::fwrite(pixels, 1, bytes_, stdout); }

 private:
  size_t bytes_ = 0;
};

[[noreturn]] void fail(const char* problem) {
  std::fprintf(stderr, "driver: %s\n", problem);
  std::exit(1);
}

/// Memory of whole pages between two that nobody may touch.
class Pages {
 public:
  explicit Pages(size_t bytes) {
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    inner_ = (bytes + page - 1) / page * page;
    size_ = inner_ + 2 * page;
    void* mapped = mmap(nullptr, size_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) fail("there is no memory");
    begin_ = static_cast<uint8_t*>(mapped);
    if (mprotect(begin_ + page, inner_, PROT_READ | PROT_WRITE) != 0) fail("no memory to write to");
    first_ = begin_ + page;
  }
  ~Pages() { munmap(begin_, size_); }
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;

  uint8_t* at_begin() const { return first_; }
  uint8_t* at_end(size_t bytes) const { return first_ + inner_ - bytes; }

 private:
  size_t inner_ = 0, size_ = 0;
  uint8_t* begin_ = nullptr;
  uint8_t* first_ = nullptr;
};

struct Head {
  uint32_t format, width, height, stride, chroma, is_for_gray, is_at_begin, bytes;
};

}  // namespace

int main() {
  Head head{};
  while (std::fread(&head, sizeof head, 1, stdin) == 1) {
    const Pages pages(head.bytes);
    uint8_t* memory = head.is_at_begin != 0 ? pages.at_begin() : pages.at_end(head.bytes);
    if (std::fread(memory, 1, head.bytes, stdin) != head.bytes) fail("a frame's bytes are missing");
    const edge::RawFrame frame{static_cast<edge::PixelFormat>(head.format),
                               head.width,
                               head.height,
                               head.stride,
                               head.chroma,
                               memory};
    if (!frame.problem().empty()) fail(frame.problem().c_str());
    if (frame.bytes() != head.bytes) fail("a frame has another number of bytes");
    WrittenRows rows;
    edge::put_rows(frame, head.is_for_gray != 0, rows);
    std::fflush(stdout);
  }
}
