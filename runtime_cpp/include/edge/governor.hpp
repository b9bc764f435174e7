#pragma once

#include <optional>

namespace edge {

/// Whether what a sensor says is believed.
enum class Trust {
  good,
  doubted,  // a reading that cannot be, or a fall that no second one confirmed yet
  stuck,    // it has not moved, however long was inferred
  missing,  // nothing can be read
};

/// What the board says at one moment.
struct HeatReading {
  double at_s = 0;                // of a clock that never jumps
  std::optional<double> celsius;  // of the hottest zone; none: nothing was read
  bool capped = false;            // the kernel holds the clock down
};

/// How fast to work.
struct Pace {
  int threads;  // that run at once
  double duty;  // share of the time that they run
};

/// Decides how fast a board may infer so that it stays below a temperature. It reads nothing and
/// waits for nothing: readings in, pace out.
///
/// Effort is the share of full power, `threads` at once all the time being 1. Within `band_c` of
/// the target, which is `margin_c` below the limit, a proportional-integral controller moves it;
/// farther below effort is 1. It never goes below `least_effort`, so an image takes at most
/// 1 / `least_effort` times as long as on a cool board. docs/service.md has what follows for users.
class Governor {
 public:
  static constexpr double margin_c = 3;
  static constexpr double band_c = 10;
  static constexpr double dead_c = 0.5;  // around the target: nothing is changed
  static constexpr double least_effort = 0.1;
  static constexpr double blind_effort = 0.5;  // the most without a sensor that is believed
  static constexpr double stuck_s = 300;       // of inference
  static constexpr double most_fall_c = 20;    // from one sample to the next
  static constexpr int confirmations = 3;      // samples

  Governor(double limit_c, int threads);

  /// Whether a sensor can be right about that.
  static bool can_be(double celsius) { return celsius >= -40 && celsius <= 150; }

  /// `busy_s`: how long was inferred since the last sample.
  void sample(const HeatReading& reading, double busy_s);

  double effort() const { return effort_; }
  Pace pace() const { return {threads_, duty_}; }
  Trust trust() const { return trust_; }
  std::optional<double> celsius() const { return celsius_; }  // the last that was believed
  double limit_c() const { return limit_c_; }
  int doubts() const { return doubts_; }  // readings that were not believed

 private:
  void judge(const HeatReading& reading, double busy_s);
  void control(double step_s);
  void share_out();

  double limit_c_;
  int most_threads_;
  int threads_;
  double duty_ = 1;
  double effort_ = 1;
  double smooth_c_ = 0;    // temperature without its ripple
  double error_ = band_c;  // the last one: target less that, at most `band_c`
  double last_s_ = 0;
  double same_s_ = 0;  // of inference since the reading moved
  bool fresh_ = true;  // no sample for a while: what the last one said is history
  Trust trust_ = Trust::good;
  std::optional<double> celsius_;
  int unread_ = 0;  // in a row
  int falls_ = 0;   // likewise
  int doubts_ = 0;
  bool started_ = false;
};

}  // namespace edge
