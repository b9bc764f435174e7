#include "edge/serve_frame.hpp"

#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include "common/text.hpp"
#include "edge/raw_frame.hpp"

namespace edge {
namespace {

RawFrame raw_frame(const edge_request& frame) {
  return {static_cast<PixelFormat>(frame.format), frame.width, frame.height, frame.stride,
          frame.chroma};
}

/// Where the frame ends in its memory, bytes.
uint64_t end_of(const edge_request& frame) {
  return frame.offset + raw_frame(frame).bytes();
}

/// Whether a client has written all of it. A page that nobody has is made when it is read through a
/// mapping, and charged to who reads it: a client could have the service pay for memory that it
/// only asked for. (lseek moves the place in the file, which the client has in common with us.)
bool is_written(int memory, uint64_t begin, uint64_t end) {
  const off_t hole = lseek(memory, static_cast<off_t>(begin), SEEK_HOLE);
  return hole >= 0 && static_cast<uint64_t>(hole) >= end;
}

/// Why nothing can be read of it; empty where it can.
std::string memory_problem(const edge_request& frame, int memory) {
  const int seals = fcntl(memory, F_GET_SEALS);
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0) {
    return "is no memory that is sealed against shrinking";
  }
  // munmap would want its length in pages of that size: none of a frame would ever go.
  struct statfs system{};
  fstatfs(memory, &system);
  if (static_cast<uint32_t>(system.f_type) == HUGETLBFS_MAGIC) return "is memory in huge pages";
  struct stat status{};
  fstat(memory, &status);
  if (end_of(frame) > static_cast<uint64_t>(status.st_size)) {
    return format("reaches to byte %llu, its memory has %llu",
                  static_cast<unsigned long long>(end_of(frame)),
                  static_cast<unsigned long long>(status.st_size));
  }
  // What a driver pads luma with, nobody need write.
  const RawFrame pixels = raw_frame(frame);
  const uint64_t first_end = frame.offset + pixels.first_plane_bytes();
  const bool is_whole = is_written(memory, frame.offset, first_end) &&
                        (end_of(frame) == first_end ||
                         is_written(memory, frame.offset + pixels.chroma, end_of(frame)));
  return is_whole ? "" : "has pixels that nobody has written";
}

/// Why there is no such frame; empty where there is.
std::string frame_problem(const edge_request& frame, int memory) {
  std::string problem = raw_frame(frame).problem();
  if (!problem.empty()) return problem;
  // A 32-bit board could map only the low part of it.
  if (static_cast<size_t>(end_of(frame)) != end_of(frame)) return "reaches beyond 4 GiB";
  return memory_problem(frame, memory);
}

/// The rows of a frame whose size was checked.
std::optional<Error> read_frame(const edge_request& frame, int memory, const std::string& name,
                                bool is_for_gray, Rows& rows) {
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
  RawFrame pixels = raw_frame(frame);
  pixels.pixels = static_cast<const uint8_t*>(mapped) + frame.offset;
  put_rows(pixels, is_for_gray, rows);
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
  const auto source = [&](Rows& rows) {
    return read_frame(frame, memory, name, card.takes_gray(), rows);
  };
  return make_input(picture, source, card);
}

bool write_frame(const edge_request& frame, int memory, const Card& card, int file, size_t limit) {
  const auto channels = static_cast<size_t>(raw_frame(frame).channels(card.takes_gray()));
  const char kind = channels == 1 ? '5' : '6';
  const std::string head = format("P%c\n%u %u\n255\n", kind, frame.width, frame.height);
  const size_t pixels = size_t{frame.width} * frame.height;
  if (head.size() + pixels * channels > limit) return false;
  PackedRows rows(file);
  return write_all(file, head.data(), head.size()) &&
         !read_frame(frame, memory, "", card.takes_gray(), rows) && rows.is_whole();
}

}  // namespace edge
