// INT8 kernels for ARM with NEON, 32-bit and 64-bit, where ONNX Runtime has scalar code or none, or
// takes more passes.
//
// All of them give, bit by bit, what ONNX Runtime's portable code gives: products are summed in
// 32 bits without loss, and a sum becomes a byte by scaling in float, rounding half to even,
// adding the zero point and saturating. README.md has the reasoning.
#pragma once

#include <cstddef>
#include <cstdint>

namespace edgewright {

/// How sums become bytes.
struct Requantize {
  const int32_t* bias;  // [columns], added to the sums; carries the input's zero point too
  const float* scale;   // [columns], or one value if !per_column
  bool per_column;
  int32_t zero_point;  // of the output, 0..255
};

/// Rows of a left matrix, unsigned bytes. Row r is `segments` pieces of `segment_size` bytes in a
/// row: piece s begins at `pieces[r * segments + s]`, or, where `pieces` is null, the only piece
/// begins at `base + r * segment_size`.
struct Rows {
  const uint8_t* base;
  const uint8_t* const* pieces;
  size_t segments;
  size_t segment_size;
  size_t depth() const { return segments * segment_size; }
};

// --- product of unsigned activations and signed weights that are never -128

/// Bytes behind packed weights that `multiply` reads, and does not use.
constexpr size_t kReadBeyond = 64;

/// Bytes that `pack_weights` writes for a matrix of `depth` x `columns`.
size_t packed_weights_size(size_t depth, size_t columns);

/// A matrix of weights, [depth x columns]. Step k of the depth is place k % segment_size of segment
/// k / segment_size; one column's element lies at
/// data[segment * segment_stride + place * depth_stride + column * column_stride].
struct Weights {
  const int8_t* data;
  size_t segments, segment_size, columns;
  size_t segment_stride, depth_stride, column_stride;
  size_t depth() const { return segments * segment_size; }
};

void pack_weights(const Weights& weights, int8_t* packed);

/// How packed weights of a model's file lie, by the `layout_number` of the file.
enum class StoredFor {
  no_tile,     // of this program, or not in whole tiles
  own_tile,    // this CPU's: they are used as they are
  other_tile,  // that of other CPUs
};
StoredFor stored_for(uint32_t layout, size_t depth, size_t columns);

/// Packs weights that are stored for the other tile of AArch64. AArch32 has one tile, and not this.
void repack_weights(const int8_t* stored, size_t depth, size_t columns, int8_t* packed);

/// sums[n] += factor * the sum of column n of packed weights.
void add_column_sums(const int8_t* packed, size_t depth, size_t columns, int32_t factor,
                     int32_t* sums);

int32_t sum(const int8_t* values, size_t count);

/// True if a matrix has a weight of -128, which `multiply` cannot take: two products of -128 and
/// -128 overflow 16 bits.
bool has_lowest(const int8_t* w, size_t count);

/// Bytes of scratch memory that `multiply` needs, whatever the number of rows.
size_t multiply_scratch_size(size_t depth);

/// output[r * stride + n] = requantized(sum over k of (row[r][k] - 128) * w[k][n]).
void multiply(const Rows& rows, size_t row_count, const int8_t* packed, size_t columns,
              const Requantize& requantize, uint8_t* output, size_t stride, uint8_t* scratch);

// --- product of two unsigned matrices, neither known before

/// One matrix product; a [rows x depth] and b [depth x columns] are dense.
struct Product {
  const uint8_t* a;
  const uint8_t* b;
  size_t rows, depth, columns;
  int32_t zero_point_a, zero_point_b;
  float scale;
  int32_t zero_point;
  uint8_t* output;  // [rows x columns]
};

size_t product_scratch_size(size_t depth, size_t columns);

void multiply(const Product& product, uint8_t* scratch);

/// Scratch memory of the calling thread, until its next call here or into MLAS.
uint8_t* thread_scratch(size_t size);

// --- depthwise convolution

/// For every output pixel and channel: requantized(sum over taps of
/// (taps[pixel * tap_count + t][channel] - 128) * w[t * channels + channel]).
/// `channels` is a multiple of 8, w is never -128, `tap_count` any number.
void depthwise(const uint8_t* const* taps, size_t tap_count, const int8_t* w, size_t channels,
               size_t pixels, const Requantize& requantize, uint8_t* output);

// --- windows of a convolution

/// An image of `height` x `width` pixels, `pixel_size` bytes each, and the windows that slide over
/// it; beyond its edges all taps are `padding`.
struct Windows {
  const uint8_t* image;
  const uint8_t* padding;
  ptrdiff_t pixel_size;
  ptrdiff_t height, width, output_width;
  ptrdiff_t kernel_height, kernel_width;
  ptrdiff_t stride_y, stride_x, dilation_y, dilation_x, pad_top, pad_left;
};

/// The taps of `count` output pixels from `begin` on: for each, [kernel_height x kernel_width].
void find_taps(const Windows& windows, size_t begin, size_t count, const uint8_t** taps);

/// The taps of one row of output pixels, where the image does not lie in one piece: `rows`
/// [kernel_height] are the image's rows that the windows meet, null beyond its edges.
void find_row_taps(const Windows& windows, const uint8_t* const* rows, const uint8_t** taps);

// --- inverted residual: a convolution of single pixels that makes many channels of few, a
// --- depthwise one, and one of single pixels that makes few of many

/// A convolution of single pixels.
struct Pointwise {
  const int8_t* packed;
  size_t columns;
  Requantize requantize;
};

struct InvertedResidual {
  const uint8_t* input;  // [windows.height, windows.width, channels]
  size_t channels;
  Pointwise expand;
  const uint8_t* expand_table;  // 256 bytes through which the results go, or null
  /// The depthwise convolution's. Their image is what comes of `expand`, of which only the rows
  /// that one window meets exist at a time; `image` is not read.
  Windows windows;
  const int8_t* depthwise;  // weights, [taps][expand.columns]
  Requantize depthwise_requantize;
  const uint8_t* depthwise_table;  // as above
  Pointwise project;
  uint8_t* output;  // [rows, windows.output_width, project.columns]
};

size_t inverted_residual_scratch_size(const InvertedResidual& block);

/// Rows `begin` to `end` of the output. Rows of the expanded image that other calls need too are
/// computed by each.
void inverted_residual(const InvertedResidual& block, size_t begin, size_t end, uint8_t* scratch);

// --- element by element

/// output[i] = table[input[i]], 256 entries.
void lookup(const uint8_t* input, const uint8_t* table, uint8_t* output, size_t count);

/// One row of sums to bytes; bias may be null. `flip` is exclusive-or'ed to every byte: with 0x80,
/// and 128 more as zero point, the bytes are signed ones.
void requantize_row(const int32_t* sums, const Requantize& requantize, uint8_t* output,
                    size_t count, uint8_t flip);

/// output = saturate(round(input / scale) + zero_point), with the rounding of a true division.
void quantize(const float* input, uint8_t* output, size_t count, float scale, int32_t zero_point);

/// output = float(input - zero_point) * scale.
void dequantize(const uint8_t* input, float* output, size_t count, float scale,
                int32_t zero_point);

/// The largest of at least one byte.
uint8_t largest(const uint8_t* input, size_t count);

/// entries[i] = table[input[i]] * factor; returns the sum of the entries without the factor, added
/// up from first to last.
float scaled_entries(const uint8_t* input, const float* table, float factor, float* entries,
                     size_t count);

// --- row by row

/// What LayerNorm does to each row: over `columns` values, a factor and an offset for each.
struct LayerNorm {
  const float* scale;  // [columns]
  const float* bias;   // [columns]
  size_t columns;
  float epsilon;
};

/// output = (input - mean) / sqrt(mean of squares - square of mean + epsilon) * scale + bias, mean
/// and squares of each of the `row_count` rows added up from first to last.
void layer_norm(const LayerNorm& norm, const float* input, size_t row_count, float* output);

// --- transposes

/// output[k][j][i] = input[i][j][k], input [a, b, c], output [c, b, a].
void reverse_axes(const uint8_t* input, size_t a, size_t b, size_t c, uint8_t* output);

/// output[c][r] = input[r][c], [columns, rows] and [rows, columns] of blocks of `size` bytes.
void transpose_blocks(const uint8_t* input, size_t rows, size_t columns, size_t size,
                      uint8_t* output);

}  // namespace edgewright
