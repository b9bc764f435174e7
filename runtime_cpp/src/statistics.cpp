#include "edge/statistics.hpp"

#include <malloc.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

namespace edge {

namespace {

void softmax(std::vector<double>& logits) {
  const double top = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (double& logit : logits) {
    logit = std::exp(logit - top);
    sum += logit;
  }
  for (double& share : logits) share /= sum;
}

}  // namespace

std::vector<double> probabilities(const std::vector<float>& outputs, Activation activation,
                                  double temperature) {
  std::vector<double> values(outputs.begin(), outputs.end());
  for (double& value : values) value /= temperature;
  if (activation == Activation::softmax) softmax(values);
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

int64_t heap_bytes() {
#if defined(__GLIBC__) && (__GLIBC__ > 2 || __GLIBC_MINOR__ >= 33)
  const struct mallinfo2 info = mallinfo2();  // of all arenas; mapped blocks are in none
  return static_cast<int64_t>(info.uordblks + info.hblkhd);
#else
  return 1024 * int64_t{memory_kb("RssAnon:")};  // whose allocator tells nothing
#endif
}

}  // namespace edge
