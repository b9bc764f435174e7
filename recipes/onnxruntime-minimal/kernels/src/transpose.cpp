// Transposes of bytes, 8 by 8.

#include <cstring>

#include "kernels.h"
#include "neon.h"

namespace edgewright {
namespace {

constexpr size_t kBlock = 8;

/// Rows i and i + 4 of a block in vector i.
struct Block {
  uint8x16_t rows[kBlock / 2];
};

inline Block load(const uint8_t* const (&from)[kBlock], size_t column) {
  Block block;
  for (size_t i = 0; i < kBlock / 2; ++i) {
    block.rows[i] = vcombine_u8(vld1_u8(from[i] + column), vld1_u8(from[i + 4] + column));
  }
  return block;
}

#if defined(__aarch64__)

inline void transpose(Block& block) {
  uint8x16_t(&rows)[4] = block.rows;
  const uint8x16x2_t top = vtrnq_u8(rows[0], rows[1]), bottom = vtrnq_u8(rows[2], rows[3]);
#pragma GCC unroll 2
  for (size_t i = 0; i < 2; ++i) {
    const uint16x8x2_t pairs = vtrnq_u16(vreinterpretq_u16_u8(top.val[i]),
                                         vreinterpretq_u16_u8(bottom.val[i]));
#pragma GCC unroll 2
    for (size_t half = 0; half < 2; ++half) {
      const uint32x4_t words = vreinterpretq_u32_u16(pairs.val[half]);
      rows[i + 2 * half] = vreinterpretq_u8_u32(vzip1q_u32(words, vextq_u32(words, words, 2)));
    }
  }
}

#else

inline void transpose(Block& block) {
  __asm__(
      "vtrn.8 %q0, %q1\n\t"
      "vtrn.8 %q2, %q3\n\t"
      "vtrn.16 %q0, %q2\n\t"
      "vtrn.16 %q1, %q3\n\t"
      "vtrn.32 %e0, %f0\n\t"
      "vtrn.32 %e1, %f1\n\t"
      "vtrn.32 %e2, %f2\n\t"
      "vtrn.32 %e3, %f3\n\t"
      : "+w"(block.rows[0]), "+w"(block.rows[1]), "+w"(block.rows[2]), "+w"(block.rows[3]));
}

#endif

inline void store(const Block& block, uint8_t* const (&to)[kBlock], size_t row) {
  for (size_t i = 0; i < kBlock / 2; ++i) {
    vst1_u8(to[i] + row, vget_low_u8(block.rows[i]));
    vst1_u8(to[i + 4] + row, vget_high_u8(block.rows[i]));
  }
}

/// to(column)[row] = from(row)[column].
template <class From, class To>
void transpose(size_t rows, size_t columns, From from, To to) {
  const size_t whole_rows = rows / kBlock * kBlock, whole_columns = columns / kBlock * kBlock;
  for (size_t c = 0; c < whole_columns; c += kBlock) {
    uint8_t* outputs[kBlock];
    for (size_t i = 0; i < kBlock; ++i) outputs[i] = to(c + i);
    for (size_t r = 0; r < whole_rows; r += kBlock) {
      const uint8_t* inputs[kBlock];
      for (size_t i = 0; i < kBlock; ++i) inputs[i] = from(r + i);
      Block block = load(inputs, c);
      transpose(block);
      store(block, outputs, r);
    }
  }
  for (size_t r = 0; r < rows; ++r) {
    for (size_t c = r < whole_rows ? whole_columns : 0; c < columns; ++c) to(c)[r] = from(r)[c];
  }
}

}  // namespace

void reverse_axes(const uint8_t* input, size_t a, size_t b, size_t c, uint8_t* output) {
  if (a >= c) {  // the columns of a matrix are all (j, k)
    const auto to = [=](size_t jk) { return output + (jk % c * b + jk / c) * a; };
    transpose(a, b * c, [=](size_t i) { return input + i * b * c; }, to);
  } else {  // its rows are all (j, i)
    const auto from = [=](size_t ji) { return input + (ji % a * b + ji / a) * c; };
    transpose(b * a, c, from, [=](size_t k) { return output + k * b * a; });
  }
}

void transpose_blocks(const uint8_t* input, size_t rows, size_t columns, size_t size,
                      uint8_t* output) {
  for (size_t c = 0; c < columns; ++c) {
    for (size_t r = 0; r < rows; ++r, output += size) {
      std::memcpy(output, input + (r * columns + c) * size, size);
    }
  }
}

}  // namespace edgewright
