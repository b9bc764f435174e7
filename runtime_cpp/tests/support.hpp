#pragma once

#include <doctest/doctest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "edge/image.hpp"

/// A folder for one test's files, removed at the end of its scope.
class TemporaryFolder {
 public:
  TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder();

  std::string path(const std::string& name) const { return path_ + "/" + name; }
  std::string write(const std::string& name, const std::string& content) const;  // returns its path

 private:
  std::string path_;
};

/// One line of the corpus' manifest.
struct CorpusEntry {
  std::string path;      // of the picture
  std::string expected;  // "ok WIDTHxHEIGHTxCHANNELS" or the code of the error
};

std::vector<CorpusEntry> corpus();
std::string content_of(const std::string& path);

/// An image from its values, height × width × channels.
edge::Image image_of(int width, int height, int channels, const std::vector<int>& values);

/// A card that has no defect: gray, 1 × 1 × 4 × 4, labels ok and bad.
std::string good_card();
std::string replaced(std::string text, const std::string& from, const std::string& to);

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}
