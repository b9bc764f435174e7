#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "edge/card.hpp"

namespace edge {

/// Probabilities from a network's outputs, in the same order.
std::vector<double> probabilities(const std::vector<float>& outputs, Activation activation,
                                  double temperature = 1);

/// Index of the largest value, the first of equals.
size_t argmax(const std::vector<double>& values);

/// Value below which `share` (0 to 1) of the values lie, linear between neighbours.
double quantile(std::vector<double> values, double share);

/// Largest absolute difference between two lists of one length.
double max_abs_diff(const std::vector<double>& a, const std::vector<double>& b);

/// Milliseconds of a clock that never jumps.
double now_ms();

/// A line of /proc/self/status in KiB, such as "VmHWM:" (peak of resident memory); 0 if unknown.
long memory_kb(const char* line);

/// What is allocated and not freed, bytes, of all threads: exact, but for what the allocator keeps
/// for each thread to hand out again (some KiB). With musl: the memory that is no file's.
int64_t heap_bytes();

}  // namespace edge
