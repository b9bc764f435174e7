#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "edge/resize.hpp"

using namespace edge;

// Also compiled alone, for boards' processors, whose vectors this machine's lacks.

namespace {

Span whole(size_t length, size_t resized) {
  return {0, length, resized, 0, resized, 0};
}

std::vector<float> resize(size_t in_width, const std::vector<uint8_t>& values, size_t width,
                          size_t height, Filter filter = Filter::triangle) {
  Resizer resizer(whole(in_width, width), whole(values.size() / in_width, height), filter, 1);
  for (size_t at = 0; at < values.size(); at += in_width) resizer.row(values.data() + at);
  return resizer.values();
}

void check_close(const std::vector<float>& found, const std::vector<float>& expected) {
  REQUIRE(found.size() == expected.size());
  for (size_t i = 0; i < found.size(); ++i) {
    INFO("value " << i);
    CHECK(static_cast<double>(found[i]) == doctest::Approx(static_cast<double>(expected[i])));
  }
}

/// Bytes that are the same in every run.
std::vector<uint8_t> random_bytes(size_t count) {
  std::vector<uint8_t> bytes(count);
  uint32_t state = 1;
  for (uint8_t& byte : bytes) {
    state = state * 1664525 + 1013904223;
    byte = static_cast<uint8_t>(state >> 24);
  }
  return bytes;
}

/// FNV-1a, 32 bits.
uint32_t hash_of(const void* data, size_t size, uint32_t hash) {
  const auto* bytes = static_cast<const uint8_t*>(data);
  for (size_t i = 0; i < size; ++i) hash = (hash ^ bytes[i]) * 16777619;
  return hash;
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
  const std::vector<uint8_t> values{3, 1, 4, 1, 5, 9, 2, 6, 5};
  check_close(resize(1, values, 1, 5), resize(9, values, 5, 1));
}

TEST_CASE("a turned picture has the same bits, in sizes that fill no vector too") {
  uint32_t random = 1;
  for (const Filter filter : {Filter::triangle, Filter::bicubic, Filter::bilinear}) {
    for (const auto& [width, height] : {std::pair{1, 9}, {7, 5}, {8, 3}, {23, 40}, {131, 17}}) {
      const auto columns = static_cast<size_t>(width), rows = static_cast<size_t>(height);
      std::vector<uint8_t> values(columns * rows), turned(columns * rows);
      for (size_t i = 0; i < values.size(); ++i) {
        random = random * 1664525 + 1013904223;
        values[i] = static_cast<uint8_t>(random >> 24);
        turned[i % columns * rows + i / columns] = values[i];
      }
      const auto upright = resize(columns, values, 11, 6, filter);
      const auto across = resize(rows, turned, 6, 11, filter);
      for (size_t i = 0; i < upright.size(); ++i) CHECK(upright[i] == across[i % 11 * 6 + i / 11]);
    }
  }
}

TEST_CASE("each of three channels is resized as if it were alone") {
  for (const size_t width : {1, 5, 8, 30, 77}) {
    constexpr size_t height = 5;
    std::vector<uint8_t> planes[3], pixels;
    for (size_t i = 0; i < width * height; ++i) {
      for (size_t channel = 0; channel < 3; ++channel) {
        planes[channel].push_back(static_cast<uint8_t>(i * (37 + channel)));
        pixels.push_back(planes[channel].back());
      }
    }
    Resizer resizer(whole(width, 9), whole(height, 4), Filter::triangle, 3);
    for (size_t y = 0; y < height; ++y) resizer.row(pixels.data() + 3 * width * y);
    std::vector<float> expected;
    for (const auto& plane : planes) {
      for (const float value : resize(width, plane, 9, 4)) expected.push_back(value);
    }
    CHECK(resizer.values() == expected);
  }
}

TEST_CASE("luma is the same in vectors and one by one") {
  std::vector<uint8_t> rgb;
  for (size_t i = 0; i < 3 * 61; ++i) rgb.push_back(static_cast<uint8_t>(i * i * 89));
  std::vector<uint8_t> all(61), each(61);
  luma_row(rgb.data(), 61, all.data());
  for (size_t i = 0; i < 61; ++i) luma_row(rgb.data() + 3 * i, 1, each.data() + i);
  CHECK(all == each);
}

TEST_CASE("a flat image stays flat, whatever the sizes") {
  for (const size_t size : {1, 3, 7, 300, 1000}) {
    for (const float value : resize(size, std::vector<uint8_t>(2 * size, 128), 64, 48)) {
      CHECK(value == 128);
    }
    for (const float value : resize(2, std::vector<uint8_t>(2 * size, 128), 64, 48)) {
      CHECK(value == 128);
    }
  }
}

TEST_CASE("bilinear looks at two neighbours, however much it shrinks") {
  const std::vector<uint8_t> values{0, 10, 20, 30, 40, 50, 60, 90};
  check_close(resize(8, values, 2, 1, Filter::bilinear), {15, 55});
  check_close(resize(2, {0, 100}, 4, 1, Filter::bilinear), {0, 25, 75, 100});
}

TEST_CASE("bicubic does not leave the range of pixels") {
  const auto values = resize(4, {0, 0, 255, 255}, 16, 1, Filter::bicubic);
  CHECK(*std::min_element(values.begin(), values.end()) == 0);
  CHECK(*std::max_element(values.begin(), values.end()) == 255);
}

TEST_CASE("each processor makes the same bits of the same rows") {
  uint32_t hash = 2166136261;
  for (const size_t channels : {1, 3}) {
    for (const Filter filter : {Filter::triangle, Filter::bicubic, Filter::bilinear}) {
      for (const size_t width : {1, 7, 8, 9, 31, 64, 200, 641}) {
        constexpr size_t height = 37;
        const auto pixels = random_bytes(width * height * channels);
        Resizer resizer(whole(width, 48), whole(height, 29), filter, channels);
        for (size_t y = 0; y < height; ++y) resizer.row(pixels.data() + y * width * channels);
        const auto& values = resizer.values();
        hash = hash_of(values.data(), values.size() * sizeof values[0], hash);
      }
    }
  }
  CHECK(hash == 740642564);  // of plain code, without vectors
  const auto pixels = random_bytes(3 * 641);
  std::vector<uint8_t> luma(641);
  luma_row(pixels.data(), luma.size(), luma.data());
  CHECK(hash_of(luma.data(), luma.size(), 2166136261) == 2928646937);
}
