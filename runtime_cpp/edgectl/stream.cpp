#include "stream.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sodium.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

#include "store.hpp"

namespace edgectl {
namespace {

constexpr size_t max_data = 1u << 20;       // bytes that one op 'D' or 'Z' makes
constexpr size_t step_bytes = 64 * 1024;    // moved at once
constexpr off_t writeback_bytes = 1 << 20;  // the kernel is told to write this much out early

Error malformed(const std::string& problem) {
  return {Exit::damaged, "stream_malformed", "object stream", problem, "deploy again"};
}

std::string hex(const uint8_t* bytes, size_t size) {
  std::string text;
  for (size_t i = 0; i < size; ++i) text += format("%02x", bytes[i]);
  return text;
}

/// A little-endian number of `size` bytes.
Result<uint64_t> read_number(Source& source, size_t size) {
  uint8_t bytes[8]{};
  if (auto fault = source.read(bytes, size)) return *fault;
  uint64_t number = 0;
  for (size_t i = size; i > 0; --i) number = number << 8 | bytes[i - 1];
  return number;
}

/// An object in the making: `tmp/<sha256>.part`, which an earlier upload may have begun.
class Part {
 public:
  Part(const Board& board, const ReleaseFile& file) : board_(board), file_(file) {
    received_.sha256 = file.sha256;
    received_.bytes = file.bytes;
    crypto_hash_sha256_init(&hash_);
  }

  Fault open_files(const std::string& base);
  bool is_complete() const { return at_ == file_.bytes; }
  Fault take(uint8_t op, Source& source);
  /// Into the store, if its hash is right.
  Result<Received> finish();

 private:
  Fault take_data(Source& source, uint64_t size);
  Fault take_frame(Source& source, size_t size);
  Fault copy(const Descriptor& from, uint64_t offset, uint64_t size, bool write);
  Fault append(const uint8_t* bytes, size_t size, bool write);
  void write_out();

  const Board& board_;
  ReleaseFile file_;
  Received received_;
  Descriptor part_;
  Descriptor base_;
  uint64_t at_ = 0;  // bytes made so far
  off_t written_out_ = 0;
  crypto_hash_sha256_state hash_{};
  std::unique_ptr<uint8_t[]> step_{new uint8_t[step_bytes]};
};

Fault Part::open_files(const std::string& base) {
  const std::string path = board_.part(file_.sha256);
  part_ = Descriptor(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644));
  if (!part_) return storage_fault(path);
  if (base == std::string(64, '0')) return std::nullopt;
  base_ = Descriptor(open(board_.object(base).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!base_) return malformed("base " + base + " is not in the store");
  return std::nullopt;
}

Fault Part::take(uint8_t op, Source& source) {
  if (op != 'D' && op != 'Z' && op != 'B' && op != 'P')
    return malformed(format("unknown op %u", op));
  const auto offset = op == 'B' ? read_number(source, 8) : Result<uint64_t>(at_);
  if (!offset) return offset.error();
  const auto size = read_number(source, 4);
  if (!size) return size.error();
  if (*size == 0) return malformed("an op without bytes");
  if (*size > file_.bytes - at_) return malformed("more bytes than the object has");
  if ((op == 'D' || op == 'Z') && *size > max_data) return malformed("op of more than 1 MiB");
  if (op == 'D') return take_data(source, *size);
  if (op == 'Z') return take_frame(source, static_cast<size_t>(*size));
  (op == 'B' ? received_.copied : received_.kept) += *size;
  return op == 'B' ? copy(base_, *offset, *size, true) : copy(part_, *offset, *size, false);
}

Fault Part::take_data(Source& source, uint64_t size) {
  received_.sent += size;
  while (size > 0) {
    const size_t step = static_cast<size_t>(std::min<uint64_t>(size, step_bytes));
    if (auto fault = source.read(step_.get(), step)) return fault;
    if (auto fault = append(step_.get(), step, true)) return fault;
    size -= step;
  }
  return std::nullopt;
}

/// `size` bytes out of one frame; whatever the frame says of itself, no more are made.
Fault Part::take_frame(Source& source, size_t size) {
  const auto packed = read_number(source, 4);
  if (!packed) return packed.error();
  if (*packed >= size) return malformed("a frame that is not smaller than what it holds");
  const auto frame_bytes = static_cast<size_t>(*packed);
  const std::unique_ptr<uint8_t[]> frame(new uint8_t[frame_bytes]);
  const std::unique_ptr<uint8_t[]> plain(new uint8_t[size]);
  if (auto fault = source.read(frame.get(), frame_bytes)) return fault;
  if (ZSTD_decompress(plain.get(), size, frame.get(), frame_bytes) != size) {
    return malformed("a frame that does not hold its bytes");
  }
  received_.sent += size;
  return append(plain.get(), size, true);
}

Fault Part::copy(const Descriptor& from, uint64_t offset, uint64_t size, bool write) {
  if (!from) return malformed("op B without a base");
  if (offset > INT32_MAX * uint64_t{4096}) return malformed("an offset beyond any object");
  while (size > 0) {
    const size_t step = static_cast<size_t>(std::min<uint64_t>(size, step_bytes));
    const ssize_t got = pread(from.get(), step_.get(), step, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return storage_fault(file_.path);
    if (got == 0) return malformed("an op beyond the end of what it copies from");
    if (auto fault = append(step_.get(), static_cast<size_t>(got), write)) return fault;
    offset += static_cast<uint64_t>(got);
    size -= static_cast<uint64_t>(got);
  }
  return std::nullopt;
}

Fault Part::append(const uint8_t* bytes, size_t size, bool write) {
  crypto_hash_sha256_update(&hash_, bytes, size);
  for (size_t done = 0; write && done < size;) {
    const auto place = static_cast<off_t>(at_ + done);
    const ssize_t wrote = pwrite(part_.get(), bytes + done, size - done, place);
    if (wrote < 0 && errno != EINTR) return storage_fault(board_.part(file_.sha256));
    if (wrote > 0) done += static_cast<size_t>(wrote);
  }
  at_ += size;
  write_out();
  return std::nullopt;
}

/// Early writing makes the fsync at the end short, and an upload that is cut short worth more.
void Part::write_out() {
  const off_t fresh = static_cast<off_t>(at_) - written_out_;
  if (fresh < writeback_bytes) return;
  sync_file_range(part_.get(), written_out_, fresh, SYNC_FILE_RANGE_WRITE);
  written_out_ = static_cast<off_t>(at_);
}

Result<Received> Part::finish() {
  uint8_t digest[crypto_hash_sha256_BYTES];
  crypto_hash_sha256_final(&hash_, digest);
  const std::string arrived = hex(digest, sizeof digest);
  if (arrived != file_.sha256) {
    return Error{Exit::damaged, "object_damaged", file_.path,
                 "arrived as " + arrived + " instead of " + file_.sha256, "deploy again"};
  }
  const std::string path = board_.part(file_.sha256);
  if (ftruncate(part_.get(), static_cast<off_t>(file_.bytes)) != 0) return storage_fault(path);
  if (fchmod(part_.get(), file_.executable ? 0755 : 0644) != 0) return storage_fault(path);
  if (fsync(part_.get()) != 0) return storage_fault(path);
  if (auto fault = rename_over(path, board_.object(file_.sha256))) return *fault;
  return received_;
}

/// The manifest's entry for an object; executable if any of its files is.
Result<ReleaseFile> wanted(const Manifest& manifest, const std::string& sha256, uint64_t bytes) {
  ReleaseFile object;
  for (const auto& file : manifest.files) {
    if (file.sha256 != sha256 || file.bytes != bytes) continue;
    const bool executable = object.executable || file.executable;
    object = file;
    object.executable = executable;
  }
  if (!object.sha256.empty()) return object;
  return Error{Exit::damaged, "object_foreign", sha256,
               "is not an object of the release that was begun", "deploy again"};
}

Result<Received> receive_object(const Board& board, const Manifest& manifest, Source& source) {
  uint8_t digest[32];
  if (auto fault = source.read(digest, sizeof digest)) return *fault;
  const auto bytes = read_number(source, 8);
  if (!bytes) return bytes.error();
  uint8_t base[32];
  if (auto fault = source.read(base, sizeof base)) return *fault;
  const auto file = wanted(manifest, hex(digest, sizeof digest), *bytes);
  if (!file) return file.error();
  Part part(board, *file);
  if (auto fault = part.open_files(hex(base, sizeof base))) return *fault;
  while (!part.is_complete()) {
    uint8_t op = 0;
    if (auto fault = source.read(&op, 1)) return *fault;
    if (auto fault = part.take(op, source)) return *fault;
  }
  return part.finish();
}

}  // namespace

Fault PatientSource::read(uint8_t* bytes, size_t size) {
  while (size > 0) {
    pollfd waiting{fd_, POLLIN, 0};
    const int ready = poll(&waiting, 1, patience_ms_);
    if (ready < 0 && errno == EINTR) continue;
    if (ready == 0) return malformed("nothing came for too long");
    const ssize_t got = ::read(fd_, bytes, size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return malformed("standard input: " + edge::system_fault());
    if (got == 0) return malformed("ended early");
    bytes += got;
    size -= static_cast<size_t>(got);
  }
  return std::nullopt;
}

Result<std::string> read_input(int fd, size_t limit) {
  std::string text;
  char block[4096];
  for (;;) {
    const ssize_t got = ::read(fd, block, sizeof block);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return malformed("standard input: " + edge::system_fault());
    if (got == 0) return text;
    text.append(block, static_cast<size_t>(got));
    if (text.size() > limit) return malformed(format("is over %zu bytes", limit));
  }
}

Result<std::vector<Received>> receive_objects(const Board& board, const Manifest& manifest,
                                              Source& source) {
  uint8_t magic[4];
  if (auto fault = source.read(magic, sizeof magic)) return *fault;
  if (std::memcmp(magic, "EWR1", sizeof magic) != 0) return malformed("does not begin with EWR1");
  std::vector<Received> received;
  for (;;) {
    uint8_t tag = 0;
    if (auto fault = source.read(&tag, 1)) return *fault;
    if (tag == 'E') return received;
    if (tag != 'O') return malformed(format("expected an object, found tag %u", tag));
    const auto object = receive_object(board, manifest, source);
    if (!object) return object.error();
    received.push_back(*object);
  }
}

}  // namespace edgectl
