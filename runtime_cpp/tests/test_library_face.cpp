// libedge's C++ face, which other programs include without any header of edge_core.
#include <doctest/doctest.h>

#include <string>

#include "edge/edge.hpp"

namespace {

const std::string card_json = R"({"schema": 1, "name": "toy", "labels": ["ok", "bad"],
  "input": {"name": "image", "shape": [1, 1, 2, 2], "layout": "NCHW"},
  "output": {"name": "logits", "shape": [1, 2]},
  "preprocess": {"color": "gray", "resize": "triangle",
                 "normalize": {"kind": "per_image", "epsilon": 1e-05}},
  "file": {"name": "model.ort", "sha256": ")" +
                              std::string(64, '0') + R"(", "bytes": 1000}})";

}  // namespace

TEST_CASE("the C++ face goes from a card to an answer, and owns what it is handed") {
  auto card = libedge::Card::parse(card_json);
  REQUIRE(card);
  CHECK(card->labels().size() == 2);
  REQUIRE(card->inputs().size() == 1);
  std::vector<float> values(card->inputs()[0].count);
  const uint8_t pixels[] = {1, 2, 3, 4};
  auto image = libedge::Image::from_pixels(
      *card, {sizeof(edge_pixels), pixels, 2, 2, 0, EDGE_PIXELS_GRAY, 0});
  REQUIRE(image);
  CHECK_FALSE(image->input(0, values));
  CHECK(values[3] > values[0]);
  const float logits[] = {3, 1};
  CHECK_FALSE(image->set_outputs(0, {{logits, 2, nullptr, 0}}));
  const auto answer = image->answer();
  REQUIRE(answer);
  CHECK(answer->classification()->label == std::string("ok"));
  CHECK(answer->detections().empty());
}

TEST_CASE("the C++ face tells errors, by an exception where that is asked for") {
  auto card = libedge::Card::read("/nonexistent/card.json");
  REQUIRE_FALSE(card);
  CHECK(card.error().code() == EDGE_CODE_CARD);
  CHECK(card.error().word() == std::string("card_missing"));
  CHECK_THROWS_AS(std::move(card).value(), libedge::Exception);
  auto image = libedge::Image::read(*libedge::Card::parse(card_json), "/nonexistent.png");
  CHECK(image.error().message() == std::string("/nonexistent.png: no such file or directory"));
}
