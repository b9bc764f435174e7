// LayerNorm in float, with the bits of ONNX Runtime's loop.
//
// The loop adds up a row and its squares from first to last, so each lane here has a row of its
// own: four rows side by side, turned 4 by 4 as they are loaded. GCC at -Os, for a core with fused
// multiply-add, fuses each square with the sum of squares, and the mean's square with what it is
// taken from, and nothing else; this file does the same, and is compiled with -ffp-contract=off to
// do no more.
//
// NEON takes denormals for zero, the loop does not. So vectors get only what leads to none. Zeros
// aside, and for at most 2^16 values in a row, all of them 2^-30 or more: they are multiples of
// 2^-53, and so are their sums; squares are 2^-60 or more; a mean is 2^-69 or more; so is a value
// less the mean; over a deviation of 2^-30 to 2^20 that is 2^-90 or more, with remainders that are
// multiples of 2^-116 (see Divisor); times a scale of 2^-30 or more it is 2^-121 or more; and a
// bias of 2^-30 or more leaves that alone or makes multiples of 2^-54. Rows of which this does not
// hold take the loop itself, infinite values and such that are no numbers among them: their
// deviation is out of bounds too.

#include <algorithm>
#include <cmath>

#include "kernels.h"
#include "neon.h"

namespace edgewright {
namespace {

constexpr size_t kRows = 4;
constexpr size_t kMaxColumns = 1 << 16;
constexpr float kSmallest = 0x1p-30f, kLargestDeviation = 0x1p20f;

inline float multiply_add(float a, float b, float sum) {
#if defined(__ARM_FEATURE_FMA)
  return __builtin_fmaf(a, b, sum);
#else
  return a * b + sum;
#endif
}

inline float32x4_t multiply_add(float32x4_t a, float32x4_t b, float32x4_t sum) {
#if defined(__ARM_FEATURE_FMA)
  return vfmaq_f32(sum, a, b);
#else
  return vaddq_f32(sum, vmulq_f32(a, b));
#endif
}

/// What is known of a row once it has been read.
struct Moments {
  float sum = 0.0f, squares = 0.0f;

  void add(const float* values, size_t count) {
    for (size_t i = 0; i < count; ++i) {
      sum += values[i];
      squares = multiply_add(values[i], values[i], squares);
    }
  }
  float mean(size_t columns) const { return sum / static_cast<float>(columns); }
  float deviation(size_t columns, float epsilon) const {
    const float m = mean(columns);
    return std::sqrt(multiply_add(-m, m, squares / static_cast<float>(columns)) + epsilon);
  }
};

/// True if vectors can take the factors and offsets of the columns, and as many columns.
bool fits_vectors(const LayerNorm& norm) {
  const auto fits = [](float value) {
    return value == 0.0f || (std::fabs(value) >= kSmallest && std::isfinite(value));
  };
  return norm.columns <= kMaxColumns && std::all_of(norm.scale, norm.scale + norm.columns, fits) &&
         std::all_of(norm.bias, norm.bias + norm.columns, fits);
}

/// Four rows, each in its lane.
struct Lanes {
  float32x4_t sum = vdupq_n_f32(0.0f), squares = vdupq_n_f32(0.0f);
  uint32x4_t least = vdupq_n_u32(UINT32_MAX);  // of the values' sizes

  /// Looks for values too small. A size is twice a value's bits, less one: zeros have the largest.
  void look_at(float32x4_t values) {
    const uint32x4_t bits = vreinterpretq_u32_f32(values);
    least = vminq_u32(least, vaddq_u32(vaddq_u32(bits, bits), vdupq_n_u32(UINT32_MAX)));
  }
  void add(float32x4_t column) {
    sum = vaddq_f32(sum, column);
    squares = multiply_add(column, column, squares);
  }
  bool fits_vectors() const {
    uint32_t bits, sizes[kRows];
    std::memcpy(&bits, &kSmallest, sizeof bits);
    vst1q_u32(sizes, least);
    return *std::min_element(sizes, sizes + kRows) >= 2 * bits - 1;
  }
};

/// Exchanges rows and columns: lane i of row j and lane j of row i.
inline void transpose(float32x4_t& row0, float32x4_t& row1, float32x4_t& row2, float32x4_t& row3) {
#if defined(__aarch64__)
  const auto pairs = [](float32x4_t values) { return vreinterpretq_f64_f32(values); };
  const float32x4x2_t top = vtrnq_f32(row0, row1), bottom = vtrnq_f32(row2, row3);
  row0 = vreinterpretq_f32_f64(vtrn1q_f64(pairs(top.val[0]), pairs(bottom.val[0])));
  row1 = vreinterpretq_f32_f64(vtrn1q_f64(pairs(top.val[1]), pairs(bottom.val[1])));
  row2 = vreinterpretq_f32_f64(vtrn2q_f64(pairs(top.val[0]), pairs(bottom.val[0])));
  row3 = vreinterpretq_f32_f64(vtrn2q_f64(pairs(top.val[1]), pairs(bottom.val[1])));
#else
  __asm__(
      "vtrn.32 %q0, %q1\n\t"
      "vtrn.32 %q2, %q3\n\t"
      "vswp %f0, %e2\n\t"
      "vswp %f1, %e3\n\t"
      : "+w"(row0), "+w"(row1), "+w"(row2), "+w"(row3));
#endif
}

/// The first columns of four rows, as many multiples of 4 as there are.
Lanes add_up(const float* const (&rows)[kRows], size_t columns) {
  Lanes lanes;
  for (size_t i = 0; i + 4 <= columns; i += 4) {
    float32x4_t v0 = vld1q_f32(rows[0] + i), v1 = vld1q_f32(rows[1] + i);
    float32x4_t v2 = vld1q_f32(rows[2] + i), v3 = vld1q_f32(rows[3] + i);
    for (const float32x4_t values : {v0, v1, v2, v3}) lanes.look_at(values);
    transpose(v0, v1, v2, v3);
    for (const float32x4_t column : {v0, v1, v2, v3}) lanes.add(column);
  }
  return lanes;
}

/// The moments of four rows; true if vectors can take their values.
bool measure(const float* const (&rows)[kRows], size_t columns, Moments (&moments)[kRows]) {
  const Lanes lanes = add_up(rows, columns);
  float sums[kRows], squares[kRows];
  vst1q_f32(sums, lanes.sum);
  vst1q_f32(squares, lanes.squares);
  const bool fits = lanes.fits_vectors();
  const size_t done = fits ? columns / 4 * 4 : 0;
  for (size_t r = 0; r < kRows; ++r) {
    moments[r] = fits ? Moments{sums[r], squares[r]} : Moments{};
    moments[r].add(rows[r] + done, columns - done);
  }
  return fits;
}

/// Eight columns.
inline void normalize_8(const float* row, float32x4_t mean, const Divisor& deviation,
                        const float* scale, const float* bias, float* output) {
  const float32x4x2_t values = vld1q_f32_x2(row);
  const float32x4x2_t factors = vld1q_f32_x2(scale), offsets = vld1q_f32_x2(bias);
  float32x4x2_t results;
  for (size_t i = 0; i < 2; ++i) {
    const float32x4_t quotient = deviation.divide(vsubq_f32(values.val[i], mean));
    results.val[i] = vaddq_f32(vmulq_f32(quotient, factors.val[i]), offsets.val[i]);
  }
  vst1q_f32_x2(output, results);
}

/// As many columns as fill vectors; returns their number.
size_t normalize_vectors(LayerNorm norm, float mean, Divisor deviation, const float* row,
                         float* output) {
  const float32x4_t means = vdupq_n_f32(mean);
  size_t i = 0;
  for (; i + 8 <= norm.columns; i += 8) {
    normalize_8(row + i, means, deviation, norm.scale + i, norm.bias + i, output + i);
  }
  return i;
}

void normalize_row(const LayerNorm& norm, const Moments& moments, bool fits, const float* row,
                   float* output) {
  const float mean = moments.mean(norm.columns);
  const float deviation = moments.deviation(norm.columns, norm.epsilon);
  const Divisor divisor(deviation);
  const bool divides = deviation >= kSmallest && deviation <= kLargestDeviation && divisor.exact();
  size_t i = fits && divides ? normalize_vectors(norm, mean, divisor, row, output) : 0;
  for (; i < norm.columns; ++i) {
    output[i] = (row[i] - mean) / deviation * norm.scale[i] + norm.bias[i];
  }
}

}  // namespace

void layer_norm(const LayerNorm& norm, const float* input, size_t row_count, float* output) {
  const bool fits = fits_vectors(norm);
  for (size_t begin = 0; begin < row_count; begin += kRows) {
    const float* rows[kRows];  // the last one again where fewer are left
    for (size_t r = 0; r < kRows; ++r) {
      rows[r] = input + std::min(begin + r, row_count - 1) * norm.columns;
    }
    Moments moments[kRows];
    const bool rows_fit = measure(rows, norm.columns, moments);
    for (size_t r = 0; r < std::min(kRows, row_count - begin); ++r) {
      normalize_row(norm, moments[r], fits && rows_fit, rows[r],
                    output + (begin + r) * norm.columns);
    }
  }
}

}  // namespace edgewright
