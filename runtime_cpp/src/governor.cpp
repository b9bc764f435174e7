#include "edge/governor.hpp"

#include <algorithm>
#include <cmath>

namespace edge {
namespace {

// Tuned on the boards of tests/test_governor.cpp. The proportional part is stable by itself as long
// as full power makes less than 1 / gain = 25 °C within one sample.
constexpr double gain = 0.04;       // effort per °C
constexpr double rate = gain / 60;  // effort per °C and second
constexpr double smoothing_s = 8;   // bursts of inference are seconds long, and no trend
constexpr double cut = 0.8;         // of effort, each sample at the limit or with a capped clock
constexpr double most_step_s = 10;  // longer ones are taken for this
constexpr double idle_s = 30;       // without a sample: begin anew
// Duty at which the number of threads is changed, and what it is then: far apart, so that the
// number does not go to and fro.
constexpr double least_duty = 0.4, new_duty = 0.7;

}  // namespace

Governor::Governor(double limit_c, int threads)
    : limit_c_(limit_c), most_threads_(threads), threads_(threads) {}

void Governor::sample(const HeatReading& reading, double busy_s) {
  const double step_s = reading.at_s - last_s_;
  fresh_ = !started_ || step_s > idle_s;
  started_ = true;
  last_s_ = reading.at_s;
  judge(reading, busy_s);
  if (trust_ == Trust::good) {
    control(std::min(step_s, most_step_s));
  } else if (trust_ != Trust::doubted) {
    effort_ = std::min(effort_, blind_effort);  // and never more, whatever the reason it is less
  }
  if (reading.capped) effort_ *= cut;
  effort_ = std::clamp(effort_, least_effort, 1.0);
  share_out();
}

/// A rise is believed at once, a fall once it is confirmed: a sensor that lies may cost speed.
void Governor::judge(const HeatReading& reading, double busy_s) {
  const auto& celsius = reading.celsius;
  if (!celsius || !can_be(*celsius)) {
    if (celsius) ++doubts_;
    ++unread_;
    trust_ = unread_ >= confirmations || !celsius_ ? Trust::missing : Trust::doubted;
    return;
  }
  unread_ = 0;
  const bool falls = celsius_ && !fresh_ && *celsius < *celsius_ - most_fall_c;
  falls_ = falls ? falls_ + 1 : 0;
  if (falls && falls_ < confirmations) {
    ++doubts_;
    trust_ = Trust::doubted;
    return;
  }
  falls_ = 0;
  same_s_ = celsius_ == celsius ? same_s_ + busy_s : 0;
  celsius_ = celsius;
  if (same_s_ < stuck_s) {
    trust_ = Trust::good;
  } else if (trust_ != Trust::stuck) {
    trust_ = Trust::stuck;
    effort_ /= 2;  // a sensor that is well answers to that
  }
}

void Governor::control(double step_s) {
  if (fresh_) smooth_c_ = *celsius_;
  smooth_c_ += (*celsius_ - smooth_c_) * std::min(step_s / smoothing_s, 1.0);
  const double error = limit_c_ - margin_c - smooth_c_;
  const double near = std::min(error, band_c);
  if (fresh_) {  // the heat of the first seconds is not seen yet
    effort_ = std::min(effort_, near / band_c);
  } else {
    effort_ += gain * (near - error_);
    if (std::fabs(error) > dead_c) effort_ += rate * error * step_s;
  }
  error_ = near;
  if (*celsius_ >= limit_c_) effort_ *= cut;
}

void Governor::share_out() {
  const double whole = effort_ * most_threads_;  // threads' worth of work
  const double duty = whole / threads_;
  if (duty < least_duty || duty > 1) {
    threads_ = std::clamp(static_cast<int>(std::lround(whole / new_duty)), 1, most_threads_);
  }
  duty_ = std::min(whole / threads_, 1.0);
}

}  // namespace edge
