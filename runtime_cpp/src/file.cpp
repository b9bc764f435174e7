#include "edge/file.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <new>

#include "common/text.hpp"

namespace edge {
namespace {

/// O_NONBLOCK: a FIFO given by mistake is refused at once, not waited for.
Descriptor open_to_read(const std::string& path, int flags = 0) {
  return Descriptor(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | flags));
}

Error missing(const std::string& path, const FileFaults& faults, const std::string& problem) {
  return {faults.exit, faults.missing, path, problem, "check the path and the file's permissions"};
}

/// Reads from the start of a file; bytes read, fewer where it has become shorter, -1 with errno.
ssize_t read_all(int fd, uint8_t* to, size_t size) {
  size_t done = 0;
  while (done < size) {
    const ssize_t got = pread(fd, to + done, size - done, static_cast<off_t>(done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return -1;
    if (got == 0) break;
    done += static_cast<size_t>(got);
  }
  return static_cast<ssize_t>(done);
}

bool rename_over(int folder, const std::string& from, const std::string& to) {
  return renameat(folder, from.c_str(), folder, to.c_str()) == 0;
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
  return rename_over(folder, from, to);
}

bool write_aside(int folder, const std::string& name, const std::function<bool(int)>& write,
                 bool (*rename)(int, const std::string&, const std::string&)) {
  const std::string aside = "." + name;
  unlinkat(folder, aside.c_str(), 0);  // of a run that was killed, or somebody's link
  const int fd =
      openat(folder, aside.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
  if (fd < 0) return false;
  bool whole = write(fd) && fsync(fd) == 0;
  whole = close(fd) == 0 && whole;
  if (whole && rename(folder, aside, name)) return true;
  const int fault = errno;
  unlinkat(folder, aside.c_str(), 0);
  errno = fault;
  return false;
}

}  // namespace

bool write_all(int file, const void* data, size_t size) {
  const auto* bytes = static_cast<const char*>(data);
  for (size_t at = 0; at < size;) {
    const ssize_t written = write(file, bytes + at, size - at);
    if (written < 0 && errno != EINTR) return false;
    if (written > 0) at += static_cast<size_t>(written);
  }
  return true;
}

bool copy_file(int from, int to, size_t limit) {
  const auto size = checked_size(from, "", {Exit::image, "", "", limit});
  if (!size) return false;
  char block[16384];
  for (size_t at = 0; at < *size;) {
    const ssize_t bytes =
        pread(from, block, std::min(sizeof block, *size - at), static_cast<off_t>(at));
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes <= 0) return bytes == 0;  // it has become shorter
    at += static_cast<size_t>(bytes);
    if (!write_all(to, block, static_cast<size_t>(bytes))) return false;
  }
  return true;
}

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

FileBytes allocate(size_t size, size_t limit) {
  if (size > limit) return {};
  FileBytes bytes{std::unique_ptr<uint8_t[]>(new (std::nothrow) uint8_t[size]), size};
  return bytes.data ? std::move(bytes) : FileBytes{};
}

Result<OpenFile> open_file(const std::string& path, const FileFaults& faults, Links links) {
  Descriptor file = open_to_read(path, links == Links::refuse ? O_NOFOLLOW : 0);
  if (!file && errno == ELOOP) return missing(path, faults, "is a link");
  const auto size = checked_size(file.get(), path, faults);
  if (!size) return size.error();
  return OpenFile{std::move(file), *size};
}

Result<FileBytes> read_file(const std::string& path, const FileFaults& faults, Links links) {
  const auto file = open_file(path, faults, links);
  if (!file) return file.error();
  return read_open_file(file->descriptor.get(), path, faults);
}

Result<FileBytes> read_open_file(int fd, const std::string& name, const FileFaults& faults) {
  const auto size = checked_size(fd, name, faults);
  if (!size) return size.error();
  FileBytes bytes{std::unique_ptr<uint8_t[]>(new (std::nothrow) uint8_t[*size + 1]), 0};
  if (!bytes.data) return missing(name, faults, "does not fit in memory");
  const ssize_t got = read_all(fd, bytes.data.get(), *size);
  if (got < 0) return missing(name, faults, system_fault());
  bytes.size = static_cast<size_t>(got);
  return bytes;
}

Result<MappedFile> MappedFile::open(const std::string& path, const FileFaults& faults,
                                    Pages pages) {
  const Descriptor file = open_to_read(path);
  const auto size = checked_size(file.get(), path, faults);
  if (!size) return size.error();
  if (*size == 0) return MappedFile(nullptr, 0, pages);
  const bool is_copy = pages == Pages::copied;
  void* data =
      mmap(nullptr, *size, is_copy ? PROT_READ | PROT_WRITE : PROT_READ,
           is_copy ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_PRIVATE, is_copy ? -1 : file.get(), 0);
  if (data == MAP_FAILED) return missing(path, faults, system_fault());
  MappedFile mapped(static_cast<const uint8_t*>(data), *size, pages);
  if (!is_copy) return mapped;
  const ssize_t got = read_all(file.get(), static_cast<uint8_t*>(data), *size);
  if (got < 0) return missing(path, faults, system_fault());
  mprotect(data, *size, PROT_READ);
  return mapped;
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      pages_(other.pages_) {}

void MappedFile::forget_pages() const {
  // Those of a copy are nowhere else.
  if (data_ == nullptr || pages_ == Pages::copied) return;
  madvise(const_cast<uint8_t*>(data_), size_, MADV_DONTNEED);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(const_cast<uint8_t*>(data_), size_);
}

bool write_new_file(const std::string& path, const std::string& text) {
  const Descriptor folder = open_to_read(folder_of(path), O_DIRECTORY);
  if (!folder) return false;
  const auto write = [&](int file) { return write_all(file, text.data(), text.size()); };
  return write_aside(folder.get(), name_of(path), write, rename_new);
}

bool replace_file(int folder, const std::string& name, const std::function<bool(int)>& write) {
  return write_aside(folder, name, write, rename_over);
}

std::vector<std::string> names_in(int folder) {
  std::vector<std::string> names;
  const int handle = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR* listing = handle >= 0 ? fdopendir(handle) : nullptr;
  while (const dirent* entry = listing != nullptr ? readdir(listing) : nullptr) {
    if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  }
  if (listing != nullptr) closedir(listing);
  return names;
}

bool replace_file(const std::string& path, const std::string& text) {
  const std::string aside = folder_of(path) + "/." + name_of(path);
  const int fd = open(aside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
  if (fd < 0) return false;
  bool whole = write_all(fd, text.data(), text.size());
  whole = close(fd) == 0 && whole;
  return whole && std::rename(aside.c_str(), path.c_str()) == 0;
}

std::optional<Error> folder_fault(const char* option, const std::string& folder) {
  if (access(folder.c_str(), R_OK | W_OK | X_OK) == 0) return std::nullopt;
  return Error{Exit::usage, "folder_unusable", std::string(option) + "=" + folder, system_fault(),
               "make the folder, or give another"};
}

}  // namespace edge
