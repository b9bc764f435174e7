// libedge's C API: what it makes of good input is edge_core's, whose tests say so; here is what it
// makes of bad input, and of no memory.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <limits>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include "edge/edge.h"
#include "support.hpp"

namespace {

// Allocations that are still granted on this thread; negative: all are.
thread_local long granted = -1;

void* allocate(size_t size) {
  if (granted == 0) return nullptr;
  if (granted > 0) --granted;
  return std::malloc(size > 0 ? size : 1);
}

}  // namespace

void* operator new(size_t size) {
  if (void* memory = allocate(size)) return memory;
  throw std::bad_alloc();
}
void* operator new[](size_t size) {
  return operator new(size);
}
void* operator new(size_t size, const std::nothrow_t&) noexcept {
  return allocate(size);
}
void* operator new[](size_t size, const std::nothrow_t&) noexcept {
  return allocate(size);
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, size_t) noexcept {
  std::free(memory);
}
void operator delete[](void* memory) noexcept {
  std::free(memory);
}
void operator delete[](void* memory, size_t) noexcept {
  std::free(memory);
}

namespace {

/// The word of an error, which is freed; "" for none.
std::string word_of(edge_error* error) {
  const std::string word = edge_error_word(error);
  edge_error_free(error);
  return word;
}

std::string message_of(edge_error* error) {
  const std::string message = edge_error_message(error);
  edge_error_free(error);
  return message;
}

edge_card* card_of(const std::string& json) {
  edge_card* card = nullptr;
  REQUIRE(edge_card_parse(json.data(), json.size(), &card) == nullptr);
  return card;
}

edge_card* toy() {
  return card_of(good_card());
}

const uint8_t four_by_four[16] = {0, 255, 0, 255, 9, 200, 7, 0, 1, 2, 3, 4, 250, 251, 252, 253};

edge_pixels gray_pixels() {
  return {sizeof(edge_pixels), four_by_four, 4, 4, 0, EDGE_PIXELS_GRAY, 0};
}

edge_image* gray_image(const edge_card* card) {
  const edge_pixels pixels = gray_pixels();
  edge_image* image = nullptr;
  REQUIRE(edge_image_from_pixels(card, &pixels, nullptr, &image) == nullptr);
  return image;
}

/// A card for gray images of 4 x 4 pixels; `members` are the task's own, each with a comma behind.
std::string task_card(const std::string& members) {
  return R"({"schema": 2, "name": "cells",
    "input": {"name": "image", "shape": [1, 1, 4, 4], "layout": "NCHW"},)" +
         members + R"("preprocess": {"color": "gray", "resize": "triangle",
                   "normalize": {"kind": "per_image", "epsilon": 1e-05}},
    "file": {"name": "model.ort", "sha256": ")" +
         std::string(64, '0') + R"(", "bytes": 1000}})";
}

std::string detect_card(const std::string& more = "") {
  return task_card(R"("task": "detect", "labels": ["nut", "bolt"],
    "outputs": [{"name": "boxes", "shape": [1, -1, 6], "role": "detections"}],
    "detect": {"score_threshold": 0.5, "nms": false, "max_detections": 10},)" +
                   more);
}

/// The answer to the gray image where the network's only output has these values.
edge_result* answer_of(const std::string& json, const std::vector<float>& values) {
  edge_card* card = card_of(json);
  edge_image* image = gray_image(card);
  const edge_tensor output = {values.data(), values.size(), nullptr, 0};
  REQUIRE(edge_image_set_outputs(image, 0, &output, 1) == nullptr);
  edge_result* result = nullptr;
  REQUIRE(edge_image_result(image, &result) == nullptr);
  edge_image_free(image);
  edge_card_free(card);
  return result;
}

/// The whole way of one image. Returns the first error.
edge_error* classify(const std::string& json, edge_result** result) {
  edge_card* card = nullptr;
  edge_image* image = nullptr;
  const edge_pixels pixels = gray_pixels();
  float values[16];
  const float logits[] = {1, 3};
  const edge_tensor output = {logits, 2, nullptr, 0};
  edge_error* error = edge_card_parse(json.data(), json.size(), &card);
  if (error == nullptr) error = edge_image_from_pixels(card, &pixels, nullptr, &image);
  if (error == nullptr) error = edge_image_input(image, 0, values, 16);
  if (error == nullptr) error = edge_image_set_outputs(image, 0, &output, 1);
  if (error == nullptr) error = edge_image_result(image, result);
  edge_image_free(image);
  edge_card_free(card);
  return error;
}

}  // namespace

TEST_CASE("an image becomes an answer, which outlives its card and its image") {
  edge_result* result = nullptr;
  REQUIRE(classify(good_card(), &result) == nullptr);
  CHECK(edge_result_json(result) ==
        std::string(R"({"class":"bad","index":1,"probabilities":[0.119203,0.880797]})"));
  const edge_classification* classes = edge_result_classification(result);
  REQUIRE(classes != nullptr);
  CHECK(classes->index == 1);
  CHECK(classes->label == std::string("bad"));
  CHECK(classes->count == 2);
  CHECK(classes->probabilities[1] == doctest::Approx(0.880797));
  CHECK(edge_result_anomaly(result) == nullptr);
  edge_result_free(result);
  CHECK(edge_version() == std::string(EDGE_LIBRARY_VERSION));
}

TEST_CASE("a card tells what the network takes and makes") {
  edge_card* card = toy();
  CHECK(edge_card_task(card) == EDGE_TASK_CLASSIFY);
  CHECK(edge_card_name(card) == std::string("toy"));
  CHECK(edge_card_label_count(card) == 2);
  CHECK(edge_card_label(card, 1) == std::string("bad"));
  CHECK(edge_card_label(card, 2) == nullptr);
  CHECK(edge_card_input(card, 0)->count == 16);
  CHECK(edge_card_input(card, 0)->rank == 4);
  CHECK(edge_card_output(card, 0)->name == std::string("logits"));
  CHECK(edge_card_output(card, 1) == nullptr);
  edge_card_free(card);
}

TEST_CASE("pixels, their file and its bytes make one input") {
  edge_card* card = toy();
  const std::string path = EDGE_CORPUS "/good.ppm";
  std::ifstream file(path, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  const size_t padded = 40 * 3 + 8;
  std::vector<uint8_t> rows(padded * 30, 77);
  for (size_t y = 0; y < 30; ++y) {
    std::memcpy(&rows[y * padded], bytes.data() + bytes.size() - (30 - y) * 40 * 3, 40 * 3);
  }
  const edge_pixels pixels = {sizeof pixels, rows.data(), 40, 30, padded, EDGE_PIXELS_RGB, 0};
  edge_image* images[3] = {};
  REQUIRE(edge_image_read(card, path.c_str(), nullptr, &images[0]) == nullptr);
  REQUIRE(edge_image_decode(card, bytes.data(), bytes.size(), nullptr, &images[1]) == nullptr);
  REQUIRE(edge_image_from_pixels(card, &pixels, nullptr, &images[2]) == nullptr);
  std::vector<float> inputs[3];
  for (size_t i = 0; i < 3; ++i) {
    inputs[i].resize(16);
    REQUIRE(edge_image_input(images[i], 0, inputs[i].data(), 16) == nullptr);
    edge_image_free(images[i]);
  }
  CHECK(inputs[0] == inputs[1]);
  CHECK(inputs[0] == inputs[2]);
  edge_card_free(card);
}

TEST_CASE("every picture of the corpus is decoded, or refused by edge-infer's word") {
  edge_card* card = toy();
  for (const CorpusEntry& entry : corpus()) {
    CAPTURE(entry.path);
    edge_image* image = nullptr;
    edge_error* error = edge_image_read(card, entry.path.c_str(), nullptr, &image);
    CHECK((image != nullptr) == (error == nullptr));
    if (error != nullptr) CHECK(edge_error_code(error) == EDGE_CODE_IMAGE);
    const bool is_good = entry.expected.rfind("ok ", 0) == 0;
    CHECK(word_of(error) == (is_good ? "" : entry.expected));
    edge_image_free(image);
  }
  edge_card_free(card);
}

TEST_CASE("NULL is an error where something is needed, and nothing to free or to tell of") {
  edge_card* card = nullptr;
  edge_image* image = nullptr;
  edge_result* result = nullptr;
  float value = 0;
  CHECK(message_of(edge_card_read(nullptr, &card)) == "edge_card_read: got NULL");
  CHECK(word_of(edge_card_read("card.json", nullptr)) == "argument");
  CHECK(word_of(edge_card_parse(nullptr, 1, &card)) == "argument");
  CHECK(word_of(edge_image_read(nullptr, "a.png", nullptr, &image)) == "argument");
  CHECK(word_of(edge_image_input(nullptr, 0, &value, 1)) == "argument");
  CHECK(word_of(edge_image_set_outputs(nullptr, 0, nullptr, 0)) == "argument");
  CHECK(word_of(edge_image_result(nullptr, &result)) == "argument");
  CHECK(word_of(edge_tensor_result(nullptr, nullptr, 0, &result)) == "argument");
  edge_error_free(nullptr);
  edge_card_free(nullptr);
  edge_image_free(nullptr);
  edge_result_free(nullptr);
  CHECK(edge_error_code(nullptr) == EDGE_CODE_OK);
  CHECK(edge_card_input(nullptr, 0) == nullptr);
  CHECK(edge_card_label_count(nullptr) == 0);
  CHECK(edge_image_tiles(nullptr) == 0);
  CHECK(edge_result_json(nullptr) == nullptr);
}

TEST_CASE("cards of another schema, of no JSON and of no file are refused") {
  edge_card* card = nullptr;
  std::string newer = good_card();
  newer.replace(newer.find("\"schema\": 1"), 11, "\"schema\": 9");
  edge_error* error = edge_card_parse(newer.data(), newer.size(), &card);
  CHECK(edge_error_code(error) == EDGE_CODE_CARD);
  CHECK(message_of(error) == "card: 1 defect\n  schema: expected 1 to 2, found 9");
  CHECK(card == nullptr);
  CHECK(word_of(edge_card_parse("{", 1, &card)) == "card_invalid");
  CHECK(word_of(edge_card_parse("", 0, &card)) == "card_invalid");
  CHECK(word_of(edge_card_parse("[]", 2, &card)) == "card_invalid");
  CHECK(word_of(edge_card_read("/nonexistent/card.json", &card)) == "card_missing");
  const std::string large(size_t{2} << 20, ' ');
  CHECK(word_of(edge_card_parse(large.data(), large.size(), &card)) == "argument");
}

TEST_CASE("limits bound an image, and are edge-infer's at most") {
  edge_card* card = toy();
  const std::string path = EDGE_CORPUS "/good.pgm";
  edge_image* image = nullptr;
  edge_limits limits{};
  CHECK(word_of(edge_image_read(card, path.c_str(), &limits, &image)) == "argument");
  limits.struct_size = sizeof limits;
  REQUIRE(edge_image_read(card, path.c_str(), &limits, &image) == nullptr);
  edge_image_free(image);
  limits.side = 39;
  CHECK(word_of(edge_image_read(card, path.c_str(), &limits, &image)) == "image_too_large");
  limits = {sizeof limits, 100, 0, 0, 0};
  CHECK(word_of(edge_image_read(card, path.c_str(), &limits, &image)) == "image_too_large");
  CHECK(word_of(edge_image_decode(card, "", 101, &limits, &image)) == "image_too_large");
  limits = {sizeof limits, 0, 0, 16385, 0};
  CHECK(message_of(edge_image_read(card, path.c_str(), &limits, &image)) ==
        "edge_image_read: limits.side is 16385, at most 16384");
  edge_card_free(card);
}

namespace {

/// The network's input of 2 x 2 pixels of a camera is their red, green and blue, as planes.
std::vector<float> colors_of(const std::vector<uint8_t>& memory, edge_pixel_format pixel_format,
                             size_t chroma = 0) {
  edge_card* card = card_of(R"({"schema": 2, "name": "colors",
    "input": {"name": "image", "shape": [1, 3, 2, 2], "layout": "NCHW"},
    "output": {"name": "logits", "shape": [1, 2], "activation": "none"}, "labels": ["a", "b"],
    "preprocess": {"color": "rgb", "resize": "triangle",
                   "normalize": {"kind": "scale", "factor": 1}},
    "file": {"name": "model.ort", "sha256": ")" +
                            std::string(64, '0') + R"(", "bytes": 1000}})");
  const edge_pixels pixels = {sizeof pixels, memory.data(), 2, 2, 0, pixel_format, chroma};
  edge_image* image = nullptr;
  REQUIRE(message_of(edge_image_from_pixels(card, &pixels, nullptr, &image)) == "");
  std::vector<float> values(12);
  CHECK(edge_image_input(image, 0, values.data(), values.size()) == nullptr);
  edge_image_free(image);
  edge_card_free(card);
  return values;
}

}  // namespace

// What is expected here and below is docs/formats.md's formulas, reckoned by hand.
TEST_CASE("the channels of RGB and of BGR are not mistaken for each other") {
  const std::vector<uint8_t> memory = {200, 100, 50, 1, 2, 3, 4, 5, 6, 7, 8, 9};
  const std::vector<float> first_is_red = {200, 1, 4, 7, 100, 2, 5, 8, 50, 3, 6, 9};
  const std::vector<float> first_is_blue = {50, 3, 6, 9, 100, 2, 5, 8, 200, 1, 4, 7};
  CHECK(colors_of(memory, EDGE_PIXELS_RGB) == first_is_red);
  CHECK(colors_of(memory, EDGE_PIXELS_BGR) == first_is_blue);
}

TEST_CASE("luma and chroma become the colours that they stand for") {
  const std::vector<uint8_t> nv12 = {81, 41, 120, 200, 90, 200};
  const std::vector<float> limited = {191, 144, 236, 255, 32, 0, 77, 171, 0, 0, 44, 138};
  CHECK(colors_of(nv12, EDGE_PIXELS_NV12) == limited);
  const std::vector<float> full = {182, 142, 221, 255, 43, 3, 82, 162, 14, 0, 53, 133};
  CHECK(colors_of(nv12, EDGE_PIXELS_NV12_FULL) == full);
  const std::vector<uint8_t> yuyv = {81, 90, 41, 200, 120, 200, 200, 100};
  const std::vector<float> of_pairs = {191, 144, 76, 170, 32, 0, 116, 209, 0, 0, 255, 255};
  CHECK(colors_of(yuyv, EDGE_PIXELS_YUYV) == of_pairs);
  const std::vector<float> full_of_pairs = {182, 142, 81, 161, 43, 3, 115, 195, 14, 0, 248, 255};
  CHECK(colors_of(yuyv, EDGE_PIXELS_YUYV_FULL) == full_of_pairs);
}

TEST_CASE("chroma of NV12 may begin behind rows that a camera pads luma with") {
  const std::vector<uint8_t> padded = {81, 41, 120, 200, 7, 7, 7, 7, 90, 200};
  const std::vector<float> limited = {191, 144, 236, 255, 32, 0, 77, 171, 0, 0, 44, 138};
  CHECK(colors_of(padded, EDGE_PIXELS_NV12, 8) == limited);
}

TEST_CASE("each mosaic has its own red, green and blue") {
  const std::vector<uint8_t> memory = {200, 100, 60, 20};
  const auto colors = [](float red, std::vector<float> green, float blue) {
    std::vector<float> planes(12, red);
    std::copy(green.begin(), green.end(), planes.begin() + 4);
    std::fill(planes.begin() + 8, planes.end(), blue);
    return planes;
  };
  CHECK(colors_of(memory, EDGE_PIXELS_BAYER_RGGB) == colors(200, {80, 100, 60, 80}, 20));
  CHECK(colors_of(memory, EDGE_PIXELS_BAYER_GRBG) == colors(100, {200, 110, 110, 20}, 60));
  CHECK(colors_of(memory, EDGE_PIXELS_BAYER_GBRG) == colors(60, {200, 110, 110, 20}, 100));
  CHECK(colors_of(memory, EDGE_PIXELS_BAYER_BGGR) == colors(20, {80, 100, 60, 80}, 200));
}

TEST_CASE("pixels that cannot be such are refused") {
  edge_card* card = toy();
  edge_image* image = nullptr;
  const auto word = [&](const edge_pixels& pixels) {
    return word_of(edge_image_from_pixels(card, &pixels, nullptr, &image));
  };
  edge_pixels pixels = gray_pixels();
  pixels.struct_size = 4;
  CHECK(word(pixels) == "argument");
  pixels = gray_pixels();
  pixels.data = nullptr;
  CHECK(word(pixels) == "argument");
  pixels = gray_pixels();
  pixels.format = static_cast<edge_pixel_format>(12);
  CHECK(word(pixels) == "argument");
  pixels = gray_pixels();
  pixels.format = EDGE_PIXELS_BAYER_RGGB;
  pixels.height = 1;
  CHECK(word(pixels) == "argument");
  pixels = gray_pixels();
  pixels.stride = 3;
  CHECK(word(pixels) == "argument");
  pixels = gray_pixels();
  pixels.format = EDGE_PIXELS_NV12;
  pixels.chroma = 15;  // in the last row of luma
  CHECK(word(pixels) == "argument");
  pixels = gray_pixels();
  pixels.height = 0;
  CHECK(word(pixels) == "image_corrupt");
  pixels = gray_pixels();
  pixels.width = SIZE_MAX / 2;
  CHECK(word(pixels) == "image_too_large");
  edge_card_free(card);
}

TEST_CASE("outputs of another number, shape or size are refused, and those that are not finite") {
  edge_card* card = toy();
  edge_image* image = gray_image(card);
  edge_result* result = nullptr;
  float values[16] = {1, 3};
  CHECK(message_of(edge_image_input(image, 0, values, 15)) ==
        "edge_image_input: got room for 15 values, the card's input has 16");
  CHECK(word_of(edge_image_input(image, 1, values, 16)) == "argument");
  CHECK(word_of(edge_image_result(image, &result)) == "argument");
  const int64_t wrong[] = {2, 1}, negative[] = {1, -2};
  const auto word = [&](edge_tensor output, size_t count = 1) {
    return word_of(edge_image_set_outputs(image, 0, &output, count));
  };
  CHECK(word({values, 2, nullptr, 0}, 2) == "outputs_wrong");
  CHECK(word({values, 3, nullptr, 0}) == "outputs_wrong");
  CHECK(word({values, 2, wrong, 2}) == "outputs_wrong");
  CHECK(word({values, 2, wrong, 1}) == "outputs_wrong");
  CHECK(word({values, 2, negative, 2}) == "outputs_wrong");
  CHECK(word({nullptr, 2, nullptr, 0}) == "outputs_wrong");
  values[1] = std::numeric_limits<float>::quiet_NaN();
  CHECK(word({values, 2, nullptr, 0}) == "model_not_finite");
  values[1] = 3;
  CHECK(word({values, 2, nullptr, 0}) == "");
  CHECK(word({values, 2, nullptr, 0}) == "argument");  // a second time
  edge_image_free(image);
  edge_card_free(card);
}

TEST_CASE("a detector's boxes have labels and corners; an open size needs a shape") {
  edge_card* card = card_of(detect_card());
  CHECK(edge_card_output(card, 0)->count == 0);
  edge_image* image = gray_image(card);
  const float boxes[] = {1, 1, 3, 2, 0.75f, 1, 0, 0, 4, 4, 0.25f, 0};
  const int64_t shape[] = {1, 2, 6}, endless[] = {1, INT64_MAX, 6};
  edge_tensor output = {boxes, 12, nullptr, 0};
  CHECK(word_of(edge_image_set_outputs(image, 0, &output, 1)) == "outputs_wrong");
  output = {boxes, 12, endless, 3};
  CHECK(word_of(edge_image_set_outputs(image, 0, &output, 1)) == "outputs_wrong");
  output = {boxes, 12, shape, 3};
  REQUIRE(edge_image_set_outputs(image, 0, &output, 1) == nullptr);
  edge_result* result = nullptr;
  REQUIRE(edge_image_result(image, &result) == nullptr);
  size_t count = 0;
  const edge_detection* things = edge_result_detections(result, &count);
  REQUIRE(count == 1);
  CHECK(things[0].label == std::string("bolt"));
  CHECK(things[0].score == doctest::Approx(0.75));
  CHECK(things[0].right == doctest::Approx(3));
  CHECK(edge_result_classification(result) == nullptr);
  edge_result_free(result);
  edge_image_free(image);
  edge_card_free(card);
}

TEST_CASE("a detector that finds nothing answers nothing: an output of size 0 needs no memory") {
  edge_card* card = card_of(detect_card());
  edge_image* image = gray_image(card);
  const int64_t shape[] = {1, 0, 6};
  const edge_tensor output = {nullptr, 0, shape, 3};
  REQUIRE(edge_image_set_outputs(image, 0, &output, 1) == nullptr);
  edge_result* result = nullptr;
  REQUIRE(edge_image_result(image, &result) == nullptr);
  size_t count = 1;
  edge_result_detections(result, &count);
  CHECK(count == 0);
  edge_result_free(result);
  edge_image_free(image);
  edge_card_free(card);
}

TEST_CASE("an anomaly has a verdict, a score and the peak of its map") {
  edge_result* result = answer_of(task_card(R"("task": "anomaly", "labels": ["normal", "anomalous"],
        "outputs": [{"name": "map", "shape": [1, 1, 2, 2], "role": "map", "activation": "none"}],
        "anomaly": {"threshold": 4, "map_threshold": 2},)"),
                                  {1, 5, 2, 0});
  const edge_anomaly* anomaly = edge_result_anomaly(result);
  REQUIRE(anomaly != nullptr);
  CHECK(anomaly->is_anomalous != 0);
  CHECK(anomaly->score == doctest::Approx(5));
  CHECK(anomaly->area == doctest::Approx(0.5));
  CHECK(anomaly->peak_x == doctest::Approx(3));
  CHECK(anomaly->peak_y == doctest::Approx(1));
  CHECK(edge_result_json(result) ==
        std::string(R"({"class":"anomalous","score":5,"map":{"width":2,"height":2,)"
                    R"("peak":[3,1],"area":0.5,"mask":"121"}})"));
  CHECK(edge_result_detections(result, nullptr) == nullptr);
  edge_result_free(result);
}

TEST_CASE("a segmentation is a mask for each label, in its JSON") {
  edge_result* result = answer_of(task_card(R"("task": "segment", "labels": ["cell", "crack"],
        "outputs": [{"name": "logits", "shape": [1, 2, 2, 2], "role": "logits",
                     "activation": "softmax"}],
        "segment": {"background": "cell"},)"),
                                  {0, 0, 0, 0, -1, 3, -1, -1});
  CHECK(edge_result_json(result) ==
        std::string(R"({"width":2,"height":2,"segments":[)"
                    R"({"class":"crack","area":0.25,"box":[2,0,2,2],"mask":"211"}]})"));
  CHECK(edge_result_anomaly(result) == nullptr);
  CHECK(edge_result_classification(result) == nullptr);
  edge_result_free(result);
}

TEST_CASE("tiles come one after the other, and what they say is merged") {
  edge_card* card = card_of(detect_card(R"("tiling": {"size": [16, 16]},)"));
  const std::vector<uint8_t> rows(32 * 16, 100);
  const edge_pixels pixels = {sizeof pixels, rows.data(), 32, 16, 0, EDGE_PIXELS_GRAY, 0};
  edge_image* image = nullptr;
  REQUIRE(edge_image_from_pixels(card, &pixels, nullptr, &image) == nullptr);
  REQUIRE(edge_image_tiles(image) == 2);
  const float box[] = {1, 1, 3, 2, 0.75f, 1};
  const int64_t shape[] = {1, 1, 6};
  const edge_tensor output = {box, 6, shape, 3};
  CHECK(word_of(edge_image_set_outputs(image, 1, &output, 1)) == "argument");
  float values[16];
  for (size_t tile = 0; tile < 2; ++tile) {
    REQUIRE(edge_image_input(image, tile, values, 16) == nullptr);
    REQUIRE(edge_image_set_outputs(image, tile, &output, 1) == nullptr);
  }
  edge_result* result = nullptr;
  REQUIRE(edge_image_result(image, &result) == nullptr);
  size_t count = 0;
  const edge_detection* things = edge_result_detections(result, &count);
  REQUIRE(count == 2);
  CHECK(things[0].left == doctest::Approx(4));
  CHECK(things[1].left == doctest::Approx(20));
  edge_result_free(result);
  edge_image_free(image);
  edge_card_free(card);
}

TEST_CASE("tensors have an answer without an image") {
  edge_card* card = card_of(R"({"schema": 2, "name": "sums", "task": "tensor",
    "inputs": [{"name": "a", "shape": [2]}], "outputs": [{"name": "b", "shape": [2], "role": "b"}],
    "file": {"name": "model.ort", "sha256": ")" +
                            std::string(64, '0') + R"(", "bytes": 1000}})");
  const float values[] = {1, 3};
  const edge_tensor output = {values, 2, nullptr, 0};
  edge_result* result = nullptr;
  edge_image* image = nullptr;
  REQUIRE(edge_tensor_result(card, &output, 1, &result) == nullptr);
  CHECK(edge_result_json(result) ==
        std::string(R"({"tensors":[{"name":"b","shape":[2],"min":1,"max":3,"mean":2,)"
                    R"("values":[1,3]}]})"));
  CHECK(word_of(edge_image_read(card, "a.png", nullptr, &image)) == "argument");
  edge_result_free(result);
  edge_card_free(card);
}

TEST_CASE("without memory each call ends with an error, and nothing is lost") {
  const std::string json = good_card();
  size_t refused = 0;
  for (long allocations = 0;; ++allocations) {
    edge_result* result = nullptr;
    granted = allocations;
    edge_error* error = classify(json, &result);
    granted = -1;
    edge_result_free(result);
    if (error == nullptr) break;
    CHECK(edge_error_code(error) == EDGE_CODE_MEMORY);
    CHECK(word_of(error) == "no_memory");
    ++refused;
  }
  CHECK(refused > 20);
}

TEST_CASE("a decoder that runs out of memory ends with an error, too") {
  edge_card* card = toy();
  for (const char* name : {"good-rgb.jpg", "good-rgb.png", "good-gray-interlaced.png"}) {
    const std::string path = std::string(EDGE_CORPUS "/") + name;
    edge_error* error = nullptr;
    for (long allocations = 0; allocations == 0 || error != nullptr; ++allocations) {
      edge_image* image = nullptr;
      granted = allocations;
      error = edge_image_read(card, path.c_str(), nullptr, &image);
      granted = -1;
      if (error != nullptr) CHECK(edge_error_code(error) == EDGE_CODE_MEMORY);
      edge_error_free(error);
      edge_image_free(image);
    }
  }
  edge_card_free(card);
}

TEST_CASE("threads share a card") {
  edge_card* card = toy();
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 20; ++round) {
        edge_image* image = gray_image(card);
        float values[16];
        edge_error_free(edge_image_input(image, 0, values, 16));
        edge_image_free(image);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  edge_card_free(card);
}
