#pragma once

#include <cstdint>
#include <string>

#include "edge/governor.hpp"

namespace edge {

/// Reads heat and clocks where Linux shows them.
class HeatSensors {
 public:
  /// `root` stands for the `/` above `sys`; empty: the board's own.
  explicit HeatSensors(std::string root) : root_(std::move(root)) {}

  /// Of all thermal zones the hottest that can be true. The clock is held down where cores may
  /// run slower, taken together, than they once might since this was made.
  HeatReading read(double at_s);

 private:
  std::string root_;
  int64_t most_khz_ = 0;  // that the cores might run at
};

}  // namespace edge
