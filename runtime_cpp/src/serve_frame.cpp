#include "edge/serve_frame.hpp"

#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <vector>

#include "common/text.hpp"

namespace edge {
namespace {

size_t channels_of(const edge_request& frame) {
  return frame.format == EDGE_GRAY ? 1 : 3;
}

/// Where the frame ends in its memory, bytes.
uint64_t end_of(const edge_request& frame) {
  const uint64_t last_row = uint64_t{frame.height - 1} * frame.stride;
  return frame.offset + last_row + uint64_t{frame.width} * channels_of(frame);
}

/// In words; empty: it is one.
std::string frame_problem(const edge_request& frame, int memory) {
  if (frame.format < EDGE_GRAY || frame.format > EDGE_BGR) {
    return format("has pixels of format %u", frame.format);
  }
  const size_t row = frame.width * channels_of(frame);
  if (frame.stride < row) {
    return format("has a stride of %u bytes, its rows have %zu", frame.stride, row);
  }
  // A 32-bit board could map only the low part of it.
  if (static_cast<size_t>(end_of(frame)) != end_of(frame)) return "reaches beyond 4 GiB";
  const int seals = fcntl(memory, F_GET_SEALS);
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0) {
    return "is no memory that is sealed against shrinking";
  }
  struct stat status{};
  fstat(memory, &status);
  if (end_of(frame) <= static_cast<uint64_t>(status.st_size)) return "";
  return format("reaches to byte %llu, its memory has %llu",
                static_cast<unsigned long long>(end_of(frame)),
                static_cast<unsigned long long>(status.st_size));
}

/// Rows as decoders give them: blue comes last.
void put_rows(const edge_request& frame, const uint8_t* pixels, Rows& rows) {
  const auto width = static_cast<int>(frame.width);
  const size_t bytes = frame.width * channels_of(frame);
  rows.begin({width, static_cast<int>(frame.height), static_cast<int>(channels_of(frame)), 1});
  std::vector<uint8_t> turned(frame.format == EDGE_BGR ? bytes : 0);
  for (uint32_t y = 0; y < frame.height; ++y, pixels += frame.stride) {
    for (size_t i = 0; i < turned.size(); ++i) turned[i] = pixels[i - i % 3 + 2 - i % 3];
    rows.row(turned.empty() ? pixels : turned.data());
  }
}

/// The rows of a frame whose size was checked.
std::optional<Error> read_frame(const edge_request& frame, int memory, const std::string& name,
                                Rows& rows) {
  std::string problem = frame_problem(frame, memory);
  const auto size = static_cast<size_t>(end_of(frame));
  void* mapped = MAP_FAILED;
  if (problem.empty()) {
    mapped = mmap(nullptr, size, PROT_READ, MAP_SHARED, memory, 0);
    if (mapped == MAP_FAILED) problem = system_fault();
  }
  if (!problem.empty()) {
    return Error{Exit::image, "frame_invalid", name, problem,
                 "see edge_frame_open in edge/client.h for what a frame is"};
  }
  put_rows(frame, static_cast<const uint8_t*>(mapped) + frame.offset, rows);
  munmap(mapped, size);
  return std::nullopt;
}

/// Pixels behind each other, in a file.
class PackedRows : public Rows {
 public:
  explicit PackedRows(int file) : file_(file) {}
  void begin(const ImageShape& shape) override {
    bytes_ = static_cast<size_t>(shape.width) * static_cast<size_t>(shape.channels);
  }
  void row(const uint8_t* pixels) override {
    is_whole_ = is_whole_ && write_all(file_, pixels, bytes_);
  }
  bool is_whole() const { return is_whole_; }

 private:
  int file_;
  size_t bytes_ = 0;  // of a row
  bool is_whole_ = true;
};

}  // namespace

Result<Input> load_frame(const edge_request& frame, int memory, const std::string& name,
                         const Card& card, const ImageLimits& limits) {
  const Encoded picture{name, nullptr, 0, limits};
  if (auto error = check_size(picture, frame.width, frame.height)) return *error;
  return make_input(
      picture, [&](Rows& rows) { return read_frame(frame, memory, name, rows); }, card);
}

bool write_frame(const edge_request& frame, int memory, int file, size_t limit) {
  const char kind = channels_of(frame) == 1 ? '5' : '6';
  const std::string head = format("P%c\n%u %u\n255\n", kind, frame.width, frame.height);
  const size_t pixels = size_t{frame.width} * frame.height;
  if (head.size() + pixels * channels_of(frame) > limit) return false;
  PackedRows rows(file);
  return write_all(file, head.data(), head.size()) && !read_frame(frame, memory, "", rows) &&
         rows.is_whole();
}

}  // namespace edge
