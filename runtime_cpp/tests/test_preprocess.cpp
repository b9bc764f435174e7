#include <cmath>
#include <numeric>

#include "edge/preprocess.hpp"
#include "support.hpp"

using namespace edge;

namespace {

Plane plane_from(int width, int height, std::vector<float> values) {
  return {width, height, std::move(values)};
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
  card.shape = {1, 1, height, width};
  card.normalize.per_image = true;
  card.normalize.epsilon = 1e-5;
  return card;
}

}  // namespace

TEST_CASE("an image that fits is not resized") {
  const Plane plane = resize(plane_from(2, 2, {1, 2, 3, 4}), 2, 2);
  check_close(plane.values, {1, 2, 3, 4});
}

TEST_CASE("halving weighs four neighbours 1 3 3 1, less at the border") {
  // 8 values to 4: support 2, centres at 1, 3, 5, 7.
  const Plane plane = resize(plane_from(8, 1, {0, 10, 20, 30, 40, 50, 60, 70}), 4, 1);
  const float left = (3 * 0 + 3 * 10 + 1 * 20) / 7.0f;
  const float right = (1 * 50 + 3 * 60 + 3 * 70) / 7.0f;
  check_close(plane.values, {left, 25, 45, right});
}

TEST_CASE("doubling interpolates at pixel centres and repeats the border") {
  const Plane plane = resize(plane_from(2, 1, {0, 100}), 4, 1);
  check_close(plane.values, {0, 25, 75, 100});
}

TEST_CASE("columns are filtered as rows are") {
  const std::vector<float> values{3, 1, 4, 1, 5, 9, 2, 6, 5};
  const Plane across = resize(plane_from(9, 1, values), 5, 1);
  const Plane down = resize(plane_from(1, 9, values), 1, 5);
  check_close(down.values, across.values);
}

TEST_CASE("a flat image stays flat, whatever the sizes") {
  for (const int size : {1, 3, 7, 300, 1000}) {
    const Plane plane = resize(plane_from(size, 2, std::vector<float>(2u * size, 128)), 64, 48);
    for (const float value : plane.values) CHECK(value == 128);
  }
}

TEST_CASE("luma rounds as Pillow does") {
  const Image image = image_of(4, 1, 3, {255, 0, 0, 0, 255, 0, 0, 0, 255, 10, 20, 30});
  check_close(luma_of(image).values, {76, 150, 29, 18});
}

TEST_CASE("grey is left as it is and stands for all of red, green and blue") {
  const Image image = image_of(2, 1, 1, {7, 250});
  check_close(luma_of(image).values, {7, 250});
  check_close(plane_of(image, 2).values, {7, 250});
}

TEST_CASE("per image: mean 0 and deviation 1") {
  const auto values = preprocess(image_of(2, 2, 1, {0, 10, 20, 30}), gray_card(2, 2));
  const float step = 10 / std::sqrt(125.0f);
  check_close(values, {-1.5f * step, -0.5f * step, 0.5f * step, 1.5f * step});
}

TEST_CASE("per image: an image without contrast becomes zeros, not noise") {
  for (const float value : preprocess(image_of(3, 1, 1, {9, 9, 9}), gray_card(64, 64))) {
    CHECK(value == 0);
  }
}

TEST_CASE("mean and std are applied to each channel, planes in order") {
  Card card;
  card.shape = {1, 3, 1, 2};
  card.normalize.mean = {0.5, 0, 0.25};
  card.normalize.std = {0.5, 1, 0.25};
  const auto values = preprocess(image_of(2, 1, 3, {0, 0, 0, 255, 255, 255}), card);
  check_close(values, {-1, 1, 0, 1, -1, 3});
}
