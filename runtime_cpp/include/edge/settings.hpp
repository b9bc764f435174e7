#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/document.hpp"
#include "common/result.hpp"
#include "edge/image.hpp"
#include "edge/inventory.hpp"
#include "edge/options.hpp"

namespace edge {

/// How many images a service keeps for whoever labels them.
struct UnsureLimits {
  size_t images = 0;
  size_t bytes = 0;  // of all of them
};

/// How a network is run: what `run.json` of the release says, or options in its place.
struct Settings {
  std::string release;  // folder of the release; empty: none, so the program's own defaults hold
  std::string model;    // file
  std::optional<uint32_t> model_crc32;  // none of a model outside of the release
  std::string card;                     // file
  std::string golden;                   // folder
  int threads = 1;                      // of the runtime, the caller's included
  std::vector<std::string> providers;   // of the runtime, in the order in which they are asked
  int thermal_limit_c = 0;              // of the hottest zone; 0: none
  ImageLimits limits;
  UnsureLimits unsure_images;
  Inventory inventory;                  // of the release
  std::vector<std::string> overridden;  // names of the options that took the release's place
};

/// The release is `options.release`, or the one that the program lies in as `bin/edge-infer`.
/// Without either, a model must be given.
Result<Settings> read_settings(const Options& options);

/// Whether there is anything to run: a release or a model.
bool has_model(const Options& options);

/// Adds "settings": what was in force, and where it came from.
void set_settings(Json object, const Settings& settings);

}  // namespace edge
