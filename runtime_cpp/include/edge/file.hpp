#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/result.hpp"
#include "edge/descriptor.hpp"

namespace edge {

/// How the caller's kind of file names its faults.
struct FileFaults {
  Exit exit;              // exit code for any of them
  const char* missing;    // code when it is absent, unreadable or no regular file
  const char* too_large;  // code when it is larger than `limit`
  size_t limit;           // bytes
};

/// The content of a small file, copied: the file may change while it is used.
struct FileBytes {
  std::unique_ptr<uint8_t[]> data;
  size_t size = 0;  // bytes
};

/// Memory for a file of so many bytes; no data: it is more than `limit`, or cannot be had.
FileBytes allocate(size_t size, size_t limit);

/// Whether a path that ends in a link leads on: not where a stranger may have put the link.
enum class Links { follow, refuse };

Result<FileBytes> read_file(const std::string& path, const FileFaults& faults,
                            Links links = Links::follow);

/// A regular file within its limit that is open to be read.
struct OpenFile {
  Descriptor descriptor;
  size_t size;  // bytes
};
Result<OpenFile> open_file(const std::string& path, const FileFaults& faults, Links links);

/// Size in bytes of an open regular file within the limit; `name` is for messages.
Result<size_t> checked_size(int fd, const std::string& name, const FileFaults& faults);

/// Of a file that is open as `fd`, from its start; `name` is for messages.
Result<FileBytes> read_open_file(int fd, const std::string& name, const FileFaults& faults);

/// Whose the pages of a mapped file are: the page cache's, which cost no memory of this process
/// but change with the file, or this process's own.
enum class Pages { shared, copied };

/// A large file mapped read-only.
class MappedFile {
 public:
  static Result<MappedFile> open(const std::string& path, const FileFaults& faults,
                                 Pages pages = Pages::shared);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&&) = delete;
  ~MappedFile();

  const uint8_t* data() const { return data_; }
  size_t size() const { return size_; }  // bytes

  /// Gives the memory of pages back that were read; they are read again where they are needed.
  void forget_pages() const;

 private:
  MappedFile(const uint8_t* data, size_t size, Pages pages)
      : data_(data), size_(size), pages_(pages) {}

  const uint8_t* data_;
  size_t size_;
  Pages pages_;
};

/// Writes a small file that is not there yet, aside and renamed: whoever looks sees all of it. In
/// a folder that others may write to, nothing of theirs is written to or replaced.
/// False with errno set if that is not possible, EEXIST if there is a file of this name.
bool write_new_file(const std::string& path, const std::string& text);

/// Writes a small file aside and renames it over what was there; false with errno set if that is
/// not possible. For a folder that nobody else may write to.
bool replace_file(const std::string& path, const std::string& text);

/// A folder that is not there, or cannot be written, as the fault of the option that names it.
std::optional<Error> folder_fault(const char* option, const std::string& folder);

/// Appends to an open file; false if that is not possible.
bool write_all(int file, const void* data, size_t size);

/// Appends a regular file to an open one; false if it has more than `limit` bytes, or that is not
/// possible.
bool copy_file(int from, int to, size_t limit);

/// Writes a file of an open folder, as `write_new_file` does, in place of the one that is there.
bool replace_file(int folder, const std::string& name, const std::function<bool(int file)>& write);

/// Names of an open folder's files and folders, without those that start with a dot; none of -1.
std::vector<std::string> names_in(int folder);

}  // namespace edge
