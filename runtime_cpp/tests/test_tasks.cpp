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

TEST_CASE("another class, or another probability, is a problem") {
  const Card card = class_card();
  const ClassAnswer expected{1, {0.4, 0.6}};
  CHECK(compare(expected, {1, {0.405, 0.595}}, card, {0.01, 0}).problems.empty());
  CHECK(compare(expected, {1, {0.42, 0.58}}, card, {0.01, 0}).problems.size() == 1);
  CHECK(compare(expected, {0, {0.6, 0.4}}, card, {0.01, 0}).problems.size() == 2);
}
