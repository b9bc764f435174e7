#pragma once

#include <string>

#include "board.hpp"

namespace edgectl {

// The few lines below the root that a board cannot do without: `<name>` and `<name>.copy`, each
// with the SHA-256 of its content in a last line. Both are written in place once they are there, so
// that neither a full disk nor one without inodes keeps a trial from its end; a power cut in the
// middle of one leaves the other.

/// There is a copy of it, whole or not.
bool has_state(const Board& board, const std::string& name);

/// The content; empty if there is none. Files of 0.1.0 have no last line, and no copy. Refuses as
/// `state_damaged` where no copy is whole.
Result<std::string> read_state(const Board& board, const std::string& name);

/// Durable once this returns: the first copy is the decision.
Fault write_state(const Board& board, const std::string& name, const std::string& content);

/// Makes both copies of every state what `read_state` says: of one that rotted, of one that a power
/// cut left older than the other, and of states that 0.1.0 wrote without a copy. What cannot be
/// written stays as it is.
void mend_states(const Board& board);

/// Not synced: whoever removes a state does so again after a power cut.
Fault remove_state(const Board& board, const std::string& name);

}  // namespace edgectl
