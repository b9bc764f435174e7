#include <doctest/doctest.h>

#include "edge/tiles.hpp"

using namespace edge;

namespace {

std::vector<size_t> columns_of(size_t length, size_t size, size_t overlap) {
  const auto plan = plan_tiles({5, 7, length, 20}, {size, size, overlap, true, 0.5}, "a.png");
  std::vector<size_t> columns;
  for (const Region& tile : plan->tiles) {
    if (tile.y == 7) columns.push_back(tile.x - 5);
  }
  return columns;
}

}  // namespace

TEST_CASE("the last tile ends with the region, and what is no longer than a tile is one") {
  CHECK(columns_of(100, 40, 10) == std::vector<size_t>{0, 30, 60});
  CHECK(columns_of(101, 40, 10) == std::vector<size_t>{0, 30, 60, 61});
  CHECK(columns_of(40, 40, 20) == std::vector<size_t>{0});
  CHECK(columns_of(41, 40, 20) == std::vector<size_t>{0, 1});
  const auto plan = plan_tiles({0, 0, 30, 100}, {40, 40, 0, true, 0.5}, "a.png");
  REQUIRE(plan->tiles.size() == 3);
  CHECK(plan->tiles[0].width == 30);
  CHECK(plan->tiles[2].y == 60);
}

TEST_CASE("an image of more tiles than a board has time for is refused") {
  const auto plan = plan_tiles({0, 0, 16384, 16384}, {16, 16, 8, true, 0.5}, "a.png");
  REQUIRE(!plan);
  CHECK(plan.error().code == std::string("image_too_large"));
  CHECK(plan.error().problem == "is cut into 4190209 tiles, at most 1024 are taken");
}

TEST_CASE(
    "a map over all tiles is as dense as theirs, and each decides to the middle of overlaps") {
  const auto plan = plan_tiles({10, 0, 24, 8}, {8, 16, 8, true, 0.5}, "a.png");
  REQUIRE(plan->tiles.size() == 2);  // columns 10 to 25, and 18 to 33
  const MapWindow part{{0, 2, 4, 0, 1, 0, 8}, {0, 4, 4, 0, 1, 10, 16}};
  const Stitching stitching(*plan, part);
  CHECK(stitching.window().rows.size() == 2);
  CHECK(stitching.window().columns.size() == 6);
  CHECK(stitching.window().columns.centre(0) == 12);
  CHECK(stitching.covered(0).second.end == 4);
  CHECK(stitching.covered(1).second.first == 2);
  CHECK(stitching.owned(0).second.end == 3);  // up to 22
  CHECK(stitching.owned(1).second.first == 3);
  CHECK(stitching.owned(1).second.end == 6);
}

TEST_CASE("a map over all tiles that is beyond 32 bits is refused by its true size") {
  const auto plan = plan_tiles({0, 0, 512, 512}, {16, 16, 0, true, 0.5}, "a.png");
  REQUIRE(plan->tiles.size() == 1024);
  const MapWindow part{{0, 2048, 1, 0, 1, 0, 16}, {0, 2048, 1, 0, 1, 0, 16}};
  const auto fault = Stitching(*plan, part).fault();
  REQUIRE(fault);
  CHECK(fault->problem ==
        "has a map of 4294967296 pixels over all tiles, at most 16777216 are taken");
}
