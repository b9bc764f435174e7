#pragma once

#include <string>
#include <vector>

#include "edge/image.hpp"
#include "temporary_folder.hpp"

/// One line of the corpus' manifest.
struct CorpusEntry {
  std::string path;      // of the picture
  std::string expected;  // "ok WIDTHxHEIGHTxCHANNELS" or the code of the error
};

std::vector<CorpusEntry> corpus();

/// An image from its values, height × width × channels.
edge::Image image_of(int width, int height, int channels, const std::vector<int>& values);

/// A card that has no defect, of a model of 1000 bytes: gray, 1 × 1 × 4 × 4, labels ok and bad.
std::string good_card(const std::string& sha256 = std::string(64, '0'));
