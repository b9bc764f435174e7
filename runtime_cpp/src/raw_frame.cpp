#include "edge/raw_frame.hpp"

#include <algorithm>
#include <vector>

#include "common/text.hpp"
#include "edge/client.h"

#if defined(__ARM_NEON)
#include <arm_neon.h>
#endif

namespace edge {
namespace {

constexpr int fraction_bits = 13;  // of a weight: the largest, 2.017, has 15 in all

/// BT.601 from luma and chroma to colours, in units of 2^-fraction_bits.
struct ColorMatrix {
  int16_t black;  // the luma of black
  int16_t luma;
  int16_t red_of_v;
  int16_t green_of_u;
  int16_t green_of_v;
  int16_t blue_of_u;
};

constexpr ColorMatrix limited_range = {16, 9539, 13075, -3209, -6660, 16525};
constexpr ColorMatrix full_range = {0, 8192, 11485, -2819, -5850, 14516};

/// What a row is made from; `decoded` is one as decoders give it.
enum class Layout { unknown, decoded, bgr, nv12, yuyv, bayer };

Layout layout_of(PixelFormat format) {
  switch (format) {
    case PixelFormat::gray:
    case PixelFormat::rgb:
      return Layout::decoded;
    case PixelFormat::bgr:
      return Layout::bgr;
    case PixelFormat::nv12:
    case PixelFormat::nv12_full:
      return Layout::nv12;
    case PixelFormat::yuyv:
    case PixelFormat::yuyv_full:
      return Layout::yuyv;
    case PixelFormat::bayer_rggb:
    case PixelFormat::bayer_grbg:
    case PixelFormat::bayer_gbrg:
    case PixelFormat::bayer_bggr:
      return Layout::bayer;
  }
  return Layout::unknown;  // a client sends any number
}

size_t even(size_t side) {
  return side + side % 2;
}

uint8_t clamped_byte(int32_t sum) {
  return static_cast<uint8_t>(
      std::clamp((sum + (1 << (fraction_bits - 1))) >> fraction_bits, 0, 255));
}

// Each function with vectors returns how many pixels it converted; plain code does those left over.
#if defined(__ARM_NEON)

constexpr size_t lanes = 8;  // bytes that a vector holds

int16x8_t subtract(uint8x8_t values, int16_t zero) {
  return vsubq_s16(vreinterpretq_s16_u16(vmovl_u8(values)), vdupq_n_s16(zero));
}

/// Eight sums, each beginning with its part of chroma.
struct Sums {
  int32x4_t low, high;

  void add(int16x8_t values, int16_t weight) {
    low = vmlal_n_s16(low, vget_low_s16(values), weight);
    high = vmlal_n_s16(high, vget_high_s16(values), weight);
  }
  uint8x8_t with(int16x8_t luma, int16_t weight) const {
    Sums sums = *this;
    sums.add(luma, weight);
    return vqmovn_u16(vcombine_u16(vqrshrun_n_s32(sums.low, fraction_bits),
                                   vqrshrun_n_s32(sums.high, fraction_bits)));
  }
};

constexpr size_t color_step = 2 * lanes;

size_t color_vectors(const uint8_t* luma, const uint8_t* chroma, size_t width,
                     const ColorMatrix& matrix, uint8_t* rgb) {
  const int32x4_t zero = vdupq_n_s32(0);
  size_t x = 0;
  for (; x + color_step <= width; x += color_step) {
    const uint8x8x2_t uv = vld2_u8(chroma + x), pixels = vld2_u8(luma + x);
    const int16x8_t u = subtract(uv.val[0], 128), v = subtract(uv.val[1], 128);
    Sums parts[3] = {{zero, zero}, {zero, zero}, {zero, zero}};
    parts[0].add(v, matrix.red_of_v);
    parts[1].add(u, matrix.green_of_u);
    parts[1].add(v, matrix.green_of_v);
    parts[2].add(u, matrix.blue_of_u);
    const int16x8_t even_luma = subtract(pixels.val[0], matrix.black);
    const int16x8_t odd_luma = subtract(pixels.val[1], matrix.black);
    uint8x8x3_t first, second;
    for (int channel = 0; channel < 3; ++channel) {
      const uint8x8x2_t both = vzip_u8(parts[channel].with(even_luma, matrix.luma),
                                       parts[channel].with(odd_luma, matrix.luma));
      first.val[channel] = both.val[0];
      second.val[channel] = both.val[1];
    }
    vst3_u8(rgb + 3 * x, first);
    vst3_u8(rgb + 3 * x + 3 * lanes, second);
  }
  return x;
}

size_t expand_vectors(const uint8_t* luma, size_t width, const ColorMatrix& matrix, uint8_t* gray) {
  const Sums none = {vdupq_n_s32(0), vdupq_n_s32(0)};
  size_t x = 0;
  for (; x + lanes <= width; x += lanes) {
    vst1_u8(gray + x, none.with(subtract(vld1_u8(luma + x), matrix.black), matrix.luma));
  }
  return x;
}

/// The mean of four, half up.
uint8x8_t mean(uint8x8_t a, uint8x8_t b, uint8x8_t c, uint8x8_t d) {
  return vrshrn_n_u16(vaddq_u16(vaddl_u8(a, b), vaddl_u8(c, d)), 2);
}

#endif

/// A row of pixels, of which each two share a U and a V.
void color_row(const uint8_t* luma, const uint8_t* chroma, size_t width, const ColorMatrix& matrix,
               uint8_t* rgb) {
  size_t x = 0;
#if defined(__ARM_NEON)
  x = color_vectors(luma, chroma, width, matrix, rgb);
#endif
  for (; x < width; ++x) {
    const int32_t y = (luma[x] - matrix.black) * matrix.luma;
    const int32_t u = chroma[x - x % 2] - 128, v = chroma[x - x % 2 + 1] - 128;
    rgb[3 * x] = clamped_byte(y + matrix.red_of_v * v);
    rgb[3 * x + 1] = clamped_byte(y + matrix.green_of_u * u + matrix.green_of_v * v);
    rgb[3 * x + 2] = clamped_byte(y + matrix.blue_of_u * u);
  }
}

/// A row of luma in its full range, 0 to 255.
void expand_row(const uint8_t* luma, size_t width, const ColorMatrix& matrix, uint8_t* gray) {
  size_t x = 0;
#if defined(__ARM_NEON)
  x = expand_vectors(luma, width, matrix, gray);
#endif
  for (; x < width; ++x) gray[x] = clamped_byte((luma[x] - matrix.black) * matrix.luma);
}

/// A row of a mosaic and its neighbours. Outside of an edge stands the row or column that lies
/// inside of it by as much, as that has the same colours.
struct Mosaic {
  const uint8_t* above;
  const uint8_t* row;
  const uint8_t* below;
  size_t width;
  size_t parity;  // of the columns that have red or blue; the others have green
  size_t color;   // the row's channel besides green: 0 red, 2 blue

  void pixel(size_t x, uint8_t* rgb) const {
    const size_t left = x == 0 ? 1 : x - 1, right = x + 1 == width ? width - 2 : x + 1;
    const int sides = row[left] + row[right], ends = above[x] + below[x];
    const int corners = above[left] + above[right] + below[left] + below[right];
    const bool is_green = x % 2 != parity;
    rgb[color] = static_cast<uint8_t>(is_green ? (sides + 1) / 2 : row[x]);
    rgb[1] = static_cast<uint8_t>(is_green ? row[x] : (sides + ends + 2) / 4);
    rgb[2 - color] = static_cast<uint8_t>(is_green ? (ends + 1) / 2 : (corners + 2) / 4);
  }

#if defined(__ARM_NEON)
  /// Columns from `x` on, an even one; returns the first that is not done.
  size_t vectors(size_t x, uint8_t* rgb) const {
    const uint16x4_t mask = vdup_n_u16(parity == 0 ? 0x00FF : 0xFF00);  // even columns come first
    const uint8x8_t is_color = vreinterpret_u8_u16(mask);
    for (; x + lanes < width; x += lanes) {
      const uint8x8_t left = vld1_u8(row + x - 1), at = vld1_u8(row + x),
                      right = vld1_u8(row + x + 1), up = vld1_u8(above + x),
                      down = vld1_u8(below + x);
      const uint8x8_t corners = mean(vld1_u8(above + x - 1), vld1_u8(above + x + 1),
                                     vld1_u8(below + x - 1), vld1_u8(below + x + 1));
      uint8x8x3_t pixels;
      const uint8x8_t of_row = vbsl_u8(is_color, at, vrhadd_u8(left, right));
      const uint8x8_t of_next_row = vbsl_u8(is_color, corners, vrhadd_u8(up, down));
      pixels.val[0] = color == 0 ? of_row : of_next_row;
      pixels.val[1] = vbsl_u8(is_color, mean(left, right, up, down), at);
      pixels.val[2] = color == 0 ? of_next_row : of_row;
      vst3_u8(rgb + 3 * x, pixels);
    }
    return x;
  }
#endif

  void demosaic(uint8_t* rgb) const {
    size_t x = 0;
    for (; x < 2; ++x) pixel(x, rgb + 3 * x);
#if defined(__ARM_NEON)
    x = vectors(x, rgb);
#endif
    for (; x < width; ++x) pixel(x, rgb + 3 * x);
  }
};

Mosaic mosaic_at(const RawFrame& frame, size_t y) {
  const bool red_is_right =
      frame.format == PixelFormat::bayer_grbg || frame.format == PixelFormat::bayer_bggr;
  const bool red_is_below =
      frame.format == PixelFormat::bayer_gbrg || frame.format == PixelFormat::bayer_bggr;
  const bool has_red = (y % 2 == 1) == red_is_below;
  const auto row = [&](size_t at) { return frame.pixels + at * frame.stride; };
  return {row(y == 0 ? 1 : y - 1),
          row(y),
          row(y + 1 == frame.height ? frame.height - 2 : y + 1),
          frame.width,
          has_red == red_is_right ? size_t{1} : size_t{0},
          has_red ? size_t{0} : size_t{2}};
}

struct LumaChroma {
  const uint8_t* luma;
  const uint8_t* chroma;
};

/// Of a row; what YUYV interleaves is sorted into `planes` first.
LumaChroma luma_chroma_at(const RawFrame& frame, size_t y, std::vector<uint8_t>& planes) {
  const uint8_t* row = frame.pixels + y * frame.stride;
  if (layout_of(frame.format) == Layout::nv12) {
    return {row, frame.pixels + static_cast<size_t>(frame.chroma) + y / 2 * frame.stride};
  }
  const size_t half = even(frame.width);
  planes.resize(2 * half);
  for (size_t i = 0; i < half; ++i) {
    planes[i] = row[2 * i];
    planes[half + i] = row[2 * i + 1];
  }
  return {planes.data(), planes.data() + half};
}

/// One row after the other, in 8 bits a channel.
class Converter {
 public:
  Converter(const RawFrame& frame, int channels)
      : frame_(frame), row_(frame.width * static_cast<size_t>(channels)), channels_(channels) {}

  const uint8_t* row(size_t y) {
    const uint8_t* pixels = frame_.pixels + y * frame_.stride;
    switch (layout_of(frame_.format)) {
      case Layout::unknown:
      case Layout::decoded:
        return pixels;
      case Layout::bgr:
        for (size_t i = 0; i < row_.size(); ++i) row_[i] = pixels[i - i % 3 + 2 - i % 3];
        break;
      case Layout::bayer:
        mosaic_at(frame_, y).demosaic(row_.data());
        break;
      case Layout::nv12:
      case Layout::yuyv:
        convert_luma_chroma(y);
        break;
    }
    return row_.data();
  }

 private:
  void convert_luma_chroma(size_t y) {
    const bool is_full =
        frame_.format == PixelFormat::nv12_full || frame_.format == PixelFormat::yuyv_full;
    const ColorMatrix& matrix = is_full ? full_range : limited_range;
    const auto [luma, chroma] = luma_chroma_at(frame_, y, planes_);
    if (channels_ == 1) {
      expand_row(luma, frame_.width, matrix, row_.data());
    } else {
      color_row(luma, chroma, frame_.width, matrix, row_.data());
    }
  }

  const RawFrame& frame_;
  std::vector<uint8_t> row_, planes_;
  int channels_;
};

}  // namespace

size_t RawFrame::row_bytes() const {
  return static_cast<size_t>(
      edge_row_bytes(static_cast<uint32_t>(width), static_cast<edge_format>(format)));
}

uint64_t RawFrame::first_plane_bytes() const {
  return (uint64_t{height} - 1) * stride + row_bytes();
}

uint64_t RawFrame::bytes() const {
  if (layout_of(format) != Layout::nv12) return first_plane_bytes();
  return chroma + (uint64_t{height} - 1) / 2 * stride + row_bytes();
}

std::string RawFrame::problem() const {
  const Layout layout = layout_of(format);
  if (layout == Layout::unknown) {
    return edge::format("has pixels of format %u", static_cast<unsigned>(format));
  }
  if (layout == Layout::bayer && (width < 2 || height < 2)) {
    return "is a mosaic of less than 2 x 2 pixels";
  }
  if (stride < row_bytes()) {
    return edge::format("has a stride of %zu bytes, its rows have %zu", stride, row_bytes());
  }
  if (layout == Layout::nv12 && chroma < first_plane_bytes()) {
    return edge::format("has chroma from byte %llu on, its luma ends at %llu",
                        static_cast<unsigned long long>(chroma),
                        static_cast<unsigned long long>(first_plane_bytes()));
  }
  return "";
}

int RawFrame::channels(bool is_for_gray) const {
  const Layout layout = layout_of(format);
  const bool has_luma = layout == Layout::nv12 || layout == Layout::yuyv;
  return format == PixelFormat::gray || (has_luma && is_for_gray) ? 1 : 3;
}

void put_rows(const RawFrame& frame, bool is_for_gray, Rows& rows) {
  const int channels = frame.channels(is_for_gray);
  rows.begin({static_cast<int>(frame.width), static_cast<int>(frame.height), channels, 1});
  Converter converter(frame, channels);
  for (size_t y = 0; y < frame.height; ++y) rows.row(converter.row(y));
}

}  // namespace edge
