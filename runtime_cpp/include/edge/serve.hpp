#pragma once

#include "edge/commands.hpp"
#include "edge/options.hpp"

namespace edge {

/// The service for programs: images come over a UNIX socket, results go back over it; docs/serve.md
/// is the contract, edge/client.h has its messages. Ends well on SIGTERM and SIGINT, once all that
/// it accepted is answered.
///
/// - `options.folder` has `infer.sock`, `metrics.sock` and `metrics.prom`.
/// - `options.queue` requests may wait; what comes beyond is answered as busy, at once.
/// - One thread reads and answers, another infers: who never reads, or sends half a request, keeps
///   nobody waiting.
/// - SIGHUP, or a request, has the model read anew; it is served once its self-test has passed.
Outcome serve(const Options& options);

}  // namespace edge
