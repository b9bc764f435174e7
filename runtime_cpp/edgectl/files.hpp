#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "base.hpp"

namespace edgectl {

/// An open file descriptor, closed at the end of its scope.
class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept;
  Descriptor& operator=(Descriptor&& other) noexcept;
  ~Descriptor();

  explicit operator bool() const { return fd_ >= 0; }
  int get() const { return fd_; }

 private:
  int fd_;
};

/// errno as an error of the storage: `no_space` where that is the cause, `io` otherwise.
Error storage_fault(const std::string& subject);

bool is_absent(const std::string& path);  // and nothing else keeps it from being seen
bool is_folder(const std::string& path);
std::vector<std::string> names_in(const std::string& folder);  // sorted; empty if there is none

/// Content of a regular file of at most `limit` bytes.
Result<std::string> read_text(const std::string& path, size_t limit);

Fault write_all(int fd, const void* bytes, size_t size, const std::string& subject);
Fault make_folder(const std::string& path);  // one that is there is welcome
Fault sync_folder(const std::string& path);
Fault write_file(const std::string& path, const std::string& content);    // anew
Fault write_synced(const std::string& path, const std::string& content);  // and durable
/// In the place that the file has already, and durable: takes neither space nor an inode.
Fault overwrite_synced(const std::string& path, const std::string& content);
Fault rename_over(const std::string& from, const std::string& to);
Fault remove_file(const std::string& path);  // nothing there is welcome
Fault remove_tree(const std::string& path);  // likewise

/// SHA-256 in lower-case hex.
std::string sha256_hex(const std::string& bytes);

/// Where the bytes of a file are to be hashed from.
enum class From {
  cache,    // wherever the kernel has them
  storage,  // the page cache is dropped first, so that it is the storage that answers
};
Result<std::string> hash_file(const std::string& path, From from);

/// The first 32 hex digits of the SHA-256 of each `chunk` bytes of a file; the last may be short.
Result<std::vector<std::string>> hash_chunks(const std::string& path, size_t chunk);

}  // namespace edgectl
