#include "edge/heat.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>

#include "common/text.hpp"

namespace edge {
namespace {

constexpr int most_zones = 32, most_cores = 16;

/// A file that holds one whole number. A sensor that is switched off fails to be read.
std::optional<int64_t> read_number(const std::string& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return std::nullopt;
  char text[24] = {};
  const ssize_t size = read(file, text, sizeof text - 1);
  close(file);
  char* end = text;
  const long long number = std::strtoll(text, &end, 10);
  const bool is_number = size > 0 && end != text && (*end == '\n' || *end == '\0');
  return is_number ? std::optional<int64_t>(number) : std::nullopt;
}

}  // namespace

HeatReading HeatSensors::read(double at_s) {
  HeatReading reading;
  reading.at_s = at_s;
  std::optional<double> absurd;
  for (int zone = 0; zone < most_zones; ++zone) {
    const auto millidegrees =
        read_number(root_ + format("/sys/class/thermal/thermal_zone%d/temp", zone));
    if (!millidegrees) continue;
    const double celsius = static_cast<double>(*millidegrees) / 1000;
    auto& hottest = Governor::can_be(celsius) ? reading.celsius : absurd;
    if (!hottest || celsius > *hottest) hottest = celsius;
  }
  if (!reading.celsius) reading.celsius = absurd;
  int64_t khz = 0;
  for (int core = 0; core < most_cores; ++core) {
    khz +=
        read_number(root_ + format("/sys/devices/system/cpu/cpu%d/cpufreq/scaling_max_freq", core))
            .value_or(0);
  }
  reading.capped = khz < most_khz_;
  if (khz > most_khz_) most_khz_ = khz;
  return reading;
}

}  // namespace edge
