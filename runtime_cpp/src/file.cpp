#include "edge/file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <new>

#include "common/text.hpp"

namespace edge {
namespace {

/// An open file descriptor, closed at the end of its scope.
class Descriptor {
 public:
  explicit Descriptor(const std::string& path)
      // O_NONBLOCK: a FIFO given by mistake is refused at once, not waited for.
      : fd_(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

Error missing(const std::string& path, const FileFaults& faults, const std::string& problem) {
  return {faults.exit, faults.missing, path, problem, "check the path and the file's permissions"};
}

/// Size in bytes of an open regular file within the limit.
Result<size_t> checked_size(int fd, const std::string& path, const FileFaults& faults) {
  struct stat status{};
  if (fd < 0 || fstat(fd, &status) != 0) return missing(path, faults, system_fault());
  if (S_ISDIR(status.st_mode)) return missing(path, faults, "is a folder");
  if (!S_ISREG(status.st_mode)) return missing(path, faults, "is not a regular file");
  const auto size = static_cast<uint64_t>(status.st_size);
  if (size <= faults.limit) return static_cast<size_t>(size);
  return Error{faults.exit, faults.too_large, path,
               format("has %llu bytes, the limit is %zu", static_cast<unsigned long long>(size),
                      faults.limit),
               "check that this is the right file"};
}

}  // namespace

Result<FileBytes> read_file(const std::string& path, const FileFaults& faults) {
  const Descriptor file(path);
  const auto size = checked_size(file.get(), path, faults);
  if (!size) return size.error();
  FileBytes bytes{std::unique_ptr<uint8_t[]>(new (std::nothrow) uint8_t[*size + 1]), 0};
  if (!bytes.data) return missing(path, faults, "does not fit in memory");
  while (bytes.size < *size) {
    const ssize_t got = read(file.get(), bytes.data.get() + bytes.size, *size - bytes.size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return missing(path, faults, system_fault());
    if (got == 0) break;
    bytes.size += static_cast<size_t>(got);
  }
  return bytes;
}

Result<MappedFile> MappedFile::open(const std::string& path, const FileFaults& faults) {
  const Descriptor file(path);
  const auto size = checked_size(file.get(), path, faults);
  if (!size) return size.error();
  if (*size == 0) return MappedFile(nullptr, 0);
  void* data = mmap(nullptr, *size, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (data == MAP_FAILED) return missing(path, faults, system_fault());
  return MappedFile(static_cast<const uint8_t*>(data), *size);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

void MappedFile::forget_pages() const {
  if (data_ != nullptr) madvise(const_cast<uint8_t*>(data_), size_, MADV_DONTNEED);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(const_cast<uint8_t*>(data_), size_);
}

bool write_file(const std::string& path, const std::string& text) {
  const std::string aside = folder_of(path) + "/." + name_of(path);
  FILE* file = std::fopen(aside.c_str(), "we");
  if (file == nullptr) return false;
  const bool whole = std::fwrite(text.data(), 1, text.size(), file) == text.size() &&
                     std::fflush(file) == 0 && fsync(fileno(file)) == 0;
  if (std::fclose(file) == 0 && whole) return std::rename(aside.c_str(), path.c_str()) == 0;
  unlink(aside.c_str());
  return false;
}

}  // namespace edge
