// Runs a model on a tensor of floats, by ONNX Runtime's C++ API:
//
//     run MODEL.ort INPUT.f32
//
// INPUT.f32 has the values of the model's first input as the processor keeps them. The values of
// its first output go to standard output, one a line.
#include <onnxruntime_cxx_api.h>

#include <cstdio>
#include <cstring>
#include <exception>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

std::vector<float> read_floats(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::vector<char> bytes((std::istreambuf_iterator<char>(file)),
                                std::istreambuf_iterator<char>());
  if (bytes.empty()) throw std::runtime_error(path + ": not readable");
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), values.size() * sizeof(float));
  return values;
}

void run(const char* model, const char* path) {
  const Ort::Env env(ORT_LOGGING_LEVEL_WARNING, "run");
  Ort::SessionOptions options;
  options.SetIntraOpNumThreads(1);
  Ort::Session session(env, model, options);

  Ort::AllocatorWithDefaultOptions allocator;
  const auto input_name = session.GetInputNameAllocated(0, allocator);
  const auto output_name = session.GetOutputNameAllocated(0, allocator);
  const auto shape = session.GetInputTypeInfo(0).GetTensorTypeAndShapeInfo().GetShape();
  std::vector<float> values = read_floats(path);
  const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  const auto input = Ort::Value::CreateTensor<float>(memory, values.data(), values.size(),
                                                     shape.data(), shape.size());
  const char* inputs[] = {input_name.get()};
  const char* outputs[] = {output_name.get()};
  const auto answers = session.Run(Ort::RunOptions{nullptr}, inputs, &input, 1, outputs, 1);
  const size_t count = answers[0].GetTensorTypeAndShapeInfo().GetElementCount();
  const float* answer = answers[0].GetTensorData<float>();
  for (size_t i = 0; i < count; ++i) std::printf("%.7g\n", static_cast<double>(answer[i]));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: %s MODEL.ort INPUT.f32\n", argv[0]);
    return 2;
  }
  try {
    run(argv[1], argv[2]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
