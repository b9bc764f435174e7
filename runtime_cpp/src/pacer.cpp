#include "edge/pacer.hpp"

#include <dirent.h>
#include <sched.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <ctime>

#include "edge/statistics.hpp"

namespace edge {
namespace {

constexpr double sample_ms = 1000;

cpu_set_t own_cores() {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  sched_getaffinity(0, sizeof cores, &cores);
  return cores;
}

/// Those of the process before it was paced: a model that is loaded anew finds fewer.
const cpu_set_t& all_cores() {
  static const cpu_set_t cores = own_cores();
  return cores;
}

/// The first `count` of them.
cpu_set_t first_of(const cpu_set_t& cores, int count) {
  cpu_set_t first;
  CPU_ZERO(&first);
  for (size_t core = 0; core < CPU_SETSIZE && CPU_COUNT(&first) < count; ++core) {
    if (CPU_ISSET(core, &cores)) CPU_SET(core, &first);
  }
  return first;
}

/// All threads of this process.
void run_on(const cpu_set_t& cores) {
  DIR* tasks = opendir("/proc/self/task");
  while (const dirent* entry = tasks != nullptr ? readdir(tasks) : nullptr) {
    const int thread = std::atoi(entry->d_name);
    if (thread > 0) sched_setaffinity(thread, sizeof cores, &cores);
  }
  if (tasks != nullptr) closedir(tasks);
}

void sleep_for(double ms) {
  const double seconds = std::floor(ms / 1000);
  const timespec time{static_cast<time_t>(seconds), static_cast<long>((ms - seconds * 1000) * 1e6)};
  nanosleep(&time, nullptr);  // a signal ends it early: whoever waits looks at the clock
}

const char* word_for(Trust trust) {
  switch (trust) {
    case Trust::good:
      return "good";
    case Trust::doubted:
      return "doubted";
    case Trust::stuck:
      return "stuck";
    case Trust::missing:
      break;
  }
  return "missing";
}

double tenths(double value) {
  return std::round(value * 10) / 10;
}

double hundredths(double value) {
  return std::round(value * 100) / 100;
}

void set_celsius(Json report, const char* key, const std::optional<double>& celsius) {
  if (celsius) {
    report.set(key, tenths(*celsius));
  } else {
    report.set_null(key);
  }
}

}  // namespace

Pacer::Pacer(double limit_c, int threads, const std::string& root)
    : most_threads_(std::clamp(threads, 1, std::max(1, CPU_COUNT(&all_cores())))),
      sensors_(root),
      governor_(limit_c, most_threads_),
      threads_(most_threads_) {
  const cpu_set_t cores = own_cores();
  if (!CPU_EQUAL(&cores, &all_cores())) run_on(all_cores());
}

double Pacer::wait(const std::function<void()>& beat) {
  const double began_ms = now_ms();
  double at_ms = began_ms;
  for (;;) {
    if (at_ms >= next_sample_ms_) sample();
    const double rest_ms = ended_ms_ + work_ms_ * (1 / governor_.pace().duty - 1) - at_ms;
    if (rest_ms <= 0) break;
    if (rest_ms > sample_ms) beat();
    sleep_for(std::min(rest_ms, sample_ms));
    at_ms = now_ms();
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  waited_ms_ += at_ms - began_ms;
  return at_ms - began_ms;
}

void Pacer::worked(double ms) {
  ended_ms_ = now_ms();
  work_ms_ = ms;
  busy_ms_ += ms;
}

void Pacer::sample() {
  const double at_ms = now_ms();
  next_sample_ms_ = at_ms + sample_ms;
  const HeatReading reading = sensors_.read(at_ms / 1000);
  const std::lock_guard<std::mutex> lock(mutex_);
  governor_.sample(reading, busy_ms_ / 1000);
  busy_ms_ = 0;
  ++samples_;
  if (reading.capped) ++capped_;
  least_effort_ = std::min(least_effort_, governor_.effort());
  const auto celsius = governor_.celsius();
  if (celsius && (!highest_c_ || *celsius > *highest_c_)) highest_c_ = celsius;
  const int threads = governor_.pace().threads;
  if (threads == threads_) return;
  threads_ = threads;
  run_on(threads == most_threads_ ? all_cores() : first_of(all_cores(), threads));
}

double Pacer::effort() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return governor_.effort();
}

std::optional<double> Pacer::celsius() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return governor_.celsius();
}

void Pacer::set_report(Json report) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  report.set("limit_c", governor_.limit_c());
  report.set("sensor", word_for(governor_.trust()));
  set_celsius(report, "celsius", governor_.celsius());
  set_celsius(report, "highest_c", highest_c_);
  report.set("effort", hundredths(governor_.effort()));
  report.set("least_effort", hundredths(least_effort_));
  report.set("threads", int64_t{threads_});
  report.set("waited_s", tenths(waited_ms_ / 1000));
  report.set("samples", samples_);
  report.set("doubts", int64_t{governor_.doubts()});
  report.set("capped", capped_);
}

void set_thermal(Json object, const Pacer* pacer) {
  if (pacer == nullptr) {
    object.set_null("thermal");
  } else {
    pacer->set_report(object.object("thermal"));
  }
}

}  // namespace edge
