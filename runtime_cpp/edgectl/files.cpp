#include "files.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sodium.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <memory>

namespace edgectl {
namespace {

constexpr size_t block_bytes = 64 * 1024;  // read at once
constexpr size_t small_bytes = 4 * 1024;   // likewise, of a text

std::string hex(const uint8_t* bytes, size_t size) {
  std::string text(2 * size + 1, '\0');
  sodium_bin2hex(text.data(), text.size(), bytes, size);
  text.pop_back();
  return text;
}

/// SHA-256 of what it is fed.
class Hash {
 public:
  Hash() { crypto_hash_sha256_init(&state_); }
  void feed(const uint8_t* bytes, size_t size) { crypto_hash_sha256_update(&state_, bytes, size); }
  std::string finish() {
    uint8_t digest[crypto_hash_sha256_BYTES];
    crypto_hash_sha256_final(&state_, digest);
    crypto_hash_sha256_init(&state_);
    return hex(digest, sizeof digest);
  }

 private:
  crypto_hash_sha256_state state_;
};

/// Fills `bytes` as far as the file goes; returns how many, or -1.
ssize_t read_block(int fd, uint8_t* bytes, size_t size) {
  size_t filled = 0;
  while (filled < size) {
    const ssize_t got = read(fd, bytes + filled, size - filled);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return -1;
    if (got == 0) break;
    filled += static_cast<size_t>(got);
  }
  return static_cast<ssize_t>(filled);
}

/// Hands the file to `use`, `size` bytes at a time, until that returns false.
Fault each_block(const std::string& path, size_t size, From from,
                 const std::function<bool(const uint8_t*, size_t)>& use) {
  const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!file) return storage_fault(path);
  if (from == From::storage) posix_fadvise(file.get(), 0, 0, POSIX_FADV_DONTNEED);
  const std::unique_ptr<uint8_t[]> block(new uint8_t[size]);
  for (;;) {
    const ssize_t got = read_block(file.get(), block.get(), size);
    if (got < 0) return storage_fault(path);
    if (got > 0 && !use(block.get(), static_cast<size_t>(got))) return std::nullopt;
    if (static_cast<size_t>(got) < size) return std::nullopt;
  }
}

Fault write_anew(const std::string& path, const std::string& content, bool synced) {
  if (auto fault = remove_file(path)) return fault;
  const Descriptor file(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (!file) return storage_fault(path);
  if (auto fault = write_all(file.get(), content.data(), content.size(), path)) return fault;
  if (synced && fsync(file.get()) != 0) return storage_fault(path);
  return std::nullopt;
}

}  // namespace

Descriptor::Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

Descriptor::~Descriptor() {
  if (fd_ >= 0) close(fd_);
}

Error storage_fault(const std::string& subject) {
  const bool full = errno == ENOSPC || errno == EDQUOT;
  return {Exit::storage, full ? "no_space" : "io", subject, edge::system_fault(),
          full ? "make room on the board, then deploy again" : "look at the board's storage"};
}

bool is_absent(const std::string& path) {
  return access(path.c_str(), F_OK) != 0 && errno == ENOENT;
}

bool is_folder(const std::string& path) {
  struct stat status{};
  return lstat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
}

std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  DIR* stream = opendir(folder.c_str());
  if (stream == nullptr) return names;
  while (const dirent* entry = readdir(stream)) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  closedir(stream);
  std::sort(names.begin(), names.end());
  return names;
}

Result<std::string> read_text(const std::string& path, size_t limit) {
  std::string text;
  const auto add = [&](const uint8_t* bytes, size_t size) {
    text.append(reinterpret_cast<const char*>(bytes), size);
    return text.size() <= limit;
  };
  if (auto fault = each_block(path, small_bytes, From::cache, add)) return *fault;
  if (text.size() <= limit) return text;
  return Error{Exit::storage, "io", path, format("has more than %zu bytes", limit),
               "look at the board's storage"};
}

Fault write_all(int fd, const void* bytes, size_t size, const std::string& subject) {
  const char* at = static_cast<const char*>(bytes);
  while (size > 0) {
    const ssize_t wrote = write(fd, at, size);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return storage_fault(subject);
    at += wrote;
    size -= static_cast<size_t>(wrote);
  }
  return std::nullopt;
}

Fault make_folder(const std::string& path) {
  if (mkdir(path.c_str(), 0755) == 0 || (errno == EEXIST && is_folder(path))) return std::nullopt;
  return storage_fault(path);
}

Fault sync_folder(const std::string& path) {
  const Descriptor folder(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder || fsync(folder.get()) != 0) return storage_fault(path);
  return std::nullopt;
}

Fault write_file(const std::string& path, const std::string& content) {
  return write_anew(path, content, false);
}

Fault write_synced(const std::string& path, const std::string& content) {
  return write_anew(path, content, true);
}

Fault overwrite_synced(const std::string& path, const std::string& content) {
  const Descriptor file(open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!file) return storage_fault(path);
  const auto size = static_cast<ssize_t>(content.size());
  if (pwrite(file.get(), content.data(), content.size(), 0) != size ||
      ftruncate(file.get(), size) != 0 || fsync(file.get()) != 0) {
    return storage_fault(path);
  }
  return std::nullopt;
}

Fault rename_over(const std::string& from, const std::string& to) {
  if (rename(from.c_str(), to.c_str()) != 0) return storage_fault(to);
  return std::nullopt;
}

Fault remove_file(const std::string& path) {
  if (unlink(path.c_str()) == 0 || errno == ENOENT) return std::nullopt;
  return storage_fault(path);
}

Fault remove_tree(const std::string& path) {
  if (!is_folder(path)) return remove_file(path);
  for (const auto& name : names_in(path)) {
    if (auto fault = remove_tree(path + "/" + name)) return fault;
  }
  if (rmdir(path.c_str()) != 0) return storage_fault(path);
  return std::nullopt;
}

std::string sha256_hex(const std::string& bytes) {
  Hash hash;
  hash.feed(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  return hash.finish();
}

Result<std::string> hash_file(const std::string& path, From from) {
  Hash hash;
  const auto feed = [&](const uint8_t* bytes, size_t size) {
    hash.feed(bytes, size);
    return true;
  };
  if (auto fault = each_block(path, block_bytes, from, feed)) return *fault;
  return hash.finish();
}

Result<std::vector<std::string>> hash_chunks(const std::string& path, size_t chunk) {
  std::vector<std::string> hashes;
  Hash hash;
  const auto add = [&](const uint8_t* bytes, size_t size) {
    hash.feed(bytes, size);
    hashes.push_back(hash.finish().substr(0, 32));
    return true;
  };
  if (auto fault = each_block(path, chunk, From::cache, add)) return *fault;
  return hashes;
}

}  // namespace edgectl
