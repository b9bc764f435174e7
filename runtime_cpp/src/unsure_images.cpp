#include "edge/unsure_images.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "common/text.hpp"
#include "edge/deploy_root.hpp"

namespace edge {
namespace {

constexpr const char* folder_name = "unsure";
constexpr size_t most_name_bytes = 100;  // of an image's name, from its end

/// What a shell and every file system take as it is.
std::string plain(std::string name) {
  if (name.size() > most_name_bytes) name.erase(0, name.size() - most_name_bytes);
  for (char& c : name) {
    const bool is_plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
                          (c >= 'a' && c <= 'z') || c == '.' || c == '-';
    if (!is_plain) c = '_';
  }
  return name;
}

size_t size_of(int folder, const std::string& name) {
  struct stat status{};
  fstatat(folder, name.c_str(), &status, AT_SYMLINK_NOFOLLOW);
  return static_cast<size_t>(status.st_size);
}

}  // namespace

UnsureImages::UnsureImages(const Settings& settings)
    : limits_(settings.unsure_images),
      folder_(limits_.images == 0 ? -1 : open_in_deploy_root(settings.release, folder_name)) {
  trim();
}

UnsureImages::~UnsureImages() {
  if (folder_ >= 0) close(folder_);
}

void UnsureImages::offer(const std::string& name, double margin, int64_t unix_s,
                         const ImageWriter& write_image) {
  if (folder_ < 0) return;
  const int millionths = static_cast<int>(std::clamp(margin, 0.0, 1.0) * 1e6);
  const std::string stored_name =
      format("%07d-%lld-", millionths, static_cast<long long>(unix_s)) + plain(name);
  if (!surest_.empty() && stored_name >= surest_) return;
  const auto write = [&](int file) { return write_image(file, limits_.bytes); };
  if (replace_file(folder_, stored_name, write)) trim();
}

void UnsureImages::trim() {
  auto names = names_in(folder_);
  size_t bytes = 0;
  for (const std::string& name : names) bytes += size_of(folder_, name);
  surest_.clear();
  while (names.size() > limits_.images || bytes > limits_.bytes) {
    const auto surest = std::max_element(names.begin(), names.end());
    bytes -= size_of(folder_, *surest);
    unlinkat(folder_, surest->c_str(), 0);
    surest_ = *surest;
    names.erase(surest);
  }
}

}  // namespace edge
