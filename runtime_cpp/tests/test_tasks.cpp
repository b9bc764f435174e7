#include <doctest/doctest.h>

#include "edge/task.hpp"

using namespace edge;

namespace {

Card class_card() {
  Card card;
  card.labels = {"ok", "bad"};
  card.outputs = {{"logits", {1, 2}, "scores", Activation::softmax}};
  return card;
}

}  // namespace

TEST_CASE("a classifier's answer is its likeliest class") {
  const auto answer = make_answer(class_card(), {{{1, 2}, {1, 3}}}, {});
  REQUIRE(answer);
  const ClassAnswer& classes = std::get<ClassAnswer>(*answer);
  CHECK(classes.index == 1);
  CHECK(classes.probabilities[1] == doctest::Approx(0.880797));
}

TEST_CASE("a threshold decides in place of the likeliest class, after the temperature") {
  Card card = class_card();
  card.decision = Decision{1, 0.2};
  const std::vector<Tensor> outputs = {{{1, 2}, {2, 0}}};  // 0.88 and 0.12
  CHECK(std::get<ClassAnswer>(*make_answer(card, outputs, {})).index == 0);
  card.outputs[0].temperature = 2;  // 0.73 and 0.27
  const auto answer = make_answer(card, outputs, {});
  CHECK(std::get<ClassAnswer>(*answer).index == 1);
  CHECK(std::get<ClassAnswer>(*answer).probabilities[1] == doctest::Approx(0.268941));
}

TEST_CASE("so near to the threshold either class is right") {
  Card card = class_card();
  card.decision = Decision{1, 0.2};
  CHECK(compare({0, {0.805, 0.195}}, {1, {0.799, 0.201}}, card, {0.01, 0}).problems.empty());
  CHECK(compare({0, {0.83, 0.17}}, {1, {0.825, 0.175}}, card, {0.01, 0}).problems.size() == 1);
}

TEST_CASE("another class, or another probability, is a problem") {
  const Card card = class_card();
  const ClassAnswer expected{1, {0.4, 0.6}};
  CHECK(compare(expected, {1, {0.405, 0.595}}, card, {0.01, 0}).problems.empty());
  CHECK(compare(expected, {1, {0.42, 0.58}}, card, {0.01, 0}).problems.size() == 1);
  CHECK(compare(expected, {0, {0.6, 0.4}}, card, {0.01, 0}).problems.size() == 2);
}

namespace {

Card detect_card() {
  Card card;
  card.task = TaskKind::detect;
  card.labels = {"crack", "shadow"};
  card.outputs = {{"a", {1, -1, 6}, "detections", Activation::none}};
  DetectOutput output;
  output.role = DetectRole::detections;
  card.detect.outputs = {output};
  return card;
}

}  // namespace

TEST_CASE("a detector's answer is the best of overlapping boxes, in the image's pixels") {
  const std::vector<float> values = {10, 10, 20, 20, 0.5f, 1, 10, 11, 20, 20, 0.75f, 1};
  const auto answer = make_answer(detect_card(), {{{1, 2, 6}, values}}, {100, 100, 0.5, 0.5, 4, 0});
  REQUIRE(answer);
  const auto& detections = std::get<DetectAnswer>(*answer).detections;
  REQUIRE(detections.size() == 1);
  CHECK(detections[0].label == 1);
  CHECK(detections[0].score == 0.75);
  CHECK(detections[0].box.left == 12);
  CHECK(detections[0].box.bottom == 40);
}

TEST_CASE("a detector's output of another shape or class is the model's fault") {
  const auto narrow = make_answer(detect_card(), {{{1, 2, 3}, {0, 0, 0, 0, 0, 0}}}, {});
  REQUIRE(!narrow);
  CHECK(narrow.error().exit == Exit::model);
  const auto strange = make_answer(detect_card(), {{{1, 1, 6}, {0, 0, 9, 9, 1, 7}}}, {9, 9});
  REQUIRE(!strange);
  CHECK(strange.error().problem == "answers with class 7, its card has 2 labels");
}

TEST_CASE("a detection may be missing or surplus only near the threshold") {
  const Card card = detect_card();
  const Agreement agreement = {0.05, 0.9};
  const DetectAnswer expected = {{{0, 0.9, {10, 10, 30, 30}}}};
  const DetectAnswer near = {{{0, 0.88, {10, 10, 30, 31}}, {1, 0.29, {0, 0, 5, 5}}}};
  CHECK(compare(expected, near, card, agreement).problems.empty());
  CHECK(compare(expected, near, card, agreement).difference == doctest::Approx(0.02));
  const DetectAnswer surplus = {{{0, 0.9, {10, 10, 30, 30}}, {1, 0.5, {0, 0, 5, 5}}}};
  CHECK(compare(expected, surplus, card, agreement).problems.size() == 1);
  const DetectAnswer other = {{{1, 0.9, {10, 10, 30, 30}}}};
  CHECK(compare(expected, other, card, agreement).problems.size() == 2);
}
