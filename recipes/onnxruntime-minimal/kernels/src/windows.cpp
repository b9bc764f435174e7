// Where the windows of a convolution lie in its image.

#include <algorithm>

#include "kernels.h"

namespace edgewright {
namespace {

/// One row of a window, whose first tap is at `column`, inside of the image or not. `row` is the
/// image's, null beyond its edges.
inline const uint8_t** row_taps(const Windows& w, const uint8_t* row, ptrdiff_t column,
                                const uint8_t** taps) {
  const ptrdiff_t last = column + (w.kernel_width - 1) * w.dilation_x;
  if (row == nullptr) return std::fill_n(taps, w.kernel_width, w.padding);
  const uint8_t* tap = row + column * w.pixel_size;
  const ptrdiff_t step = w.dilation_x * w.pixel_size;
  if (column >= 0 && last < w.width) {
    for (ptrdiff_t k = 0; k < w.kernel_width; ++k, tap += step) *taps++ = tap;
    return taps;
  }
  for (; column <= last; column += w.dilation_x, tap += step) {
    *taps++ = column >= 0 && column < w.width ? tap : w.padding;
  }
  return taps;
}

inline const uint8_t* row_of(const Windows& w, ptrdiff_t row) {
  return row < 0 || row >= w.height ? nullptr : w.image + row * w.width * w.pixel_size;
}

}  // namespace

void find_taps(const Windows& windows, size_t begin, size_t count, const uint8_t** taps) {
  const Windows w = windows;
  const auto first = static_cast<ptrdiff_t>(begin);
  ptrdiff_t row = first / w.output_width * w.stride_y - w.pad_top;
  ptrdiff_t x = first % w.output_width;
  for (; count > 0; --count) {
    const ptrdiff_t column = x * w.stride_x - w.pad_left;
    for (ptrdiff_t k = 0; k < w.kernel_height; ++k) {
      taps = row_taps(w, row_of(w, row + k * w.dilation_y), column, taps);
    }
    if (++x == w.output_width) {
      x = 0;
      row += w.stride_y;
    }
  }
}

void find_row_taps(const Windows& windows, const uint8_t* const* rows, const uint8_t** taps) {
  const Windows w = windows;
  for (ptrdiff_t x = 0; x < w.output_width; ++x) {
    const ptrdiff_t column = x * w.stride_x - w.pad_left;
    for (ptrdiff_t k = 0; k < w.kernel_height; ++k) taps = row_taps(w, rows[k], column, taps);
  }
}

}  // namespace edgewright
