#include "support.hpp"

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

TemporaryFolder::TemporaryFolder() {
  char pattern[] = "/tmp/edge-tests-XXXXXX";
  path_ = mkdtemp(pattern);
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string TemporaryFolder::write(const std::string& name, const std::string& content) const {
  const std::string file = path(name);
  std::ofstream(file, std::ios::binary) << content;
  return file;
}

std::string content_of(const std::string& path) {
  std::ostringstream out;
  out << std::ifstream(path, std::ios::binary).rdbuf();
  return out.str();
}

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

std::string good_card() {
  return R"({"schema": 1, "name": "toy", "labels": ["ok", "bad"],
    "input": {"name": "image", "shape": [1, 1, 4, 4], "layout": "NCHW"},
    "output": {"name": "logits", "shape": [1, 2]},
    "preprocess": {"color": "gray", "resize": "triangle",
                   "normalize": {"kind": "per_image", "epsilon": 1e-05}},
    "file": {"name": "model.ort", "sha256": "", "bytes": 1000},
    "metrics": {"anything": "goes"}})";
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  REQUIRE_MESSAGE(at != std::string::npos, from);
  return text.replace(at, from.size(), to);
}
