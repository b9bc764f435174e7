#pragma once

#include <cstdint>
#include <string>

#include "edge/serve_exchange.hpp"

namespace edge {

/// What the service counts, since its start.
struct Counters {
  uint64_t done = 0;       // requests that were answered with a result
  uint64_t failed = 0;     // whose image could not be used
  uint64_t busy = 0;       // not taken, for lack of room
  uint64_t refused = 0;    // that were none
  uint64_t abandoned = 0;  // whose client had gone before the answer
  uint64_t reloads = 0;
  uint64_t refused_reloads = 0;
  double inference_ms = 0;  // sum over `done`
  double request_ms = 0;    // from arrival to answer, sum over `done` and `failed`
};

/// What is so at this moment.
struct Gauges {
  size_t waiting = 0;
  size_t queue = 0;  // that may wait
  size_t connections = 0;
};

/// In Prometheus' text format.
std::string metrics_text(const Counters& counters, const Gauges& gauges, const Served& served);

}  // namespace edge
