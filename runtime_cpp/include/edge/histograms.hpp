#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "edge/observation.hpp"

namespace edge {

constexpr size_t bins = 64;

/// What came in one hour.
struct Window {
  struct Histogram {
    double sum = 0;
    double squares = 0;  // their sum
    int64_t values = 0;  // how many there are
    std::array<int64_t, bins> counts{};
  };
  int64_t start = 0;  // Unix seconds by the board's clock, of the first image and of the last
  int64_t end = 0;
  int64_t images = 0;
  std::array<Histogram, statistic_count> histograms;
};

/// What a service keeps of its images and answers: histograms by the hour and by the run of the
/// program, the newest 72, a line each in `drift/histograms.jsonl` of the deploy root
/// (docs/formats.md). Nothing is kept where the release lies in none.
class Histograms {
 public:
  /// Goes on with what a former process left. The folder is opened here: a service that has
  /// changed its user cannot reach it by name.
  Histograms(const std::string& release, const std::string& command);
  Histograms(const Histograms&) = delete;
  Histograms& operator=(const Histograms&) = delete;
  ~Histograms();

  void add(const Observation& observation, int64_t unix_s);
  /// Writes the file if there is something new, unless that was done within the last minute.
  void save_in_time();
  void save();

  int folder() const { return folder_; }  // for handing over to a service's user; -1: none

 private:
  std::string line() const;  // of the window at hand

  std::string release_;
  std::string command_;
  int folder_;
  std::string lines_;  // of windows that are over, the newest last
  Window window_;
  bool is_saved_ = true;
  double saved_ms_;
};

}  // namespace edge
