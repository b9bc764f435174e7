#pragma once

#include <string>
#include <vector>

#include "common/result.hpp"
#include "edge/image.hpp"
#include "temporary_folder.hpp"

/// One line of the corpus' manifest.
struct CorpusEntry {
  std::string path;      // of the picture
  std::string expected;  // "ok WIDTHxHEIGHTxCHANNELS" or the code of the error
};

std::vector<CorpusEntry> corpus();

/// A decoded picture, held whole.
struct Image : edge::Rows {
  edge::ImageShape shape{};
  std::vector<uint8_t> pixels;  // height × width × channels

  void begin(const edge::ImageShape& begun) override { shape = begun; }
  void row(const uint8_t* row) override {
    pixels.insert(pixels.end(), row, row + shape.width * shape.channels);
  }
};

edge::Result<Image> decode_image(const edge::Encoded& encoded);
edge::Result<Image> load_image(const std::string& path, const edge::ImageLimits& limits = {},
                               int significant_bits = 0);

/// A card that has no defect, of a model of 1000 bytes: gray, 1 × 1 × 4 × 4, labels ok and bad.
std::string good_card(const std::string& sha256 = std::string(64, '0'));
