#include <cmath>

#include "edge/preprocess.hpp"
#include "support.hpp"

using namespace edge;

namespace {

std::vector<float> resize(size_t in_width, const std::vector<float>& values, size_t width,
                          size_t height) {
  Resizer resizer(in_width, values.size() / in_width, width, height);
  for (size_t at = 0; at < values.size(); at += in_width) resizer.row(values.data() + at);
  return resizer.values();
}

/// The network's input for a picture of these values, height × width × channels.
std::vector<float> input_of(const ImageShape& shape, const std::vector<uint8_t>& pixels,
                            const Card& card) {
  InputRows rows(card);
  rows.begin(shape);
  const auto stride = static_cast<size_t>(shape.width * shape.channels);
  for (size_t at = 0; at < pixels.size(); at += stride) rows.row(pixels.data() + at);
  return rows.input();
}

void check_close(const std::vector<float>& found, const std::vector<float>& expected) {
  REQUIRE(found.size() == expected.size());
  for (size_t i = 0; i < found.size(); ++i) {
    INFO("value " << i);
    CHECK(static_cast<double>(found[i]) == doctest::Approx(static_cast<double>(expected[i])));
  }
}

Card gray_card(int width, int height) {
  Card card;
  card.inputs = {{"image", {1, 1, height, width}}};
  card.normalize.per_image = true;
  card.normalize.epsilon = 1e-5;
  return card;
}

/// A card that leaves values as they are.
Card constant_card(int channels, int width, int height) {
  Card card;
  card.inputs = {{"image", {1, channels, height, width}}};
  card.normalize.mean.assign(static_cast<size_t>(channels), 0);
  card.normalize.std.assign(static_cast<size_t>(channels), 1 / 255.0);
  return card;
}

}  // namespace

TEST_CASE("an image that fits is not changed") {
  check_close(resize(2, {1, 2, 3, 4}, 2, 2), {1, 2, 3, 4});
}

TEST_CASE("halving weighs four neighbours 1 3 3 1, less at the border") {
  // 8 values to 4: support 2, centres at 1, 3, 5, 7.
  const auto values = resize(8, {0, 10, 20, 30, 40, 50, 60, 70}, 4, 1);
  const float left = (3 * 0 + 3 * 10 + 1 * 20) / 7.0f;
  const float right = (1 * 50 + 3 * 60 + 3 * 70) / 7.0f;
  check_close(values, {left, 25, 45, right});
}

TEST_CASE("doubling interpolates at pixel centres and repeats the border") {
  check_close(resize(2, {0, 100}, 4, 1), {0, 25, 75, 100});
}

TEST_CASE("columns are filtered as rows are") {
  const std::vector<float> values{3, 1, 4, 1, 5, 9, 2, 6, 5};
  check_close(resize(1, values, 1, 5), resize(9, values, 5, 1));
}

TEST_CASE("a flat image stays flat, whatever the sizes") {
  for (const size_t size : {1, 3, 7, 300, 1000}) {
    for (const float value : resize(size, std::vector<float>(2 * size, 128), 64, 48)) {
      CHECK(value == 128);
    }
    for (const float value : resize(2, std::vector<float>(2 * size, 128), 64, 48)) {
      CHECK(value == 128);
    }
  }
}

TEST_CASE("luma rounds as Pillow does, and grey is left as it is") {
  Card card = constant_card(1, 3, 1);
  check_close(input_of({3, 1, 3, 1}, {255, 0, 0, 0, 255, 0, 10, 20, 30}, card), {76, 150, 18});
  check_close(input_of({3, 1, 1, 1}, {7, 250, 0}, card), {7, 250, 0});
}

TEST_CASE("grey stands for all of red, green and blue") {
  check_close(input_of({2, 1, 1, 1}, {7, 250}, constant_card(3, 2, 1)), {7, 250, 7, 250, 7, 250});
}

TEST_CASE("a picture is turned as its orientation says") {
  // Stored: 1 2 3 / 4 5 6.
  const std::vector<uint8_t> stored{1, 2, 3, 4, 5, 6};
  const std::vector<std::vector<float>> turned{
      {1, 2, 3, 4, 5, 6}, {3, 2, 1, 6, 5, 4}, {6, 5, 4, 3, 2, 1}, {4, 5, 6, 1, 2, 3},
      {1, 4, 2, 5, 3, 6}, {4, 1, 5, 2, 6, 3}, {6, 3, 5, 2, 4, 1}, {3, 6, 2, 5, 1, 4}};
  for (int orientation = 1; orientation <= 8; ++orientation) {
    INFO("orientation " << orientation);
    const bool swap = orientation >= 5;
    const Card card = constant_card(1, swap ? 2 : 3, swap ? 3 : 2);
    check_close(input_of({3, 2, 1, orientation}, stored, card),
                turned[static_cast<size_t>(orientation - 1)]);
  }
}

TEST_CASE("per image: mean 0 and deviation 1") {
  const auto values = input_of({2, 2, 1, 1}, {0, 10, 20, 30}, gray_card(2, 2));
  const float step = 10 / std::sqrt(125.0f);
  check_close(values, {-1.5f * step, -0.5f * step, 0.5f * step, 1.5f * step});
}

TEST_CASE("per image: an image without contrast becomes zeros, not noise") {
  for (const float value : input_of({3, 1, 1, 1}, {9, 9, 9}, gray_card(64, 64))) {
    CHECK(value == 0);
  }
}

TEST_CASE("mean and std are applied to each channel, planes in order") {
  Card card = constant_card(3, 2, 1);
  card.normalize.mean = {0.5, 0, 0.25};
  card.normalize.std = {0.5, 1, 0.25};
  check_close(input_of({2, 1, 3, 1}, {0, 0, 0, 255, 255, 255}, card), {-1, 1, 0, 1, -1, 3});
}
