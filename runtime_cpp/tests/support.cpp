#include "support.hpp"

#include <fstream>

std::vector<CorpusEntry> corpus() {
  std::vector<CorpusEntry> entries;
  std::ifstream manifest(EDGE_CORPUS "/manifest.txt");
  std::string name, expected;
  while (manifest >> name && std::getline(manifest >> std::ws, expected)) {
    entries.push_back({EDGE_CORPUS "/" + name, expected});
  }
  return entries;
}

edge::Image image_of(int width, int height, int channels, const std::vector<int>& values) {
  edge::Image image{width, height, channels,
                    std::unique_ptr<uint8_t[]>(new uint8_t[values.size()])};
  for (size_t i = 0; i < values.size(); ++i) image.pixels[i] = static_cast<uint8_t>(values[i]);
  return image;
}

std::string good_card(const std::string& sha256) {
  return R"({"schema": 1, "name": "toy", "labels": ["ok", "bad"],
    "input": {"name": "image", "shape": [1, 1, 4, 4], "layout": "NCHW"},
    "output": {"name": "logits", "shape": [1, 2]},
    "preprocess": {"color": "gray", "resize": "triangle",
                   "normalize": {"kind": "per_image", "epsilon": 1e-05}},
    "file": {"name": "model.ort", "sha256": ")" +
         sha256 + R"(", "bytes": 1000},
    "metrics": {"anything": "goes"}})";
}
