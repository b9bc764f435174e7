#include "edge/raw_frame.hpp"

#include <algorithm>
#include <vector>

#include "common/text.hpp"

#if defined(__ARM_NEON)
#include <arm_neon.h>
#endif

namespace edge {
namespace {

constexpr int bits = 13;  // of a weight: the largest, 2.017, has 15 then

/// BT.601 from luma and chroma to colours, in units of 2^-bits.
struct Conversion {
  int16_t black;  // luma of it
  int16_t luma;
  int16_t red_of_v;
  int16_t green_of_u;
  int16_t green_of_v;
  int16_t blue_of_u;
};

constexpr Conversion limited_range = {16, 9539, 13075, -3209, -6660, 16525};
constexpr Conversion full_range = {0, 8192, 11485, -2819, -5850, 14516};

bool is_nv12(PixelFormat format) {
  return format == PixelFormat::nv12 || format == PixelFormat::nv12_full;
}

bool is_yuyv(PixelFormat format) {
  return format == PixelFormat::yuyv || format == PixelFormat::yuyv_full;
}

bool is_bayer(PixelFormat format) {
  return format >= PixelFormat::bayer_rggb;
}

size_t even(size_t side) {
  return side + side % 2;
}

uint8_t cut(int32_t sum) {
  return static_cast<uint8_t>(std::clamp((sum + (1 << (bits - 1))) >> bits, 0, 255));
}

// Of each loop below, vectors do as many pixels as they return; plain code does the others.
#if defined(__ARM_NEON)

constexpr size_t lanes = 8;  // bytes that a vector holds

int16x8_t beyond(uint8x8_t values, int16_t zero) {
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
    return vqmovn_u16(
        vcombine_u16(vqrshrun_n_s32(sums.low, bits), vqrshrun_n_s32(sums.high, bits)));
  }
};

constexpr size_t color_step = 2 * lanes;

size_t color_vectors(const uint8_t* luma, const uint8_t* chroma, size_t width, const Conversion& by,
                     uint8_t* rgb) {
  const int32x4_t zero = vdupq_n_s32(0);
  size_t x = 0;
  for (; x + color_step <= width; x += color_step) {
    const uint8x8x2_t uv = vld2_u8(chroma + x), pixels = vld2_u8(luma + x);
    const int16x8_t u = beyond(uv.val[0], 128), v = beyond(uv.val[1], 128);
    Sums parts[3] = {{zero, zero}, {zero, zero}, {zero, zero}};
    parts[0].add(v, by.red_of_v);
    parts[1].add(u, by.green_of_u);
    parts[1].add(v, by.green_of_v);
    parts[2].add(u, by.blue_of_u);
    const int16x8_t even_luma = beyond(pixels.val[0], by.black);
    const int16x8_t odd_luma = beyond(pixels.val[1], by.black);
    uint8x8x3_t first, second;
    for (int channel = 0; channel < 3; ++channel) {
      const uint8x8x2_t both =
          vzip_u8(parts[channel].with(even_luma, by.luma), parts[channel].with(odd_luma, by.luma));
      first.val[channel] = both.val[0];
      second.val[channel] = both.val[1];
    }
    vst3_u8(rgb + 3 * x, first);
    vst3_u8(rgb + 3 * x + 3 * lanes, second);
  }
  return x;
}

size_t stretch_vectors(const uint8_t* luma, size_t width, const Conversion& by, uint8_t* gray) {
  const Sums none = {vdupq_n_s32(0), vdupq_n_s32(0)};
  size_t x = 0;
  for (; x + lanes <= width; x += lanes) {
    vst1_u8(gray + x, none.with(beyond(vld1_u8(luma + x), by.black), by.luma));
  }
  return x;
}

/// The mean of four, half up.
uint8x8_t mean(uint8x8_t a, uint8x8_t b, uint8x8_t c, uint8x8_t d) {
  return vrshrn_n_u16(vaddq_u16(vaddl_u8(a, b), vaddl_u8(c, d)), 2);
}

#endif

/// A row of pixels with a U and a V for two of them.
void color_row(const uint8_t* luma, const uint8_t* chroma, size_t width, const Conversion& by,
               uint8_t* rgb) {
  size_t x = 0;
#if defined(__ARM_NEON)
  x = color_vectors(luma, chroma, width, by, rgb);
#endif
  for (; x < width; ++x) {
    const int32_t y = (luma[x] - by.black) * by.luma;
    const int32_t u = chroma[x - x % 2] - 128, v = chroma[x - x % 2 + 1] - 128;
    rgb[3 * x] = cut(y + by.red_of_v * v);
    rgb[3 * x + 1] = cut(y + by.green_of_u * u + by.green_of_v * v);
    rgb[3 * x + 2] = cut(y + by.blue_of_u * u);
  }
}

void stretch_row(const uint8_t* luma, size_t width, const Conversion& by, uint8_t* gray) {
  size_t x = 0;
#if defined(__ARM_NEON)
  x = stretch_vectors(luma, width, by, gray);
#endif
  for (; x < width; ++x) gray[x] = cut((luma[x] - by.black) * by.luma);
}

/// A row of a mosaic and its neighbours; beyond an edge lies the second row or column before it,
/// which has the same colours.
struct Mosaic {
  const uint8_t* above;
  const uint8_t* row;
  const uint8_t* below;
  size_t width;
  size_t parity;  // of the columns that have red or blue; green has the others
  size_t color;   // 0: these have red, 2: blue

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
  /// From column `x` on, an even one; the column where it ends.
  size_t vectors(size_t x, uint8_t* rgb) const {
    const uint16x4_t mask = vdup_n_u16(parity == 0 ? 0x00FF : 0xFF00);  // even columns come first
    const uint8x8_t colored = vreinterpret_u8_u16(mask);
    for (; x + lanes < width; x += lanes) {
      const uint8x8_t left = vld1_u8(row + x - 1), at = vld1_u8(row + x),
                      right = vld1_u8(row + x + 1), up = vld1_u8(above + x),
                      down = vld1_u8(below + x);
      const uint8x8_t corners = mean(vld1_u8(above + x - 1), vld1_u8(above + x + 1),
                                     vld1_u8(below + x - 1), vld1_u8(below + x + 1));
      uint8x8x3_t pixels;
      const uint8x8_t own = vbsl_u8(colored, at, vrhadd_u8(left, right));
      const uint8x8_t other = vbsl_u8(colored, corners, vrhadd_u8(up, down));
      pixels.val[0] = color == 0 ? own : other;
      pixels.val[1] = vbsl_u8(colored, mean(left, right, up, down), at);
      pixels.val[2] = color == 0 ? other : own;
      vst3_u8(rgb + 3 * x, pixels);
    }
    return x;
  }
#endif

  void put(uint8_t* rgb) const {
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
  const bool red_is_below = frame.format >= PixelFormat::bayer_gbrg;
  const bool has_red = (y % 2 == 1) == red_is_below;
  const auto row = [&](size_t at) { return frame.pixels + at * frame.stride; };
  return {row(y == 0 ? 1 : y - 1),
          row(y),
          row(y + 1 == frame.height ? frame.height - 2 : y + 1),
          frame.width,
          has_red == red_is_right ? size_t{1} : size_t{0},
          has_red ? size_t{0} : size_t{2}};
}

/// Luma and chroma of a row; those of YUYV are sorted into `sorted` first.
struct LumaChroma {
  const uint8_t* luma;
  const uint8_t* chroma;
};

LumaChroma luma_chroma_at(const RawFrame& frame, size_t y, std::vector<uint8_t>& sorted) {
  const uint8_t* row = frame.pixels + y * frame.stride;
  if (is_nv12(frame.format)) {
    return {row, frame.pixels + (frame.height + y / 2) * frame.stride};
  }
  const size_t half = even(frame.width);
  sorted.resize(2 * half);
  for (size_t i = 0; i < half; ++i) {
    sorted[i] = row[2 * i];
    sorted[half + i] = row[2 * i + 1];
  }
  return {sorted.data(), sorted.data() + half};
}

}  // namespace

size_t RawFrame::row_bytes() const {
  if (is_nv12(format)) return even(width);
  if (is_yuyv(format)) return 2 * even(width);
  return format == PixelFormat::rgb || format == PixelFormat::bgr ? 3 * width : width;
}

uint64_t RawFrame::bytes() const {
  const uint64_t rows = is_nv12(format) ? uint64_t{height} + (height + 1) / 2 : height;
  return (rows - 1) * stride + row_bytes();
}

std::string RawFrame::problem() const {
  if (format < PixelFormat::gray || format > PixelFormat::bayer_bggr) {
    return edge::format("has pixels of format %u", static_cast<unsigned>(format));
  }
  if (is_bayer(format) && (width < 2 || height < 2)) return "is a mosaic of less than 2 x 2 pixels";
  if (stride >= row_bytes()) return "";
  return edge::format("has a stride of %zu bytes, its rows have %zu", stride, row_bytes());
}

int RawFrame::channels(bool is_for_gray) const {
  const bool has_luma = is_nv12(format) || is_yuyv(format);
  return format == PixelFormat::gray || (has_luma && is_for_gray) ? 1 : 3;
}

void put_rows(const RawFrame& frame, bool is_for_gray, Rows& rows) {
  const int channels = frame.channels(is_for_gray);
  rows.begin({static_cast<int>(frame.width), static_cast<int>(frame.height), channels, 1});
  const bool is_full =
      frame.format == PixelFormat::nv12_full || frame.format == PixelFormat::yuyv_full;
  const Conversion& by = is_full ? full_range : limited_range;
  std::vector<uint8_t> row(frame.width * static_cast<size_t>(channels)), sorted;
  for (size_t y = 0; y < frame.height; ++y) {
    const uint8_t* pixels = frame.pixels + y * frame.stride;
    if (frame.format <= PixelFormat::rgb) {
      rows.row(pixels);
      continue;
    }
    if (frame.format == PixelFormat::bgr) {
      for (size_t i = 0; i < row.size(); ++i) row[i] = pixels[i - i % 3 + 2 - i % 3];
    } else if (is_bayer(frame.format)) {
      mosaic_at(frame, y).put(row.data());
    } else {
      const auto [luma, chroma] = luma_chroma_at(frame, y, sorted);
      if (channels == 1) {
        stretch_row(luma, frame.width, by, row.data());
      } else {
        color_row(luma, chroma, frame.width, by, row.data());
      }
    }
    rows.row(row.data());
  }
}

}  // namespace edge
