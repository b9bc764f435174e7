#include <doctest/doctest.h>

#include <cstring>

#include "edge/fields.hpp"
#include "edge/mask.hpp"
#include "edge/task.hpp"

using namespace edge;

namespace {

Mask mask_of(size_t height, size_t width, const std::vector<int>& pixels) {
  return make_mask(height, width,
                   [&](size_t row, size_t column) { return pixels[row * width + column] != 0; });
}

Card anomaly_card(int side) {
  Card card;
  card.task = TaskKind::anomaly;
  card.labels = {"normal", "anomalous"};
  card.inputs = {{"image", {1, 1, 8, 8}, "image"}};
  card.outputs = {{"map", {1, 1, side, side}, "map"}};
  card.anomaly.threshold = card.anomaly.map_threshold = 2;
  return card;
}

}  // namespace

TEST_CASE("a mask is COCO's text of it, and comes back") {
  // As pycocotools encodes them.
  CHECK(encode(mask_of(2, 2, {1, 0, 1, 1})) == "021O");
  const Mask mask = mask_of(3, 4, {0, 1, 1, 0, 1, 1, 0, 0, 1, 1, 0, 1});
  CHECK(mask.runs == std::vector<uint32_t>{1, 6, 4, 1});
  CHECK(encode(mask) == "164K");
  CHECK(decode("164K", 3, 4)->runs == mask.runs);
  CHECK(decode("164K", 3, 4)->area == 7);
}

TEST_CASE("what is no mask of a size is refused") {
  for (const char* text : {"164K", "16", "o", "oooooooo", "!", "", "P0"}) {
    CAPTURE(text);
    CHECK_FALSE(decode(text, 3, 5));
  }
}

TEST_CASE("masks meet where both have pixels") {
  const Mask left = mask_of(2, 3, {1, 1, 0, 1, 1, 0});
  const Mask right = mask_of(2, 3, {0, 1, 1, 0, 1, 1});
  CHECK(intersection(left, right) == 2);
  CHECK(intersection(left, left) == left.area);
  CHECK(intersection(left, mask_of(2, 3, {0, 0, 0, 0, 0, 0})) == 0);
}

TEST_CASE("a mask of noise has no runs to tell") {
  const Mask noise =
      make_mask(200, 200, [](size_t row, size_t column) { return (row + column) % 2 == 1; });
  CHECK(noise.is_ragged);
  CHECK(noise.area == 20000);
  CHECK(noise.runs.empty());
}

TEST_CASE("the border around a letterboxed image is no part of it") {
  // An image of 16 x 8 pixels in rows 2 to 5 of the input; the border is the hottest.
  const Placement placement{16, 8, 0.5, 0.5, 0, 2, {0, 0, 16, 8}};
  Card card = anomaly_card(4);
  const std::vector<Tensor> outputs = {
      {{1, 1, 4, 4}, {9, 9, 9, 9, 1, 1, 1, 3, 1, 1, 1, 1, 9, 9, 9, 9}}};
  AnomalyAnswer answer = find_anomaly(card, outputs, placement);
  CHECK(answer.is_anomalous);
  CHECK(answer.score == 3);
  CHECK(answer.peak_x == 14);  // the middle of the last of 4 columns
  CHECK(answer.peak_y == 2);
  CHECK(answer.area == doctest::Approx(1.0 / 8));
  card.anomaly.span = 10;
  CHECK(find_anomaly(card, outputs, placement).score == doctest::Approx(0.6));
}

TEST_CASE("an image that is thinner than a pixel of the map has one") {
  const MapWindow window =
      window_of({1, 1, 2, 2}, anomaly_card(2), {1, 8, 1, 1, 3, 0, {0, 0, 1, 8}});
  CHECK(window.columns.first == 0);
  CHECK(window.columns.size() == 1);
  CHECK(window.rows.size() == 2);
}

TEST_CASE("another verdict is a problem unless the score is near the threshold") {
  const Card card = anomaly_card(2);
  AnomalyAnswer expected, answer;
  expected.score = 1.95;
  answer.score = 2.0;
  answer.is_anomalous = true;
  CHECK(compare(expected, answer, card, {0.05, 0}).problems.empty());
  expected.score = answer.score = 1.8;
  CHECK(compare(expected, answer, card, {0.05, 0}).problems.size() == 1);
  expected.is_anomalous = true;
  answer.area = 0.1;
  CHECK(compare(expected, answer, card, {0.05, 0}).problems.size() == 1);
  answer.score = 1.6;
  CHECK(compare(expected, answer, card, {0.05, 0}).problems.size() == 2);
}

TEST_CASE("each pixel has its likeliest label, the first of equals, and the background is none") {
  Card card = anomaly_card(2);
  card.task = TaskKind::segment;
  card.labels = {"cell", "crack", "dust"};
  card.outputs = {{"logits", {1, 3, 2, 2}, "logits", Activation::softmax}};
  card.segment.background = 0;
  const Placement placement{8, 8, 1, 1, 0, 0, {0, 0, 8, 8}};
  const std::vector<Tensor> outputs = {{{1, 3, 2, 2}, {5, 1, 2, 2, 0, 3, 2, 1, 0, 3, 4, 2}}};
  const SegmentAnswer answer = segment(card, outputs, placement);
  REQUIRE(answer.segments.size() == 2);
  CHECK(answer.segments[0].label == 1);
  CHECK(answer.segments[0].left == 4);
  CHECK(answer.segments[0].bottom == 4);
  CHECK(answer.segments[1].label == 2);
  CHECK(answer.segments[1].mask.area == 1);
  CHECK(compare(answer, answer, card, {0.05, 0.9}).problems.empty());
  SegmentAnswer other = answer;
  other.segments.pop_back();
  CHECK(compare(answer, other, card, {0.05, 0.9}).problems.size() == 1);
  other.width = 3;
  CHECK(compare(answer, other, card, {0.05, 0.9}).problems.size() == 1);
}

TEST_CASE("with a threshold a pixel may have several labels, or none") {
  Card card = anomaly_card(2);
  card.task = TaskKind::segment;
  card.labels = {"crack", "dust"};
  card.outputs = {{"logits", {1, 2, 1, 2}, "logits", Activation::sigmoid}};
  card.segment.threshold = 0.5;
  const SegmentAnswer answer =
      segment(card, {{{1, 2, 1, 2}, {0, -1, 2, -1}}}, {8, 8, 1, 1, 0, 0, {0, 0, 8, 8}});
  REQUIRE(answer.segments.size() == 2);
  CHECK(answer.segments[0].mask.area == 1);
  CHECK(answer.segments[1].right == 4);
}

TEST_CASE("what the network's own labels do not name is no label") {
  Card card = anomaly_card(2);
  card.task = TaskKind::segment;
  card.labels = {"cell", "crack"};
  card.outputs = {{"classes", {1, 2, 2}, "classes", Activation::none}};
  const SegmentAnswer answer =
      segment(card, {{{1, 2, 2}, {1, -1, 2, 1.5f}}}, {8, 8, 1, 1, 0, 0, {0, 0, 8, 8}});
  REQUIRE(answer.segments.size() == 1);
  CHECK(answer.segments[0].label == 1);
  CHECK(answer.segments[0].mask.area == 1);
}

TEST_CASE("an expected answer is read whole, and each defect of it is told") {
  Card card = anomaly_card(2);
  const auto problems_of = [&](const char* json, AnomalyAnswer& answer) {
    std::vector<std::string> problems;
    const JsonFile document(yyjson_read(json, std::strlen(json), 0));
    answer = read_anomaly(Fields(yyjson_doc_get_root(document.get()), "", problems), card);
    return problems;
  };
  AnomalyAnswer answer;
  CHECK(problems_of("{\"class\": \"anomalous\", \"score\": 3.5, \"map\": {\"width\": 2, "
                    "\"height\": 2, \"peak\": [1, 6], \"area\": 0.75, \"mask\": \"021O\"}}",
                    answer)
            .empty());
  CHECK(answer.is_anomalous);
  CHECK(answer.peak_y == 6);
  CHECK(encode(answer.mask) == "021O");
  CHECK(problems_of("{\"class\": \"odd\", \"score\": 3.5, \"map\": {\"width\": 2, \"height\": 3, "
                    "\"peak\": [1], \"area\": 0.75, \"mask\": \"021O\"}}",
                    answer)
            .size() == 3);
  CHECK(problems_of("{\"class\": \"normal\", \"score\": 1, \"map\": {\"width\": 2, \"height\": 3, "
                    "\"peak\": [1, 2], \"area\": 0.5, \"mask\": null}}",
                    answer)
            .empty());
  CHECK(answer.mask.is_ragged);
}
