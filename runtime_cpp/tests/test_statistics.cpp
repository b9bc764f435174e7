#include "edge/statistics.hpp"
#include "support.hpp"

using namespace edge;

TEST_CASE("softmax of equal logits is even, and large logits do not overflow") {
  CHECK(probabilities({3, 3}, Activation::softmax) == std::vector<double>{0.5, 0.5});
  const auto sure = probabilities({1000, 0}, Activation::softmax);
  CHECK(sure[0] == 1);
  CHECK(sure[1] == 0);
}

TEST_CASE("a sigmoid takes each output by itself, and probabilities stay as they are") {
  CHECK(probabilities({0, 1000}, Activation::sigmoid) == std::vector<double>{0.5, 1});
  CHECK(probabilities({-1000, 0}, Activation::sigmoid) == std::vector<double>{0, 0.5});
  CHECK(probabilities({0.25, 0.75}, Activation::none) == std::vector<double>{0.25, 0.75});
}

TEST_CASE("the first of equal classes wins") {
  CHECK(argmax({0.2, 0.4, 0.4}) == 1);
}

TEST_CASE("quantiles are linear between neighbours") {
  const std::vector<double> times{40, 10, 30, 20};
  CHECK(quantile(times, 0) == 10);
  CHECK(quantile(times, 0.5) == 25);
  CHECK(quantile(times, 1) == 40);
  CHECK(quantile({7}, 0.95) == 7);
}

TEST_CASE("the largest difference is found whatever its sign") {
  CHECK(max_abs_diff({0.5, 0.5}, {0.25, 0.75}) == 0.25);
}

TEST_CASE("the peak of resident memory is known") {
  CHECK(memory_kb("VmHWM:") > 500);
  CHECK(memory_kb("Nonsense:") == 0);
}
