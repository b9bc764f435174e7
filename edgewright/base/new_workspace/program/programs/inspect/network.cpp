#include "network.hpp"

namespace {

constexpr int threads = 1;

void check(const libedge::Error& error) {
  if (error) throw libedge::Exception(error);
}

}  // namespace

Network::Network() : card_(libedge::Card::read("model/card.json").value()) {
  Ort::SessionOptions options;
  options.SetIntraOpNumThreads(threads);
  session_ = Ort::Session(env_, "model/model.ort", options);
  for (const edge_tensor_info& output : card_.outputs()) output_names_.push_back(output.name);
}

libedge::Answer Network::answer_file(const std::string& path) {
  return infer(libedge::Image::read(card_, path).value());
}

libedge::Answer Network::answer_image(const std::string& bytes) {
  return infer(libedge::Image::decode(card_, bytes.data(), bytes.size()).value());
}

libedge::Answer Network::answer_yuyv(const uint8_t* data, size_t width, size_t height,
                                     size_t stride) {
  std::vector<uint8_t> gray(width * height);
  for (size_t y = 0; y < height; ++y) {
    for (size_t x = 0; x < width; ++x) gray[y * width + x] = data[y * stride + 2 * x];
  }
  const edge_pixels pixels{sizeof pixels, gray.data(), width, height, 0, EDGE_PIXELS_GRAY, 0};
  return infer(libedge::Image::from_pixels(card_, pixels).value());
}

libedge::Answer Network::infer(libedge::Image image) {
  std::vector<float> values(card_.inputs()[0].count);
  for (size_t tile = 0; tile < image.tiles(); ++tile) {
    check(image.input(tile, values));
    std::vector<std::vector<int64_t>> shapes;
    std::vector<edge_tensor> outputs;
    const std::vector<Ort::Value> results = run(values);
    for (const Ort::Value& result : results) {
      const auto info = result.GetTensorTypeAndShapeInfo();
      shapes.push_back(info.GetShape());
      outputs.push_back({result.GetTensorData<float>(), info.GetElementCount(),
                         shapes.back().data(), shapes.back().size()});
    }
    check(image.set_outputs(tile, outputs));
  }
  return image.answer().value();
}

std::vector<Ort::Value> Network::run(std::vector<float>& values) {
  const edge_tensor_info info = card_.inputs()[0];
  const auto input =
      Ort::Value::CreateTensor<float>(memory_, values.data(), values.size(), info.shape, info.rank);
  return session_.Run(Ort::RunOptions{nullptr}, &info.name, &input, 1, output_names_.data(),
                      output_names_.size());
}
