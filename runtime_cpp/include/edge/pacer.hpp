#pragma once

#include <functional>
#include <mutex>
#include <optional>
#include <string>

#include "common/document.hpp"
#include "edge/governor.hpp"
#include "edge/heat.hpp"

namespace edge {

/// Holds inference to the pace of a governor: waits between two inferences, and lets fewer of the
/// runtime's threads run at once, by the cores that the process may use. One thread infers.
class Pacer {
 public:
  /// `root`: as of `HeatSensors`.
  Pacer(double limit_c, int threads, const std::string& root);

  /// Before an inference. Reads the sensors at most once a second, waits for what the last
  /// inference has to be paid back with, and returns the milliseconds of that; `beat` is called
  /// about once a second meanwhile.
  double wait(const std::function<void()>& beat);
  /// After an inference of so many milliseconds.
  void worked(double ms);

  // For any thread:
  /// What the governor saw and did so far.
  void set_report(Json report) const;
  double effort() const;
  std::optional<double> celsius() const;  // the last that was believed

 private:
  void sample();

  const int most_threads_;  // that can run at once
  HeatSensors sensors_;
  double next_sample_ms_ = 0;
  double ended_ms_ = 0;  // the last inference
  double work_ms_ = 0;   // how long it took
  double busy_ms_ = 0;   // of inference since the last sample

  mutable std::mutex mutex_;  // of what other threads read:
  Governor governor_;
  int threads_;  // that may run at once
  double waited_ms_ = 0;
  double least_effort_ = 1;
  std::optional<double> highest_c_;
  int64_t samples_ = 0;
  int64_t capped_ = 0;  // samples at which the kernel held the clock down
};

/// Adds "thermal": the report, or null where no limit is given.
void set_thermal(Json object, const Pacer* pacer);

}  // namespace edge
