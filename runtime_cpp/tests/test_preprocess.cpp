#include <algorithm>
#include <cmath>
#include <utility>

#include "edge/preprocess.hpp"
#include "support.hpp"

using namespace edge;

namespace {

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
  card.preprocess.normalize.per_image = true;
  card.preprocess.normalize.epsilon = 1e-5;
  return card;
}

/// A card that leaves values as they are.
Card constant_card(int channels, int width, int height) {
  Card card;
  card.inputs = {{"image", {1, channels, height, width}}};
  card.preprocess.color = channels == 1 ? Color::gray : Color::rgb;
  card.preprocess.normalize.mean.assign(static_cast<size_t>(channels), 0);
  card.preprocess.normalize.std.assign(static_cast<size_t>(channels), 1 / 255.0);
  return card;
}

}  // namespace

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
  card.preprocess.normalize.mean = {0.5, 0, 0.25};
  card.preprocess.normalize.std = {0.5, 1, 0.25};
  check_close(input_of({2, 1, 3, 1}, {0, 0, 0, 255, 255, 255}, card), {-1, 1, 0, 1, -1, 3});
}

TEST_CASE("the middle of a larger picture is kept, half a pixel to the even side") {
  Card card = constant_card(1, 2, 2);
  card.preprocess.fit = {Fit::Kind::center_crop, 0, 0, 3, 0};
  const Geometry geometry = geometry_of(3, 6, {0, 0, 6, 3}, card);
  CHECK(geometry.y.first == 0);  // half of 1 is 0
  CHECK(geometry.x.first == 2);  // half of 4
  check_close(
      input_of({6, 3, 1, 1}, {0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15, 0, 0, 0, 0, 0, 0}, card),
      {2, 3, 12, 13});
}

TEST_CASE("a letterbox leaves the smaller half of its border before the picture") {
  Card card = constant_card(1, 2, 3);
  card.preprocess.fit = {Fit::Kind::letterbox, 0, 0, 0, 114};
  check_close(input_of({2, 2, 1, 1}, {1, 2, 3, 4}, card), {1, 2, 3, 4, 114, 114});
  const Placement placement = geometry_of(100, 100, {0, 0, 100, 100}, card).placement();
  CHECK(placement.scale_x == 0.02);
  CHECK(placement.left == 0);
  CHECK(geometry_of(2, 6, {0, 0, 6, 2}, card).placement().top == 1);
}

TEST_CASE("a picture as thin as can be is still a pixel of a letterbox") {
  Card card = constant_card(1, 64, 64);
  card.preprocess.fit = {Fit::Kind::letterbox, 0, 0, 0, 0};
  CHECK(geometry_of(1, 16384, {0, 0, 16384, 1}, card).y.resized == 1);
}

TEST_CASE("what is cut off costs no memory") {
  Card card = constant_card(1, 64, 64);
  card.preprocess.fit = {Fit::Kind::center_crop, 0, 0, 4096, 0};
  InputRows rows(card);
  rows.begin({16384, 1, 1, 1});  // 4096 x 67 million pixels, resized
  const std::vector<uint8_t> row(16384, 9);
  rows.row(row.data());
  for (const float value : rows.input()) CHECK(value == 9);
}

TEST_CASE("a reduced picture has the places of the whole one") {
  Card card = constant_card(1, 64, 48);
  card.preprocess.is_jpeg_scaled = true;
  InputRows rows(card);
  CHECK(rows.choose_reduction({300, 387, 1, 6}) == 4);  // upright 387 x 300
  rows.begin({75, 97, 1, 6});
  const Placement placement = rows.placement();
  CHECK(placement.width == 387);
  CHECK(placement.height == 300);
  CHECK(placement.part.width == 387);
  CHECK(placement.scale_x * 4 * 97 == doctest::Approx(64));
  CHECK(placement.scale_y * 300 == doctest::Approx(48));
  // The upright picture's first column is the stored one's last row, of which one pixel is real.
  CHECK(placement.left == doctest::Approx(placement.scale_x));
  CHECK(placement.top == 0);
  CHECK(InputRows(card).choose_reduction({127, 96, 1, 1}) == 1);
  CHECK(InputRows(card).choose_reduction({128, 96, 1, 1}) == 2);
  CHECK(InputRows(card).choose_reduction({16384, 16384, 1, 1}) == 8);
}

TEST_CASE("a turned picture is fitted as the upright one") {
  Card card = constant_card(1, 2, 2);
  for (const Fit& fit :
       {Fit{Fit::Kind::center_crop, 0, 0, 3, 0}, Fit{Fit::Kind::stretch, 3, 4, 0, 0},
        Fit{Fit::Kind::letterbox, 0, 0, 0, 50}}) {
    card.preprocess.fit = fit;
    // Orientation 6: the first stored row is the upright picture's last column, from the top.
    check_close(input_of({4, 3, 1, 6}, {3, 6, 9, 12, 2, 5, 8, 11, 1, 4, 7, 10}, card),
                input_of({3, 4, 1, 1}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, card));
  }
}

TEST_CASE("a turned picture of hard edges is resized as the upright one") {
  Card card = constant_card(1, 7, 5);
  card.preprocess.filter = Filter::bicubic;
  // 4 wide, 3 high, and the same turned by EXIF's 6.
  check_close(input_of({3, 4, 1, 6}, {0, 255, 0, 255, 0, 255, 255, 255, 0, 0, 0, 255}, card),
              input_of({4, 3, 1, 1}, {0, 255, 255, 0, 0, 255, 0, 255, 255, 0, 255, 0}, card));
}

TEST_CASE("blue comes first where the card says so") {
  Card card = constant_card(3, 1, 1);
  card.preprocess.color = Color::bgr;
  check_close(input_of({1, 1, 3, 1}, {10, 20, 30}, card), {30, 20, 10});
  check_close(input_of({1, 1, 1, 1}, {7}, card), {7, 7, 7});
}

TEST_CASE("a region in shares is of the upright picture, of a pixel at least") {
  Card card = constant_card(1, 1, 1);
  card.preprocess.roi = CardRegion{true, 0.25, 0.25, 0.5, 0.25};
  const Region large = *region_of(50, 60, card);
  CHECK(large.x == 15);
  CHECK(large.width == 30);
  CHECK(large.y == 13);
  CHECK(large.height == 12);
  CHECK(region_of(3, 1, card)->y == 1);
  CHECK(region_of(3, 1, card)->height == 1);
}

TEST_CASE("a region is what the network sees, and an image that is smaller is refused") {
  Card card = constant_card(1, 2, 1);
  card.preprocess.roi = CardRegion{false, 1, 1, 2, 1};
  check_close(input_of({3, 2, 1, 1}, {1, 2, 3, 4, 5, 6}, card), {5, 6});
  // Upright, the picture is 2 x 3: 4 1 / 5 2 / 6 3.
  card.preprocess.roi = CardRegion{false, 0, 2, 2, 1};
  check_close(input_of({3, 2, 1, 6}, {1, 2, 3, 4, 5, 6}, card), {6, 3});
  CHECK(geometry_of(3, 2, *region_of(3, 2, card), card).placement().top == -2);

  InputRows rows(card);
  rows.begin({3, 2, 1, 1});
  const auto error = rows.fault("a.png");
  CHECK(error->code == std::string("image_too_small"));
  CHECK(error->problem == "is 3 x 2 pixels, the card's region reaches to 2 x 3");
}

TEST_CASE("a frame and the decoder beside it are within one limit of memory") {
  Card card = constant_card(1, 4, 4);
  card.tiling = Tiling{16, 16};
  ImageLimits limits;
  limits.memory = 2 * 40 * 30;  // an interlaced picture is held whole, and so is the frame
  const std::string path = EDGE_CORPUS "/good-gray-interlaced.png";
  CHECK(load_input(path, card, limits));
  limits.memory -= 1;
  const auto refused = load_input(path, card, limits);
  REQUIRE_FALSE(refused);
  CHECK(contains(refused.error().problem, "is interlaced, and needs more than the 2399 bytes"));
  limits.memory = 40 * 30;
  CHECK(load_input(EDGE_CORPUS "/good-gray.png", card, limits));
}
