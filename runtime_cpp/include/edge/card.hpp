#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "common/result.hpp"

namespace edge {

/// How pixels become the network's input values.
struct Normalize {
  bool per_image = false;    // else with the mean and deviation below
  double epsilon = 0;        // per_image: smallest deviation, as a share of 255
  std::vector<double> mean;  // one for each channel, of values in 0..1
  std::vector<double> std;   // one for each channel, of values in 0..1
};

/// What turns the network's outputs into probabilities.
enum class Activation { softmax, sigmoid, none };

/// What `card.json` says of a model; docs/formats.md is the contract.
struct Card {
  std::string name;                 // of the model
  std::vector<std::string> labels;  // one for each output
  std::string input_name;           // of the tensor
  std::array<int64_t, 4> shape{};   // of the input: 1, channels, height, width
  std::string output_name;          // of the tensor of shape 1, labels
  Activation activation = Activation::softmax;
  int significant_bits = 0;  // of samples with 16 bits; 0: not said
  Normalize normalize;
  std::string file_name;    // of the model that the card belongs to
  uint64_t file_bytes = 0;  // of that file
  std::string file_sha256;  // of its content

  int channels() const { return static_cast<int>(shape[1]); }
  int height() const { return static_cast<int>(shape[2]); }
  int width() const { return static_cast<int>(shape[3]); }
  size_t values() const { return static_cast<size_t>(shape[1] * shape[2] * shape[3]); }
};

/// All defects of a card are told at once.
Result<Card> load_card(const std::string& path);

}  // namespace edge
