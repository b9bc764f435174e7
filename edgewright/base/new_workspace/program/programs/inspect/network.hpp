// The network of the release, with what libedge knows of its images and
// answers.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <edge/edge.hpp>
#include <string>
#include <vector>

class Network {
 public:
  /// Reads the model and the card of the release in whose folder the program
  /// was started.
  Network();

  libedge::Answer answer_file(const std::string& path);
  /// A PNG, JPEG, PGM or PPM in memory.
  libedge::Answer answer_image(const std::string& bytes);
  /// A frame as most cameras have it: YUYV, two bytes a pixel. Only its
  /// brightness is used.
  libedge::Answer answer_yuyv(const uint8_t* data, size_t width, size_t height, size_t stride);

 private:
  libedge::Answer infer(libedge::Image image);
  std::vector<Ort::Value> run(std::vector<float>& values);

  libedge::Card card_;
  std::vector<const char*> output_names_;
  Ort::Env env_{ORT_LOGGING_LEVEL_WARNING, "inspect"};
  Ort::MemoryInfo memory_ = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  Ort::Session session_{nullptr};
};
