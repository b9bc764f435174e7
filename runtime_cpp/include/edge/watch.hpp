#pragma once

#include "edge/commands.hpp"
#include "edge/options.hpp"

namespace edge {

/// The service: each file that appears in `options.in` is classified, its result written to
/// `options.out` as `<name>.json`, and the file removed. Ends well on SIGTERM and SIGINT, once
/// the image at hand is done.
///
/// - Files come in by rename, or are taken once they have been unchanged for some time; names that
///   start with a dot are not looked at, links are refused.
/// - Results appear by rename and replace nothing: while `options.keep` of them lie there no image
///   is taken, and while one of an image's name does, not that image.
/// - Images are decoded in a process of their own, so none of them ends the service.
/// - Once the release is read the service is `options.user`.
/// - A file that was at hand when the process ended is tried once more; if that ends the process
///   too, its result says so.
/// - `options.heartbeat` names a file that is written at least every five seconds; under systemd
///   its watchdog is told as well.
Outcome watch(const Options& options);

}  // namespace edge
