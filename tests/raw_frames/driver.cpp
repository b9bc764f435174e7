// Frames from standard input, one after the other, and their rows to standard
// output: six numbers of 32 bits (format, width, height, stride, is_for_gray,
// bytes), then the bytes.
#include <cstdio>
#include <vector>

#include "edge/raw_frame.hpp"

namespace {

class WrittenRows : public edge::Rows {
public:
  void begin(const edge::ImageShape &shape) override {
    bytes_ =
        static_cast<size_t>(shape.width) * static_cast<size_t>(shape.channels);
  }
  void row(const uint8_t *pixels) override {
    std::fwrite(pixels, 1, bytes_, stdout);
  }

private:
  size_t bytes_ = 0;
};

} // namespace

int main() {
  uint32_t head[6];
  while (std::fread(head, sizeof head, 1, stdin) == 1) {
    std::vector<uint8_t> memory(head[5]);
    if (std::fread(memory.data(), 1, memory.size(), stdin) != memory.size())
      return 1;
    const edge::RawFrame frame{static_cast<edge::PixelFormat>(head[0]), head[1],
                               head[2], head[3], memory.data()};
    if (!frame.problem().empty() || frame.bytes() > memory.size())
      return 2;
    WrittenRows rows;
    edge::put_rows(frame, head[4] != 0, rows);
    std::fflush(stdout);
  }
}
