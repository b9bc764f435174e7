// Says of each image what the task of the model's card makes of it, as a line of JSON:
//
//     infer MODEL.ort CARD.json IMAGE…
//
// For cards of every task that takes images, with tiles and outputs of open sizes.
#include <edge/edge.hpp>
#include <onnxruntime_cxx_api.h>

#include <cstdio>
#include <exception>
#include <vector>

namespace {

/// A network with its card, ready to infer.
class Network {
 public:
  Network(const char* model, libedge::Card card)
      : card_(std::move(card)), inputs_(card_.inputs()), outputs_(card_.outputs()) {
    Ort::SessionOptions options;
    options.SetIntraOpNumThreads(1);
    session_ = Ort::Session(env_, model, options);
    for (const edge_tensor_info& output : outputs_) names_.push_back(output.name);
  }

  /// The answer of a file, on one line.
  std::string infer(const char* path) {
    auto image = libedge::Image::read(card_, path).value();
    std::vector<float> values(inputs_[0].count);
    for (size_t tile = 0; tile < image.tiles(); ++tile) {
      check(image.input(tile, values));
      std::vector<Ort::Value> results = run(values);
      check(image.set_outputs(tile, tensors_of(results)));
    }
    return image.answer().value().json();
  }

 private:
  static void check(const libedge::Error& error) {
    if (error) throw libedge::Exception(error);
  }

  std::vector<Ort::Value> run(std::vector<float>& values) {
    const edge_tensor_info& info = inputs_[0];
    const auto input = Ort::Value::CreateTensor<float>(memory_, values.data(), values.size(),
                                                       info.shape, info.rank);
    return session_.Run(Ort::RunOptions{nullptr}, &info.name, &input, 1, names_.data(),
                        names_.size());
  }

  /// The results, which they point into.
  std::vector<edge_tensor> tensors_of(const std::vector<Ort::Value>& results) {
    shapes_.clear();
    std::vector<edge_tensor> tensors;
    for (const Ort::Value& result : results) {
      const auto info = result.GetTensorTypeAndShapeInfo();
      shapes_.push_back(info.GetShape());
      tensors.push_back({result.GetTensorData<float>(), info.GetElementCount(), nullptr, 0});
    }
    for (size_t i = 0; i < tensors.size(); ++i) {
      tensors[i].shape = shapes_[i].data();
      tensors[i].rank = shapes_[i].size();
    }
    return tensors;
  }

  libedge::Card card_;
  std::vector<edge_tensor_info> inputs_, outputs_;
  std::vector<const char*> names_;
  std::vector<std::vector<int64_t>> shapes_;  // of the results at hand
  Ort::Env env_{ORT_LOGGING_LEVEL_WARNING, "infer"};
  Ort::MemoryInfo memory_ = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  Ort::Session session_{nullptr};
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr, "usage: %s MODEL.ort CARD.json IMAGE...\n", argv[0]);
    return EDGE_CODE_ARGUMENT;
  }
  try {
    Network network(argv[1], libedge::Card::read(argv[2]).value());
    for (int i = 3; i < argc; ++i) std::printf("%s\n", network.infer(argv[i]).c_str());
  } catch (const libedge::Exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return error.code();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return EDGE_CODE_MODEL;
  }
  return 0;
}
