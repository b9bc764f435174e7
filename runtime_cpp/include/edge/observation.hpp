#pragma once

#include <array>
#include <cstddef>

#include "edge/engine.hpp"

namespace edge {

/// What a histogram is kept of: values from `low` to `high`, and those beyond in the outer bins.
struct Statistic {
  const char* name;
  double low;
  double high;
};

/// Of the image, then of the answer (docs/formats.md).
constexpr Statistic statistics[] = {
    {"brightness", 0, 256}, {"contrast", 0, 128}, {"sharpness", 0, 0.64}, {"direction", 0, 1},
    {"saturation", 0, 1},  // as ImageStatistics has them
    {"score", 0, 1},        {"class", 0, 64},     {"boxes", 0, 64},       {"covered", 0, 1}};
constexpr size_t statistic_count = sizeof statistics / sizeof *statistics;

/// A value for each of them; not a number where there is none.
using Observation = std::array<double, statistic_count>;

Observation observe(const Inferred& inferred, const Card& card);

/// How far an answer is from being another one: 0 to 1, the least sure the lowest.
double margin_of(const Answer& answer, const Card& card);

}  // namespace edge
