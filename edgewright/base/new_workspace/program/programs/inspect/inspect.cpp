// Looks at images and says what the release's network makes of each, as a line
// of JSON:
//
//     inspect selftest                     the golden images
//     inspect image FILE…                  of these files; - is standard input
//     inspect frame WIDTH HEIGHT           YUYV, from standard input
//     inspect watch DEVICE WIDTH HEIGHT    of a camera, until it is ended
//
// It is started in the folder of the release.
#include <edge/service.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <stdexcept>
#include <string>
#include <vector>

#include "camera.hpp"
#include "network.hpp"

namespace {

const std::string golden = "model/golden/";
constexpr size_t max_input = 64u << 20;  // bytes

struct Case {
  std::string image;
  std::string label;  // empty: of a task without classes
};

std::string quoted(const std::string& text) {
  std::string json = "\"";
  for (const char letter : text) {
    if (letter == '"' || letter == '\\') json += '\\';
    json += static_cast<unsigned char>(letter) < ' ' ? ' ' : letter;
  }
  return json + "\"";
}

/// The text after `key` in a part of a JSON document, whose texts have nothing
/// escaped.
std::string text_of(const std::string& json, const std::string& key) {
  size_t start = json.find("\"" + key + "\"");
  if (start == std::string::npos) return "";
  start = json.find('"', start + key.size() + 2);
  if (start == std::string::npos) return "";
  return json.substr(start + 1, json.find('"', start + 1) - start - 1);
}

std::string content_of(FILE* file, const std::string& name) {
  std::string bytes;
  char block[65536];
  while (const size_t count = std::fread(block, 1, sizeof block, file)) {
    bytes.append(block, count);
    if (bytes.size() > max_input) throw std::runtime_error(name + ": over 64 MiB");
  }
  return bytes;
}

std::string standard_input() {
  return content_of(stdin, "standard input");
}

/// The images that the release promises answers for.
std::vector<Case> golden_cases() {
  const std::string name = golden + "expected.json";
  FILE* file = std::fopen(name.c_str(), "rb");
  if (file == nullptr) throw std::runtime_error(name + ": cannot be read");
  const std::string json = content_of(file, name);
  std::fclose(file);
  std::vector<Case> cases;
  for (size_t at = json.find("\"image\""); at != std::string::npos;) {
    const size_t next = json.find("\"image\"", at + 1);
    const std::string part = json.substr(at, next - at);
    cases.push_back({text_of(part, "image"), text_of(part, "class")});
    at = next;
  }
  return cases;
}

/// What is wrong with the answer to a golden image; empty: nothing.
std::string problem_of(Network& network, const Case& expected) {
  try {
    const libedge::Answer answer = network.answer_file(golden + expected.image);
    const edge_classification* found = answer.classification();
    if (found == nullptr || expected.label.empty() || expected.label == found->label) return "";
    return "expected " + expected.label + ", found " + found->label;
  } catch (const std::exception& error) {
    return error.what();
  }
}

/// One document of all golden images: edgewright reads it, on the board, before
/// it switches.
int selftest() {
  Network network;
  std::string lines;
  bool passed = true;
  for (const Case& expected : golden_cases()) {
    const std::string problem = problem_of(network, expected);
    passed = passed && problem.empty();
    lines += lines.empty() ? "" : ",";
    lines += "{\"name\":" + quoted(expected.image) +
             ",\"passed\":" + (problem.empty() ? "true" : "false") +
             ",\"problem\":" + quoted(problem) + "}";
  }
  passed = passed && !lines.empty();
  std::printf("{\"version\":1,\"command\":\"selftest\",\"passed\":%s,\"cases\":[%s]}\n",
              passed ? "true" : "false", lines.c_str());
  return passed ? 0 : 1;
}

int image(const std::vector<std::string>& files) {
  Network network;
  for (const std::string& file : files) {
    const libedge::Answer answer =
        file == "-" ? network.answer_image(standard_input()) : network.answer_file(file);
    std::printf("%s\n", answer.json());
  }
  return 0;
}

size_t side(const std::string& text) {
  const long value = std::strtol(text.c_str(), nullptr, 10);
  if (value < 1 || value > 8192) throw std::runtime_error(text + ": expected 1 to 8192 pixels");
  return static_cast<size_t>(value);
}

int frame(size_t width, size_t height) {
  const std::string bytes = standard_input();
  if (bytes.size() != width * height * 2) {
    throw std::runtime_error("standard input: expected " + std::to_string(width * height * 2) +
                             " bytes, found " + std::to_string(bytes.size()));
  }
  Network network;
  const auto* data = reinterpret_cast<const uint8_t*>(bytes.data());
  std::printf("%s\n", network.answer_yuyv(data, width, height, width * 2).json());
  return 0;
}

/// The service: what is wrong with one frame is told, and the next one may be
/// better.
int watch(const std::string& device, size_t width, size_t height) {
  Camera camera(device, static_cast<uint32_t>(width), static_cast<uint32_t>(height));
  edge_service service;
  if (edge_service_start(&service) != 0) throw std::runtime_error("cannot become its user");
  Network network;
  for (long images = 1, failed = 0;; ++images) {
    camera.next([&](const Frame& frame) {
      try {
        const std::string bytes(reinterpret_cast<const char*>(frame.data), frame.size);
        const libedge::Answer answer =
            frame.is_jpeg
                ? network.answer_image(bytes)
                : network.answer_yuyv(frame.data, frame.width, frame.height, frame.stride);
        std::printf("%s\n", answer.json());
        std::fflush(stdout);
      } catch (const libedge::Exception& error) {
        ++failed;
        std::fprintf(stderr, "%s\n", error.what());
      }
    });
    edge_service_beat(&service, images, failed);
  }
}

int run(const std::vector<std::string>& words) {
  const std::string command = words.empty() ? "" : words[0];
  if (command == "selftest" && words.size() == 1) return selftest();
  if (command == "image" && words.size() > 1) return image({words.begin() + 1, words.end()});
  if (command == "frame" && words.size() == 3) return frame(side(words[1]), side(words[2]));
  if (command == "watch" && words.size() == 4) {
    return watch(words[1], side(words[2]), side(words[3]));
  }
  std::fprintf(stderr,
               "inspect selftest | image FILE... | frame WIDTH HEIGHT | "
               "watch DEVICE WIDTH HEIGHT\n");
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run({argv + 1, argv + argc});
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
