#pragma once

#include "admission.hpp"
#include "common/document.hpp"
#include "options.hpp"

namespace edgectl {

using edge::Json;

/// A command of a deploy that was begun.
using Step = Fault (*)(const Board&, const Options&, const Admitted&, Json);

Fault receive(const Board& board, const Options& options, const Admitted& admitted, Json top);
Fault seal(const Board& board, const Options& options, const Admitted& admitted, Json top);
Fault selftest(const Board& board, const Options& options, const Admitted& admitted, Json top);
Fault switch_over(const Board& board, const Options& options, const Admitted& admitted, Json top);
Fault commit_trial(const Board& board, const Options& options, const Admitted& admitted, Json top);

/// Runs a step on the release that was begun, while nobody else acts.
Fault in_session(const Board& board, const Options& options, Json top, Step step);

/// The same as a command's function.
template <Step step>
Fault in_session(const Board& board, const Options& options, Json top) {
  return in_session(board, options, top, step);
}

/// Runs a command of the default program, or the self-test of any: of the release that was begun,
/// with its fence, or else of the current one.
Fault infer(const Board& board, const Options& options, Json top);

/// Tells the hashes of an object's chunks, for a delta against it. Needs no session.
Fault chunks(const Board& board, const Options& options, Json top);

}  // namespace edgectl
