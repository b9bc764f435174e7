#pragma once

#include "edge/commands.hpp"
#include "edge/options.hpp"

namespace edge {

/// The service: each file that appears in `options.in` is classified, its result written to
/// `options.out` as `<name>.json`, and the file removed. Ends well on SIGTERM and SIGINT, once
/// the image at hand is done.
///
/// - Files come in by rename; names that start with a dot are not looked at.
/// - Results appear by rename. While `options.keep` of them lie there, no image is taken.
/// - A file that was at hand when the process ended is tried once more; if that ends the process
///   too, its result says so.
/// - `options.heartbeat` names a file that is written at least every five seconds; under systemd
///   its watchdog is told as well.
Outcome watch(const Options& options);

}  // namespace edge
