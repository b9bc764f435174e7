// An inverted residual, row by row of its output: of the expanded image, which is several times as
// large as what goes in and comes out, only the rows of one window exist. They stay in the caches,
// and take a fraction of the memory.

#include <algorithm>

#include "kernels.h"

namespace edgewright {
namespace {

constexpr size_t kAlignment = 64;  // a line of the caches

/// Rows of an image that a window reaches over.
ptrdiff_t span_of(const Windows& w) { return (w.kernel_height - 1) * w.dilation_y + 1; }

/// Cuts scratch memory into pieces; of none it tells how much they would take.
class Pieces {
 public:
  explicit Pieces(uint8_t* memory) : memory_(memory) {}

  template <class T>
  T* next(size_t count) {
    uint8_t* const piece = memory_ == nullptr ? nullptr : memory_ + size_;
    size_ += (count * sizeof(T) + kAlignment - 1) / kAlignment * kAlignment;
    return reinterpret_cast<T*>(piece);
  }

  size_t size() const { return size_; }

 private:
  uint8_t* memory_;
  size_t size_ = 0;
};

void apply(const uint8_t* table, uint8_t* bytes, size_t count) {
  if (table != nullptr) lookup(bytes, table, bytes, count);
}

class Band {
 public:
  Band(const InvertedResidual& block, uint8_t* scratch)
      : block_(block), w_(block.windows),
        ring_rows_(static_cast<size_t>(std::min(span_of(w_), w_.height))),
        row_size_(static_cast<size_t>(w_.width) * block.expand.columns) {
    Pieces pieces(scratch);
    ring_ = pieces.next<uint8_t>(ring_rows_ * row_size_);
    convolved_ = pieces.next<uint8_t>(output_width() * block.expand.columns);
    rows_ = pieces.next<const uint8_t*>(static_cast<size_t>(w_.kernel_height));
    taps_ = pieces.next<const uint8_t*>(output_width() * tap_count());
    product_scratch_ = pieces.next<uint8_t>(std::max(
        multiply_scratch_size(block.channels), multiply_scratch_size(block.expand.columns)));
    size_ = pieces.size();
  }

  size_t size() const { return size_; }

  void run(size_t begin, size_t end) {
    for (size_t row = begin; row < end; ++row) {
      const ptrdiff_t top = static_cast<ptrdiff_t>(row) * w_.stride_y - w_.pad_top;
      expand(top);
      convolve(top);
      project(row);
    }
  }

 private:
  size_t output_width() const { return static_cast<size_t>(w_.output_width); }
  size_t tap_count() const { return static_cast<size_t>(w_.kernel_height * w_.kernel_width); }
  uint8_t* ring_row(ptrdiff_t row) const {
    return ring_ + static_cast<size_t>(row) % ring_rows_ * row_size_;
  }

  void multiply_row(const Pointwise& by, const uint8_t* input, size_t channels, size_t pixels,
                    uint8_t* output) const {
    multiply({input, nullptr, 1, channels}, pixels, by.packed, by.columns, by.requantize, output,
             by.columns, product_scratch_);
  }

  /// The rows of windows that begin at row `top`, but for those that the last windows had.
  void expand(ptrdiff_t top) {
    const ptrdiff_t end = std::min(top + span_of(w_), w_.height);
    for (expanded_ = std::max({expanded_, top, ptrdiff_t{0}}); expanded_ < end; ++expanded_) {
      const auto width = static_cast<size_t>(w_.width);
      const uint8_t* const input =
          block_.input + static_cast<size_t>(expanded_) * width * block_.channels;
      multiply_row(block_.expand, input, block_.channels, width, ring_row(expanded_));
      apply(block_.expand_table, ring_row(expanded_), row_size_);
    }
  }

  void convolve(ptrdiff_t top) {
    for (ptrdiff_t k = 0; k < w_.kernel_height; ++k) {
      const ptrdiff_t row = top + k * w_.dilation_y;
      rows_[k] = row < 0 || row >= w_.height ? nullptr : ring_row(row);
    }
    find_row_taps(w_, rows_, taps_);
    const size_t channels = block_.expand.columns;
    depthwise(taps_, tap_count(), block_.depthwise, channels, output_width(),
              block_.depthwise_requantize, convolved_);
    apply(block_.depthwise_table, convolved_, output_width() * channels);
  }

  void project(size_t row) {
    uint8_t* const output = block_.output + row * output_width() * block_.project.columns;
    multiply_row(block_.project, convolved_, block_.expand.columns, output_width(), output);
  }

  const InvertedResidual& block_;
  const Windows& w_;
  size_t ring_rows_, row_size_;
  ptrdiff_t expanded_ = 0;  // rows before it are in the ring, or not needed any more
  uint8_t* ring_;           // rows of the expanded image, each at its number modulo ring_rows_
  uint8_t* convolved_;      // a row of what the depthwise convolution gives
  const uint8_t** rows_;
  const uint8_t** taps_;
  uint8_t* product_scratch_;
  size_t size_;
};

}  // namespace

size_t inverted_residual_scratch_size(const InvertedResidual& block) {
  return Band(block, nullptr).size();
}

void inverted_residual(const InvertedResidual& block, size_t begin, size_t end, uint8_t* scratch) {
  Band(block, scratch).run(begin, end);
}

}  // namespace edgewright
