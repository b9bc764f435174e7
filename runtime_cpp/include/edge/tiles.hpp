#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/result.hpp"
#include "edge/card.hpp"
#include "edge/image.hpp"
#include "edge/preprocess.hpp"
#include "edge/task.hpp"

namespace edge {

/// The tiles of one picture, row by row from the left.
struct TilePlan {
  Region region;              // of the upright picture, which they cover
  std::vector<Region> tiles;  // in pixels of the upright picture

  /// Place of the tile whose input and outputs stand for all, where one is asked for.
  size_t middle() const { return tiles.size() / 2; }
};

/// The tiles of one size that cover a region; the last of each row and column end with it.
/// `path` is that of the picture, which is refused if there are too many.
Result<TilePlan> plan_tiles(const Region& region, const Tiling& tiling, const std::string& path);

/// The tiles of a picture that a card's region and tiling name.
Result<TilePlan> plan_tiles(const Frame& frame, const Card& card, const std::string& path);

/// The network's input for one tile of a picture.
Input tile_input(const Frame& frame, const Region& tile, const Card& card);

/// What the tiles of a picture say of it together.
class TileMerger {
 public:
  virtual ~TileMerger() = default;
  /// Takes the outputs for the tile that comes next in the plan.
  virtual std::optional<Error> add(const std::vector<Tensor>& outputs,
                                   const Placement& placement) = 0;
  /// Once all tiles have come.
  virtual Answer answer() = 0;
};

std::unique_ptr<TileMerger> merge_detections(const Card& card, const TilePlan& plan);
std::unique_ptr<TileMerger> merge_anomalies(const Card& card, const TilePlan& plan);
std::unique_ptr<TileMerger> merge_segments(const Card& card, const TilePlan& plan);
/// Of the card's task; both outlive it.
std::unique_ptr<TileMerger> merge_tiles(const Card& card, const TilePlan& plan);

/// The pixels `first` to `end` of an axis.
struct Range {
  size_t first;
  size_t end;
};

/// Where the maps of a picture's tiles lie in one that covers them all.
class Stitching {
 public:
  /// For parts that show a tile each.
  Stitching(const TilePlan& plan, const MapWindow& part);

  const MapWindow& window() const { return window_; }  // of the stitched map
  size_t size() const { return window_.rows.size() * window_.columns.size(); }
  /// Nothing if the map is no larger than a board has memory for.
  std::optional<Error> fault() const;
  /// Rows and columns of the map whose centres lie in a tile.
  std::pair<Range, Range> covered(size_t tile) const;
  /// Rows and columns that a tile alone decides on: to the middle of each overlap.
  std::pair<Range, Range> owned(size_t tile) const;

 private:
  const TilePlan& plan_;
  MapWindow window_;
};

}  // namespace edge
