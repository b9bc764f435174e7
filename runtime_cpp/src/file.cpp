#include "edge/file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
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
  explicit Descriptor(const std::string& path, int flags = 0)
      // O_NONBLOCK: a FIFO given by mistake is refused at once, not waited for.
      : fd_(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | flags)) {}
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

bool write_all(int fd, const std::string& text) {
  for (size_t at = 0; at < text.size();) {
    const ssize_t written = write(fd, text.data() + at, text.size() - at);
    if (written < 0 && errno != EINTR) return false;
    if (written > 0) at += static_cast<size_t>(written);
  }
  return true;
}

/// Renames inside a folder, unless the name is taken.
bool rename_new(int folder, const std::string& from, const std::string& to) {
  constexpr unsigned no_replace = 1;  // RENAME_NOREPLACE, which older headers lack
  if (syscall(SYS_renameat2, folder, from.c_str(), folder, to.c_str(), no_replace) == 0)
    return true;
  if (errno != ENOSYS && errno != EINVAL) return false;
  // An old kernel, or a file system without it.
  if (faccessat(folder, to.c_str(), F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
    errno = EEXIST;
    return false;
  }
  return renameat(folder, from.c_str(), folder, to.c_str()) == 0;
}

}  // namespace

Result<FileBytes> read_file(const std::string& path, const FileFaults& faults, Links links) {
  const Descriptor file(path, links == Links::refuse ? O_NOFOLLOW : 0);
  if (file.get() < 0 && errno == ELOOP) return missing(path, faults, "is a link");
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

bool write_new_file(const std::string& path, const std::string& text) {
  const Descriptor folder(folder_of(path), O_DIRECTORY);
  if (folder.get() < 0) return false;
  const std::string name = name_of(path);
  const std::string aside = "." + name;
  unlinkat(folder.get(), aside.c_str(), 0);  // of a run that was killed, or somebody's link
  const int fd = openat(folder.get(), aside.c_str(),
                        O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
  if (fd < 0) return false;
  bool whole = write_all(fd, text) && fsync(fd) == 0;
  whole = close(fd) == 0 && whole;
  if (whole && rename_new(folder.get(), aside, name)) return true;
  const int fault = errno;
  unlinkat(folder.get(), aside.c_str(), 0);
  errno = fault;
  return false;
}

}  // namespace edge
