#include "support.hpp"

#include <fstream>

#include "edge/file.hpp"

std::vector<CorpusEntry> corpus() {
  std::vector<CorpusEntry> entries;
  std::ifstream manifest(EDGE_CORPUS "/manifest.txt");
  std::string name, expected;
  while (manifest >> name && std::getline(manifest >> std::ws, expected)) {
    entries.push_back({EDGE_CORPUS "/" + name, expected});
  }
  return entries;
}

edge::Result<Image> decode_image(const edge::Encoded& encoded) {
  Image image;
  if (auto error = edge::decode(encoded, image)) return *error;
  return image;
}

edge::Result<Image> load_image(const std::string& path, const edge::ImageLimits& limits,
                               int significant_bits) {
  const edge::FileFaults faults{edge::Exit::image, "image_missing", "image_too_large",
                                limits.bytes};
  const auto file = edge::open_file(path, faults, edge::Links::follow);
  if (!file) return file.error();
  return decode_image(
      {path, nullptr, file->size, limits, significant_bits, file->descriptor.get()});
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
