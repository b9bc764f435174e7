#include "edge/tiles.hpp"

#include <algorithm>

#include "common/text.hpp"
#include "edge/geometry.hpp"
#include "edge/statistics.hpp"

namespace edge {
namespace {

constexpr size_t most_tiles = 1024;           // of a picture
constexpr size_t most_map_pixels = 1u << 24;  // of a stitched map

/// Where the tiles of one axis begin; an axis that is no longer than one is one.
std::vector<size_t> starts(size_t length, size_t size, size_t overlap) {
  std::vector<size_t> all;
  if (length <= size) return {0};
  for (size_t start = 0; start < length - size; start += size - overlap) all.push_back(start);
  all.push_back(length - size);
  return all;
}

Range between(const MapAxis& axis, double low, double high) {
  Range range{0, 0};
  while (range.first < axis.end && axis.centre(range.first) < low) ++range.first;
  range.end = range.first;
  while (range.end < axis.end && axis.centre(range.end) < high) ++range.end;
  return range;
}

/// The middles of a tile's overlaps with its neighbours on one axis; the region's edges.
struct Seams {
  double low;
  double high;

  Seams(size_t start, size_t size, size_t first, size_t length)
      : low(static_cast<double>(first)),
        high(static_cast<double>(first + length)),
        start_(start),
        size_(size),
        before_(first),
        behind_(first + length) {}

  void neighbour(size_t other) {
    const double middle = static_cast<double>(other + start_ + size_) / 2;
    if (other < start_ && (other >= before_)) {
      before_ = other;
      low = middle;
    }
    if (other > start_ && other < behind_) {
      behind_ = other;
      high = middle;
    }
  }

 private:
  size_t start_, size_, before_, behind_;
};

}  // namespace

Result<TilePlan> plan_tiles(const Region& region, const Tiling& tiling, const std::string& path) {
  const auto rows = starts(region.height, tiling.height, tiling.overlap);
  const auto columns = starts(region.width, tiling.width, tiling.overlap);
  if (rows.size() * columns.size() > most_tiles) {
    return Error{Exit::image, "image_too_large", path,
                 format("is cut into %zu tiles, at most %zu are taken",
                        rows.size() * columns.size(), most_tiles),
                 "state larger tiles in the card"};
  }
  TilePlan plan{region, {}};
  for (const size_t row : rows) {
    for (const size_t column : columns) {
      plan.tiles.push_back({region.x + column, region.y + row, std::min(region.width, tiling.width),
                            std::min(region.height, tiling.height)});
    }
  }
  return plan;
}

Result<TilePlan> plan_tiles(const Frame& frame, const Card& card, const std::string& path) {
  const auto [width, height] = frame.upright_size();
  const auto region = region_of(height, width, card);
  if (!region) return beyond_image(path, width, height, card);
  return plan_tiles(*region, *card.tiling, path);
}

Input tile_input(const Frame& frame, const Region& tile, const Card& card) {
  const double start = now_ms();
  InputRows rows(card, tile);
  rows.begin(frame.shape);
  const size_t stride =
      static_cast<size_t>(frame.shape.width) * static_cast<size_t>(frame.shape.channels);
  for (size_t y = 0; y < static_cast<size_t>(frame.shape.height); ++y) {
    rows.row(frame.pixels.get() + y * stride);
  }
  Input input{rows.input(), rows.placement()};
  input.statistics = rows.statistics();
  input.preprocess_ms = now_ms() - start;
  return input;
}

std::unique_ptr<TileMerger> merge_tiles(const Card& card, const TilePlan& plan) {
  if (card.task == TaskKind::anomaly) return merge_anomalies(card, plan);
  if (card.task == TaskKind::segment) return merge_segments(card, plan);
  return merge_detections(card, plan);  // read_tiling refuses the other tasks
}

Stitching::Stitching(const TilePlan& plan, const MapWindow& part)
    : plan_(plan),
      window_{MapAxis::stitched(plan.region.y, plan.region.height, plan.tiles[0].height,
                                part.rows.size()),
              MapAxis::stitched(plan.region.x, plan.region.width, plan.tiles[0].width,
                                part.columns.size())} {}

std::optional<Error> Stitching::fault() const {
  const uint64_t pixels = uint64_t{window_.rows.size()} * window_.columns.size();
  if (pixels <= most_map_pixels) return std::nullopt;
  return Error{Exit::image, "image_too_large",
               format("%zu x %zu pixels", plan_.region.width, plan_.region.height),
               format("has a map of %llu pixels over all tiles, at most %zu are taken",
                      static_cast<unsigned long long>(pixels), most_map_pixels),
               "state larger tiles in the card"};
}

std::pair<Range, Range> Stitching::covered(size_t tile) const {
  const Region& t = plan_.tiles[tile];
  return {between(window_.rows, static_cast<double>(t.y), static_cast<double>(t.y + t.height)),
          between(window_.columns, static_cast<double>(t.x), static_cast<double>(t.x + t.width))};
}

std::pair<Range, Range> Stitching::owned(size_t tile) const {
  const Region& t = plan_.tiles[tile];
  Seams down(t.y, t.height, plan_.region.y, plan_.region.height);
  Seams across(t.x, t.width, plan_.region.x, plan_.region.width);
  for (const Region& other : plan_.tiles) {
    down.neighbour(other.y);
    across.neighbour(other.x);
  }
  return {between(window_.rows, down.low, down.high),
          between(window_.columns, across.low, across.high)};
}

}  // namespace edge
