#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "edge/file.hpp"
#include "edge/settings.hpp"

namespace edge {

/// Appends an image to an open file; false if it has more than `limit` bytes, or cannot be had.
using ImageWriter = std::function<bool(int file, size_t limit)>;

/// Images that a service keeps for whoever labels them: the least certain, within the limits of
/// `run.json`, in `unsure/` of the deploy root. Each is called MARGIN-TIME-NAME: the margin in
/// seven digits, Unix seconds, and of the image's name what is plain.
class UnsureImages {
 public:
  /// Nothing is kept where `run.json` does not ask for it.
  explicit UnsureImages(const Settings& settings);
  UnsureImages(const UnsureImages&) = delete;
  UnsureImages& operator=(const UnsureImages&) = delete;
  ~UnsureImages();

  /// Copies an image if it is among the least certain; `name` is what its owner calls it.
  void offer(const std::string& name, double margin, int64_t unix_s,
             const ImageWriter& write_image);

  int folder() const { return folder_; }  // as that of Histograms

 private:
  /// Removes the surest that are too many, or too large in all.
  void trim();

  UnsureLimits limits_;
  int folder_;
  std::string surest_;  // no name from this one on is kept; empty: there is room
};

}  // namespace edge
