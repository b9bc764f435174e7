// The kernels against plain code that says what ONNX Runtime's portable kernels do, on random
// shapes, alignments and values that crowd at the edges.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <asm/hwcap.h>
#include <sys/auxv.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <random>
#include <vector>

#include "doctest/doctest.h"
#include "kernels.h"
#include "tile.h"

namespace {

using edgewright::Requantize;

constexpr uint8_t kGuard = 0xa5;

class Random {
 public:
  explicit Random(unsigned seed) : engine_(seed) {}
  int between(int low, int high) { return std::uniform_int_distribution<int>(low, high)(engine_); }
  float real(float low, float high) {
    return std::uniform_real_distribution<float>(low, high)(engine_);
  }
  template <class T>
  T one_of(std::initializer_list<T> values) {
    return values.begin()[between(0, static_cast<int>(values.size()) - 1)];
  }
  uint8_t activation() {
    const int any = between(0, 255);
    return static_cast<uint8_t>(one_of({0, 1, 127, 128, 254, 255, any, any, any}));
  }
  int8_t weight() {
    const int any = between(-127, 127);
    return static_cast<int8_t>(one_of({-127, -1, 0, 127, any, any, any}));
  }
  int32_t sum() {
    const int any = between(-40000, 40000);
    return one_of({any, any, any, INT32_MIN, INT32_MAX, 0, -1, 1});
  }
  float scale() {
    return one_of({real(1e-4f, 1e-2f), real(1e-4f, 1e-2f), 0.5f, 0.25f, 1.0f, 1e-9f, 1e9f, 1e-40f});
  }

 private:
  std::mt19937 engine_;
};

/// Bytes that begin `offset` beyond an aligned address, with guards on both sides.
class Output {
 public:
  Output(size_t size, size_t offset) : bytes_(size + offset + 64, kGuard), offset_(offset + 32) {
    size_ = size;
  }
  uint8_t* data() { return bytes_.data() + offset_; }
  bool guarded() const {
    const auto is_guard = [](uint8_t byte) { return byte == kGuard; };
    return std::all_of(bytes_.begin(), bytes_.begin() + static_cast<long>(offset_), is_guard) &&
           std::all_of(bytes_.begin() + static_cast<long>(offset_ + size_), bytes_.end(), is_guard);
  }
  std::vector<uint8_t> content() { return {data(), data() + size_}; }

 private:
  std::vector<uint8_t> bytes_;
  size_t offset_, size_;
};

template <class T, class Make>
std::vector<T> filled(size_t count, Make make) {
  std::vector<T> values(count);
  for (T& value : values) value = make();
  return values;
}

uint8_t requantized(uint32_t sum, float scale, int32_t zero_point) {
  float value = static_cast<float>(static_cast<int32_t>(sum)) * scale;
  value = std::max(value, static_cast<float>(-zero_point));
  value = std::min(value, static_cast<float>(255 - zero_point));
  return static_cast<uint8_t>(static_cast<int32_t>(std::nearbyint(value)) + zero_point);
}

uint8_t requantized(uint32_t sum, const Requantize& r, size_t n) {
  const uint32_t bias = r.bias ? static_cast<uint32_t>(r.bias[n]) : 0;
  return requantized(sum + bias, r.per_column ? r.scale[n] : *r.scale, r.zero_point);
}

uint8_t quantized(float value, float scale, int32_t zero_point) {
  float rounded = std::nearbyint(value / scale) + static_cast<float>(zero_point);
  rounded = std::max(rounded, 0.0f);
  rounded = std::min(rounded, 255.0f);
  return static_cast<uint8_t>(static_cast<int32_t>(rounded));  // not a number: 0, as VFP converts
}

struct Scaling {
  Scaling(Random& random, size_t columns)
      : bias(filled<int32_t>(columns, [&] { return random.sum(); })),
        scale(filled<float>(columns, [&] { return random.scale(); })),
        requantize{bias.data(), scale.data(), random.between(0, 1) == 1, random.activation()} {}
  std::vector<int32_t> bias;
  std::vector<float> scale;
  Requantize requantize;
};

/// Weights in one of the layouts that operators have: [columns, depth], [depth, columns] or
/// [columns, segment_size, segments], and element (k, n) of them.
struct Layout {
  Layout(Random& random, size_t segments, size_t segment_size, size_t columns)
      : data(filled<int8_t>(segments * segment_size * columns, [&] { return random.weight(); })) {
    const size_t depth = segments * segment_size;
    const bool by_row = segments == 1 && random.between(0, 1) == 1;
    view = by_row ? edgewright::Weights{data.data(), 1, depth, columns, 0, columns, 1}
                  : edgewright::Weights{data.data(), segments, segment_size, columns,
                                        1, segments, depth};
  }
  int8_t at(size_t k, size_t n) const {
    const size_t segment = k / view.segment_size, place = k % view.segment_size;
    return data[segment * view.segment_stride + place * view.depth_stride +
                n * view.column_stride];
  }
  std::vector<int8_t> data;
  edgewright::Weights view;
};

std::vector<int8_t> packed(const edgewright::Weights& weights) {
  std::vector<int8_t> bytes(edgewright::packed_weights_size(weights.depth(), weights.columns), 99);
  edgewright::pack_weights(weights, bytes.data());
  return bytes;
}

/// The weights in the order of a tile, of a matrix of whole tiles.
template <class Tile>
std::vector<int8_t> in_order(const Layout& weights) {
  const size_t depth = weights.view.depth(), columns = weights.view.columns;
  std::vector<int8_t> ordered(depth * columns);
  for (size_t n = 0; n < columns; ++n) {
    for (size_t k = 0; k < depth; ++k) {
      const size_t step = n / Tile::kColumns * (depth / 16) + k / 16;
      const size_t place = Tile::weight_place(k % 16, n % Tile::kColumns);
      ordered[step * Tile::kStepWeights + place] = weights.at(k, n);
    }
  }
  return ordered;
}

void check_stored(unsigned seed) {
  using edgewright::StoredFor;
  Random random(seed);
  const auto depth = static_cast<size_t>(16 * random.between(1, 9));
  const auto columns = static_cast<size_t>(8 * random.between(1, 5));
  const Layout weights(random, 1, depth, columns);
  const auto bytes = packed(weights.view);
  edgewright::with_tile([&](auto tile) {
    using Tile = decltype(tile);
    const uint32_t layout = edgewright::layout_number<Tile>();
    CHECK(edgewright::stored_for(layout, depth, columns) == StoredFor::own_tile);
    CHECK(edgewright::stored_for(layout, depth + 1, columns) == StoredFor::no_tile);
    CHECK(edgewright::stored_for(layout, depth, columns + 1) == StoredFor::no_tile);
    const auto stored = in_order<Tile>(weights);
    CHECK(std::equal(stored.begin(), stored.end(), bytes.begin()));
  });
  CHECK(edgewright::stored_for(0, depth, columns) == StoredFor::no_tile);
#if defined(__aarch64__)
  const bool has_dot = edgewright::has_dot_product();
  const uint32_t other = has_dot ? edgewright::layout_number<edgewright::NeonTile>()
                                 : edgewright::layout_number<edgewright::DotTile>();
  CHECK(edgewright::stored_for(other, depth, columns) == StoredFor::other_tile);
  const auto stored = has_dot ? in_order<edgewright::NeonTile>(weights)
                              : in_order<edgewright::DotTile>(weights);
  std::vector<int8_t> repacked(bytes.size(), 99);
  edgewright::repack_weights(stored.data(), depth, columns, repacked.data());
  CHECK(repacked == bytes);
#endif
}

void check_multiply(unsigned seed) {
  Random random(seed);
  const auto segments = static_cast<size_t>(random.one_of({1, 1, 1, 2, 9}));
  const auto segment_size = static_cast<size_t>(
      random.one_of({random.between(1, 40), 16, 32, 48, 144, random.between(1, 600)}));
  const auto columns = static_cast<size_t>(random.between(1, 21));
  const auto row_count = static_cast<size_t>(random.between(1, 23));
  const size_t depth = segments * segment_size;
  CAPTURE(seed);
  CAPTURE(depth);
  CAPTURE(columns);
  CAPTURE(row_count);
  const Layout weights(random, segments, segment_size, columns);
  const auto bytes = packed(weights.view);
  const auto input = filled<uint8_t>(row_count * depth + 3, [&] { return random.activation(); });
  const uint8_t* const base = input.data() + random.between(0, 3);
  std::vector<const uint8_t*> pieces;
  for (size_t i = 0; i < row_count * segments; ++i) pieces.push_back(base + i * segment_size);
  std::reverse(pieces.begin(), pieces.end());
  const bool indirect = segments > 1 || random.between(0, 1) == 1;
  const edgewright::Rows rows{base, indirect ? pieces.data() : nullptr, segments, segment_size};
  const Scaling scaling(random, columns);
  const size_t stride = columns + static_cast<size_t>(random.between(0, 5));
  Output output((row_count - 1) * stride + columns, static_cast<size_t>(random.between(0, 3)));
  std::vector<uint8_t> scratch(edgewright::multiply_scratch_size(depth) + 64);

  edgewright::multiply(rows, row_count, bytes.data(), columns, scaling.requantize, output.data(),
                       stride, scratch.data());

  std::vector<uint8_t> expected((row_count - 1) * stride + columns, kGuard);
  for (size_t r = 0; r < row_count; ++r) {
    for (size_t n = 0; n < columns; ++n) {
      uint32_t sum = 0;
      for (size_t k = 0; k < depth; ++k) {
        const size_t piece = r * segments + k / segment_size;
        const uint8_t* at = indirect ? pieces[piece] : base + piece * segment_size;
        sum += static_cast<uint32_t>((at[k % segment_size] - 128) * weights.at(k, n));
      }
      expected[r * stride + n] = requantized(sum, scaling.requantize, n);
    }
  }
  CHECK(output.content() == expected);
  CHECK(output.guarded());
}

void check_product(unsigned seed) {
  Random random(seed);
  edgewright::Product p{};
  p.rows = static_cast<size_t>(random.between(1, 40));
  p.depth = static_cast<size_t>(random.one_of({random.between(1, 80), 36, 64, 256, 700}));
  p.columns = static_cast<size_t>(random.between(1, 40));
  const uint8_t lowest = random.one_of<uint8_t>({0, 1});  // 0 becomes -128: the wide way
  const auto a = filled<uint8_t>(p.rows * p.depth + 3, [&] { return random.activation(); });
  const auto b = filled<uint8_t>(p.depth * p.columns + 3,
                                 [&] { return std::max(lowest, random.activation()); });
  p.a = a.data() + random.between(0, 3);
  p.b = b.data() + random.between(0, 3);
  p.zero_point_a = random.activation();
  p.zero_point_b = random.activation();
  p.scale = random.scale();
  p.zero_point = random.activation();
  Output output(p.rows * p.columns, static_cast<size_t>(random.between(0, 3)));
  p.output = output.data();
  CAPTURE(seed);
  CAPTURE(p.depth);
  std::vector<uint64_t> scratch(edgewright::product_scratch_size(p.depth, p.columns) / 8 + 8);

  edgewright::multiply(p, reinterpret_cast<uint8_t*>(scratch.data()));

  std::vector<uint8_t> expected;
  for (size_t r = 0; r < p.rows; ++r) {
    for (size_t n = 0; n < p.columns; ++n) {
      uint32_t sum = 0;
      for (size_t k = 0; k < p.depth; ++k) {
        sum += static_cast<uint32_t>((p.a[r * p.depth + k] - p.zero_point_a) *
                                     (p.b[k * p.columns + n] - p.zero_point_b));
      }
      expected.push_back(requantized(sum, p.scale, p.zero_point));
    }
  }
  CHECK(output.content() == expected);
  CHECK(output.guarded());
}

void check_depthwise(unsigned seed) {
  Random random(seed);
  const auto tap_count = static_cast<size_t>(random.one_of({9, 9, 9, 25, random.between(1, 30)}));
  const auto channels = static_cast<size_t>(8 * random.between(1, 9));
  const auto pixels = static_cast<size_t>(random.between(1, 9));
  const auto input = filled<uint8_t>(4 * channels + 7, [&] { return random.activation(); });
  const auto w = filled<int8_t>(tap_count * channels, [&] { return random.weight(); });
  const auto taps = filled<const uint8_t*>(pixels * tap_count, [&] {
    return input.data() + random.between(0, static_cast<int>(3 * channels) + 7);
  });
  const Scaling scaling(random, channels);
  Output output(pixels * channels, static_cast<size_t>(random.between(0, 3)));
  CAPTURE(seed);

  edgewright::depthwise(taps.data(), tap_count, w.data(), channels, pixels, scaling.requantize,
                        output.data());

  std::vector<uint8_t> expected;
  for (size_t p = 0; p < pixels; ++p) {
    for (size_t c = 0; c < channels; ++c) {
      uint32_t sum = 0;
      for (size_t t = 0; t < tap_count; ++t) {
        sum += static_cast<uint32_t>((taps[p * tap_count + t][c] - 128) * w[t * channels + c]);
      }
      expected.push_back(requantized(sum, scaling.requantize, c));
    }
  }
  CHECK(output.content() == expected);
  CHECK(output.guarded());
}

/// Scales that leave most sums within bytes, so that what a stage gives differs from pixel to pixel.
Scaling moderate(Random& random, size_t columns) {
  Scaling scaling(random, columns);
  for (int32_t& bias : scaling.bias) bias = random.between(-20000, 20000);
  for (float& scale : scaling.scale) scale = random.real(1e-3f, 1e-2f);
  return scaling;
}

/// One of the two convolutions of single pixels.
struct PixelStage {
  PixelStage(Random& random, size_t channels, size_t columns)
      : layout(random, 1, channels, columns), weights(packed(layout.view)),
        scaling(moderate(random, columns)),
        pointwise{weights.data(), columns, scaling.requantize} {}

  std::vector<uint8_t> plain(const std::vector<uint8_t>& pixels) const {
    const size_t depth = layout.view.depth(), columns = pointwise.columns;
    std::vector<uint8_t> results;
    for (size_t p = 0; p < pixels.size() / depth; ++p) {
      for (size_t n = 0; n < columns; ++n) {
        uint32_t sum = 0;
        for (size_t k = 0; k < depth; ++k) {
          sum += static_cast<uint32_t>((pixels[p * depth + k] - 128) * layout.at(k, n));
        }
        results.push_back(requantized(sum, scaling.requantize, n));
      }
    }
    return results;
  }

  Layout layout;
  std::vector<int8_t> weights;
  Scaling scaling;
  edgewright::Pointwise pointwise;
};

/// An inverted residual of any form, and what its stages give one after the other.
class Block {
 public:
  explicit Block(unsigned seed)
      : random_(seed), channels_(size(40)), expanded_(8 * size(6)), columns_(size(30)),
        padding_(expanded_, random_.activation()),
        table_(filled<uint8_t>(256, [&] { return random_.activation(); })),
        expand_(random_, channels_, expanded_), project_(random_, expanded_, columns_),
        scaling_(moderate(random_, expanded_)) {
    const auto any = [&](int high) { return static_cast<ptrdiff_t>(size(high)); };
    const auto stride = random_.one_of<ptrdiff_t>({1, 1, 2, 2, any(4)});
    const auto kernel = random_.one_of<ptrdiff_t>({3, 3, 5, any(6)});
    w_ = {nullptr, padding_.data(), static_cast<ptrdiff_t>(expanded_), any(14), any(14), any(12),
          kernel, random_.one_of<ptrdiff_t>({kernel, kernel, any(6)}), stride,
          random_.one_of<ptrdiff_t>({stride, any(3)}), any(2), any(2), any(4) - 1, any(4) - 1};
    height_ = size(12);
    const auto pixels = static_cast<size_t>(w_.height * w_.width);
    input_ = filled<uint8_t>(pixels * channels_, [&] { return random_.activation(); });
    const auto taps = static_cast<size_t>(w_.kernel_height * w_.kernel_width);
    depthwise_ = filled<int8_t>(taps * expanded_, [&] { return random_.weight(); });
    tables_[0] = random_.one_of<const uint8_t*>({nullptr, table_.data()});
    tables_[1] = random_.one_of<const uint8_t*>({nullptr, table_.data()});
  }

  size_t height() const { return height_; }
  size_t output_size() const {
    return height_ * static_cast<size_t>(w_.output_width) * columns_;
  }

  edgewright::InvertedResidual form(uint8_t* output) const {
    return {input_.data(), channels_, expand_.pointwise, tables_[0], w_, depthwise_.data(),
            scaling_.requantize, tables_[1], project_.pointwise, output};
  }

  std::vector<uint8_t> plain() const {
    const auto image = through(tables_[0], expand_.plain(input_));
    edgewright::Windows w = w_;
    w.image = image.data();
    const size_t tap_count = static_cast<size_t>(w.kernel_height * w.kernel_width);
    const size_t pixels = height_ * static_cast<size_t>(w.output_width);
    std::vector<const uint8_t*> taps(pixels * tap_count);
    edgewright::find_taps(w, 0, pixels, taps.data());
    std::vector<uint8_t> convolved(pixels * expanded_);
    edgewright::depthwise(taps.data(), tap_count, depthwise_.data(), expanded_, pixels,
                          scaling_.requantize, convolved.data());
    return project_.plain(through(tables_[1], convolved));
  }

 private:
  size_t size(int high) { return static_cast<size_t>(random_.between(1, high)); }

  static std::vector<uint8_t> through(const uint8_t* table, std::vector<uint8_t> bytes) {
    for (uint8_t& byte : bytes) byte = table == nullptr ? byte : table[byte];
    return bytes;
  }

  Random random_;
  size_t channels_, expanded_, columns_, height_;
  std::vector<uint8_t> padding_, table_, input_;
  PixelStage expand_, project_;
  Scaling scaling_;
  edgewright::Windows w_;
  std::vector<int8_t> depthwise_;
  const uint8_t* tables_[2];
};

void check_inverted_residual(unsigned seed) {
  Random random(seed + 1000);
  const Block block(seed);
  Output output(block.output_size(), static_cast<size_t>(random.between(0, 3)));
  const auto form = block.form(output.data());
  Output scratch(edgewright::inverted_residual_scratch_size(form), 0);
  CAPTURE(seed);

  for (size_t begin = 0; begin < block.height();) {
    const size_t left = block.height() - begin;
    const size_t end = begin + static_cast<size_t>(random.between(1, static_cast<int>(left)));
    edgewright::inverted_residual(form, begin, end, scratch.data());
    begin = end;
  }

  CHECK(output.content() == block.plain());
  CHECK(output.guarded());
  CHECK(scratch.guarded());
}

/// Values around what a scale makes of bytes, halves between them among these, and all oddities.
float dividend(Random& random, float scale) {
  const auto steps = static_cast<float>(random.between(-300, 300));
  const float half = (steps + 0.5f) * scale;
  constexpr float infinity = std::numeric_limits<float>::infinity();
  return random.one_of({half, half, std::nextafter(half, infinity), std::nextafter(half, -infinity),
                        steps * scale, random.real(-300.0f, 300.0f) * scale, 0.0f, -0.0f, 1e-44f,
                        1e30f, -1e30f, infinity, -infinity,
                        std::numeric_limits<float>::quiet_NaN()});
}

float divisor(Random& random) {
  const float all_ones = std::nextafter(2.0f, 0.0f);
  const float any = std::ldexp(random.real(1.0f, 2.0f), random.between(-140, 127));
  const float usual = random.real(1e-3f, 1.0f);
  return random.one_of({usual, usual, usual, usual, any, all_ones, all_ones / 64.0f, 0.0625f});
}

/// What GCC makes of a product and a sum where it fuses them if the core can.
float multiply_add(float a, float b, float sum) {
#if defined(__aarch64__)
  const bool fused = true;
#else
  static const bool fused = (getauxval(AT_HWCAP) & HWCAP_VFPv4) != 0;
#endif
  return fused ? std::fma(a, b, sum) : a * b + sum;
}

/// LayerNorm as ONNX Runtime computes it, compiled for size.
std::vector<float> normalized(const edgewright::LayerNorm& norm, const float* row) {
  float sum = 0, squares = 0;
  for (size_t i = 0; i < norm.columns; ++i) {
    sum += row[i];
    squares = multiply_add(row[i], row[i], squares);
  }
  const auto count = static_cast<float>(norm.columns);
  const float mean = sum / count;
  const float deviation = std::sqrt(multiply_add(-mean, mean, squares / count) + norm.epsilon);
  std::vector<float> output;
  for (size_t i = 0; i < norm.columns; ++i) {
    const float factor = (row[i] - mean) / deviation * norm.scale[i];
    output.push_back(factor + norm.bias[i]);
  }
  return output;
}

/// Values of all the kinds that rows of a network have, and of those that they never should.
class Floats {
 public:
  explicit Floats(Random& random)
      : random_(random), step_(random.real(1e-3f, 0.1f)), odd_(random.between(0, 3) == 0),
        middle_(random.one_of({0.0f, 0.0f, random.real(-9.0f, 9.0f), 1e4f})),
        spread_(std::ldexp(1.0f, random.one_of({0, 0, 0, -9, -22, -27, -62, -70, -118, 10, 19}))) {}

  float operator()() {
    const float quantized = static_cast<float>(random_.between(-128, 127)) * step_;
    const float usual = middle_ + random_.one_of({quantized, random_.real(-3.0f, 3.0f)}) * spread_;
    return odd_ && random_.between(0, 19) == 0 ? odd() : usual;
  }

 private:
  float odd() {
    const float any = std::ldexp(random_.real(-1.0f, 1.0f), random_.between(-148, 127));
    constexpr float infinity = std::numeric_limits<float>::infinity();
    return random_.one_of({any, any, any, any, 0.0f, -0.0f, 1e-45f, -1e-40f, 0x1p-30f, -0x1p-31f,
                           0x1p-126f, 0x1p-63f, 1e19f, infinity, -infinity,
                           std::numeric_limits<float>::quiet_NaN()});
  }

  Random& random_;
  float step_;
  bool odd_;
  float middle_, spread_;
};

/// Bit for bit, but any value that is no number is as good as any other.
bool same(const std::vector<float>& a, const std::vector<float>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](float x, float y) {
    return (std::isnan(x) && std::isnan(y)) || std::memcmp(&x, &y, sizeof x) == 0;
  });
}

void check_layer_norm(unsigned seed) {
  Random random(seed);
  const auto columns = static_cast<size_t>(random.one_of({random.between(1, 50), 64, 144, 241}));
  const auto row_count = static_cast<size_t>(random.between(1, 9));
  Floats values(random), scales(random), biases(random);
  const float all_ones = std::nextafter(2.0f, 0.0f);
  const float epsilon = random.one_of({1e-5f, 1e-5f, 1e-12f, 0.0f, 0.0f, all_ones * all_ones, 1e38f});
  const auto scale = filled<float>(columns + 3, std::ref(scales));
  auto bias = filled<float>(columns + 3, std::ref(biases));
  auto input = filled<float>(row_count * columns + 3, std::ref(values));
  const float* const from = input.data() + random.between(0, 3);
  if (random.between(0, 9) == 0) std::fill(input.begin(), input.end(), input[0]);
  edgewright::LayerNorm norm{scale.data() + random.between(0, 3), bias.data(), columns, epsilon};
  if (random.between(0, 4) == 0) {  // what is left of the first row is all but nothing
    std::fill(bias.begin(), bias.end(), 0.0f);
    const auto first = normalized(norm, from);
    for (size_t i = 0; i < columns; ++i) bias[i] = std::nextafter(-first[i], 1.0f);
  }
  const auto offset = static_cast<size_t>(random.between(0, 3));
  std::vector<float> output(row_count * columns + offset + 4, 7.0f), expected(offset, 7.0f);
  CAPTURE(seed);
  CAPTURE(columns);

  edgewright::layer_norm(norm, from, row_count, output.data() + offset);

  for (size_t r = 0; r < row_count; ++r) {
    const auto row = normalized(norm, from + r * columns);
    expected.insert(expected.end(), row.begin(), row.end());
  }
  expected.resize(output.size(), 7.0f);
  CHECK(same(output, expected));
}

}  // namespace

TEST_CASE("rows times packed weights") {
  for (unsigned seed = 0; seed < 250; ++seed) check_multiply(seed);
}

TEST_CASE("sums that come closest to overflow") {
  for (const int8_t weight : {int8_t{-127}, int8_t{127}}) {
    for (const uint8_t activation : {uint8_t{0}, uint8_t{255}}) {
      constexpr size_t depth = 4096;
      const std::vector<int8_t> w(depth * 4, weight);
      const std::vector<uint8_t> row(depth, activation);
      const auto bytes = packed({w.data(), 1, depth, 4, 0, 1, depth});
      const std::vector<int32_t> bias(4, 0);
      const float scale = 1e-6f;
      std::vector<uint8_t> scratch(edgewright::multiply_scratch_size(depth) + 64), output(4);
      edgewright::multiply({row.data(), nullptr, 1, depth}, 1, bytes.data(), 4,
                           {bias.data(), &scale, false, 128}, output.data(), 4, scratch.data());
      const int32_t sum = static_cast<int32_t>(depth) * (activation - 128) * weight;
      CHECK(output == std::vector<uint8_t>(4, requantized(static_cast<uint32_t>(sum), scale, 128)));
    }
  }
}

TEST_CASE("weights that a model's file holds packed") {
  for (unsigned seed = 0; seed < 60; ++seed) check_stored(seed);
}

TEST_CASE("an order of weights has the number that edgewright packs it under") {
  // tests/unit/model/convert/test_packed_weights.py has the same.
#if defined(__aarch64__)
  CHECK(edgewright::layout_number<edgewright::NeonTile>() == 21378002);
  CHECK(edgewright::layout_number<edgewright::DotTile>() == 88096066);
  CHECK(edgewright::reads_layout(88096066));
  CHECK(edgewright::reads_layout(21378002));
  CHECK_FALSE(edgewright::reads_layout(75962618));
#else
  CHECK(edgewright::layout_number<edgewright::NeonTile>() == 75962618);
  CHECK(edgewright::reads_layout(75962618));
  CHECK_FALSE(edgewright::reads_layout(21378002));
#endif
}

TEST_CASE("column sums are those of the weights that were packed") {
  for (unsigned seed = 0; seed < 60; ++seed) {
    Random random(seed);
    const Layout weights(random, 1, static_cast<size_t>(random.between(1, 90)),
                         static_cast<size_t>(random.between(1, 17)));
    const size_t depth = weights.view.depth(), columns = weights.view.columns;
    std::vector<int32_t> sums(columns, 5), expected(columns, 5);
    edgewright::add_column_sums(packed(weights.view).data(), depth, columns, -3, sums.data());
    for (size_t n = 0; n < columns; ++n) {
      for (size_t k = 0; k < depth; ++k) expected[n] += -3 * weights.at(k, n);
    }
    CHECK(sums == expected);
    const auto& data = weights.data;
    int32_t total = 0;
    for (const int8_t value : data) total += value;
    CHECK(edgewright::sum(data.data(), data.size()) == total);
  }
}

TEST_CASE("a weight of -128 is found wherever it is") {
  for (size_t count = 1; count < 70; ++count) {
    std::vector<int8_t> weights(count, -127);
    CHECK_FALSE(edgewright::has_lowest(weights.data(), count));
    weights[(count * 7) % count] = weights[count - 1] = -128;
    CHECK(edgewright::has_lowest(weights.data(), count));
    CHECK_FALSE(edgewright::has_lowest(weights.data() + 1, (count * 7) % count));
  }
}

TEST_CASE("product of two unsigned matrices") {
  for (unsigned seed = 0; seed < 120; ++seed) check_product(seed);
}

TEST_CASE("depthwise convolution") {
  for (unsigned seed = 0; seed < 150; ++seed) check_depthwise(seed);
}

TEST_CASE("an inverted residual in bands of rows is its stages one after the other") {
  for (unsigned seed = 0; seed < 200; ++seed) check_inverted_residual(seed);
}

TEST_CASE("lookup, any number of bytes at any address") {
  Random random(1);
  const auto table = filled<uint8_t>(256, [&] { return static_cast<uint8_t>(random.between(0, 255)); });
  for (size_t count = 0; count < 300; ++count) {
    auto input = filled<uint8_t>(count + 3, [&] { return static_cast<uint8_t>(random.between(0, 255)); });
    for (size_t i = 0; i < count && count >= 256; ++i) input[i] = static_cast<uint8_t>(i);
    const uint8_t* from = input.data() + (count >= 256 ? 0 : count % 4);
    Output output(count, count % 3);
    edgewright::lookup(from, table.data(), output.data(), count);
    std::vector<uint8_t> expected;
    for (size_t i = 0; i < count; ++i) expected.push_back(table[from[i]]);
    CHECK(output.content() == expected);
    CHECK(output.guarded());
  }
}

TEST_CASE("a row of sums to bytes") {
  for (unsigned seed = 0; seed < 300; ++seed) {
    Random random(seed);
    const auto count = static_cast<size_t>(random.between(0, 45));
    Scaling scaling(random, std::max<size_t>(1, count));
    if (random.between(0, 3) == 0) scaling.requantize.bias = nullptr;
    const auto sums = filled<int32_t>(count, [&] { return random.sum(); });
    const uint8_t flip = random.one_of<uint8_t>({0, 0x80});
    Output output(count, static_cast<size_t>(random.between(0, 3)));
    edgewright::requantize_row(sums.data(), scaling.requantize, output.data(), count, flip);
    std::vector<uint8_t> expected;
    for (size_t n = 0; n < count; ++n) {
      expected.push_back(static_cast<uint8_t>(
          requantized(static_cast<uint32_t>(sums[n]), scaling.requantize, n) ^ flip));
    }
    CAPTURE(seed);
    CHECK(output.content() == expected);
    CHECK(output.guarded());
  }
}

TEST_CASE("floats to bytes, rounded as a division rounds") {
  for (unsigned seed = 0; seed < 3000; ++seed) {
    Random random(seed);
    const auto count = static_cast<size_t>(random.between(0, 45));
    const float scale = divisor(random);
    const uint8_t zero_point = random.activation();
    const auto input = filled<float>(count, [&] { return dividend(random, scale); });
    Output output(count, static_cast<size_t>(random.between(0, 3)));
    edgewright::quantize(input.data(), output.data(), count, scale, zero_point);
    std::vector<uint8_t> expected;
    for (const float value : input) expected.push_back(quantized(value, scale, zero_point));
    CAPTURE(seed);
    CAPTURE(scale);
    CHECK(output.content() == expected);
    CHECK(output.guarded());
  }
}

TEST_CASE("bytes to floats") {
  for (unsigned seed = 0; seed < 100; ++seed) {
    Random random(seed);
    const auto count = static_cast<size_t>(random.between(0, 45));
    const float scale = random.real(1e-5f, 10.0f);
    const uint8_t zero_point = random.activation();
    const auto input = filled<uint8_t>(count, [&] { return random.activation(); });
    std::vector<float> output(count + 1, 7.0f), expected;
    edgewright::dequantize(input.data(), output.data(), count, scale, zero_point);
    for (const uint8_t byte : input) expected.push_back(static_cast<float>(byte - zero_point) * scale);
    expected.push_back(7.0f);
    CHECK(output == expected);
  }
}

TEST_CASE("softmax: the largest byte, and entries with their sum in order") {
  for (unsigned seed = 0; seed < 200; ++seed) {
    Random random(seed);
    const auto count = static_cast<size_t>(random.between(1, 300));
    const auto input = filled<uint8_t>(count, [&] { return static_cast<uint8_t>(random.between(0, 255)); });
    const auto table = filled<float>(256, [&] { return std::ldexp(random.real(1, 2), random.between(-20, 90)); });
    CHECK(edgewright::largest(input.data(), count) == *std::max_element(input.begin(), input.end()));
    std::vector<float> entries(count + 1, 7.0f), expected;
    const float sum = edgewright::scaled_entries(input.data(), table.data(), 255.0f, entries.data(), count);
    float expected_sum = 0;
    for (const uint8_t byte : input) {
      expected_sum += table[byte];
      expected.push_back(table[byte] * 255.0f);
    }
    expected.push_back(7.0f);
    CHECK(sum == expected_sum);
    CHECK(entries == expected);
  }
}

TEST_CASE("LayerNorm, to the last bit") {
  for (unsigned seed = 0; seed < 2500; ++seed) check_layer_norm(seed);
}

TEST_CASE("three axes reversed") {
  for (unsigned seed = 0; seed < 200; ++seed) {
    Random random(seed);
    const auto size = [&] { return static_cast<size_t>(random.one_of({random.between(1, 30), 4, 8, 16})); };
    const size_t a = size(), b = size(), c = size();
    const auto input = filled<uint8_t>(a * b * c + 3, [&] { return random.activation(); });
    const uint8_t* const from = input.data() + random.between(0, 3);
    Output output(a * b * c, static_cast<size_t>(random.between(0, 3)));
    edgewright::reverse_axes(from, a, b, c, output.data());
    std::vector<uint8_t> expected(a * b * c);
    for (size_t i = 0; i < expected.size(); ++i) {
      expected[(i % c * b + i / c % b) * a + i / c / b] = from[i];
    }
    CAPTURE(seed);
    CHECK(output.content() == expected);
    CHECK(output.guarded());
  }
}

TEST_CASE("blocks of bytes, transposed") {
  for (unsigned seed = 0; seed < 100; ++seed) {
    Random random(seed);
    const auto rows = static_cast<size_t>(random.between(1, 9));
    const auto columns = static_cast<size_t>(random.between(1, 9));
    const auto size = static_cast<size_t>(random.between(1, 70));
    const auto input = filled<uint8_t>(rows * columns * size, [&] { return random.activation(); });
    Output output(input.size(), static_cast<size_t>(random.between(0, 3)));
    edgewright::transpose_blocks(input.data(), rows, columns, size, output.data());
    std::vector<uint8_t> expected(input.size());
    for (size_t i = 0; i < expected.size(); ++i) {
      const size_t block = i / size, place = block % columns * rows + block / columns;
      expected[place * size + i % size] = input[i];
    }
    CAPTURE(seed);
    CHECK(output.content() == expected);
    CHECK(output.guarded());
  }
}

TEST_CASE("taps of a convolution's windows") {
  for (unsigned seed = 0; seed < 300; ++seed) {
    Random random(seed);
    const auto size = [&](int high) { return static_cast<ptrdiff_t>(random.between(1, high)); };
    const std::vector<uint8_t> image(4000), padding(1);
    const edgewright::Windows w{image.data(), padding.data(), size(4), size(12), size(12), size(9),
                                size(4), random.one_of<ptrdiff_t>({3, 1, 2, 5}), size(2), size(2),
                                size(2), size(2), size(4) - 1, size(4) - 1};
    const auto begin = size(20) - 1, count = size(40);
    std::vector<const uint8_t*> expected;
    for (ptrdiff_t pixel = begin; pixel < begin + count; ++pixel) {
      for (ptrdiff_t k = 0; k < w.kernel_height * w.kernel_width; ++k) {
        const ptrdiff_t y = pixel / w.output_width * w.stride_y - w.pad_top + k / w.kernel_width * w.dilation_y;
        const ptrdiff_t x = pixel % w.output_width * w.stride_x - w.pad_left + k % w.kernel_width * w.dilation_x;
        const bool inside = y >= 0 && y < w.height && x >= 0 && x < w.width;
        expected.push_back(inside ? w.image + (y * w.width + x) * w.pixel_size : w.padding);
      }
    }
    std::vector<const uint8_t*> taps(expected.size() + 1, nullptr);
    edgewright::find_taps(w, static_cast<size_t>(begin), static_cast<size_t>(count), taps.data());
    expected.push_back(nullptr);
    CAPTURE(seed);
    CHECK(taps == expected);
  }
}
