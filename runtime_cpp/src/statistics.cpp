#include "edge/statistics.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

namespace edge {

namespace {

std::vector<double> softmax(const std::vector<float>& logits) {
  const float top = *std::max_element(logits.begin(), logits.end());
  std::vector<double> shares;
  double sum = 0;
  for (const float logit : logits) {
    shares.push_back(std::exp(static_cast<double>(logit) - static_cast<double>(top)));
    sum += shares.back();
  }
  for (double& share : shares) share /= sum;
  return shares;
}

}  // namespace

std::vector<double> probabilities(const std::vector<float>& outputs, Activation activation) {
  if (activation == Activation::softmax) return softmax(outputs);
  std::vector<double> values(outputs.begin(), outputs.end());
  if (activation == Activation::sigmoid) {
    for (double& value : values) value = 1 / (1 + std::exp(-value));
  }
  return values;
}

size_t argmax(const std::vector<double>& values) {
  return static_cast<size_t>(std::max_element(values.begin(), values.end()) - values.begin());
}

double quantile(std::vector<double> values, double share) {
  std::sort(values.begin(), values.end());
  const double position = share * static_cast<double>(values.size() - 1);
  const auto below = static_cast<size_t>(position);
  const size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (values[above] - values[below]) * (position - static_cast<double>(below));
}

double max_abs_diff(const std::vector<double>& a, const std::vector<double>& b) {
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::fabs(a[i] - b[i]));
  return largest;
}

double now_ms() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) / 1e6;
}

long memory_kb(const char* line) {
  FILE* status = std::fopen("/proc/self/status", "r");
  if (status == nullptr) return 0;
  char text[128];
  long found = 0;
  while (std::fgets(text, sizeof text, status) != nullptr) {
    if (std::strncmp(text, line, std::strlen(line)) != 0) continue;
    found = std::strtol(text + std::strlen(line), nullptr, 10);
    break;
  }
  std::fclose(status);
  return found;
}

}  // namespace edge
