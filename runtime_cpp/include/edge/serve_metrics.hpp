#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "edge/engine.hpp"
#include "edge/shadow_feed.hpp"

namespace edge {

/// What becomes of a request.
enum class Fate : size_t {
  done,       // answered with a result
  failed,     // its image could not be used
  busy,       // not taken, for lack of room
  refused,    // it was none
  abandoned,  // its client had gone before the answer
};
constexpr const char* fate_names[] = {"done", "failed", "busy", "refused", "abandoned"};
constexpr size_t fates = sizeof fate_names / sizeof *fate_names;

/// What the service counts, since its start, and what is so at this moment.
struct Counters {
  uint64_t requests[fates] = {};
  uint64_t reloads = 0;
  uint64_t refused_reloads = 0;
  double inference_ms = 0;  // sum over what is done
  double request_ms = 0;    // from arrival to answer, sum over what is done or failed
  size_t waiting = 0;
  size_t queue = 0;  // that may wait
  size_t connections = 0;

  uint64_t& operator[](Fate fate) { return requests[static_cast<size_t>(fate)]; }
  uint64_t operator[](Fate fate) const { return requests[static_cast<size_t>(fate)]; }
};

/// In Prometheus' text format.
std::string metrics_text(const Counters& counters, const ShadowCounts& shadow,
                         const Engine& engine);

/// A value of a label, in quotes.
std::string label_value(const std::string& text);

}  // namespace edge
