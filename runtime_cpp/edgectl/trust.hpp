#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "admission.hpp"
#include "board.hpp"
#include "signature.hpp"

namespace edgectl {

/// `keys.json`, schema 1 or 2: docs/protocol.md, "Trusted keys".
struct Trust {
  uint64_t schema = 0;  // 0: nothing is trusted yet
  uint64_t sequence = 0;
  std::vector<PublicKey> keys;  // none in an order to forget the board
  std::string document;         // byte for byte

  // Of schema 2 only.
  std::vector<std::string> boards;  // ids of those it is for; empty: all of a kind
  std::string kind;                 // `compatible` of those; empty if `boards` names them
  std::string previous;             // SHA-256 of the document before it; empty at first contact
  uint64_t floor = 0;               // what the board's floor becomes; 0: it stays
  std::vector<std::string> names;   // what the board's kinds become; empty: they stay

  /// What the trusted comment of its signature must say; `verb` is "keys" or "forget".
  std::string comment(const char* verb) const;
};

Result<Trust> parse_trust(const std::string& document);

/// The document in force. Refuses one that is damaged, or gone after first contact (`keys_lost`).
Result<Trust> trust_of(const Board& board);

/// 32 hex digits, made at random at first contact; empty before.
std::string board_id(const Board& board);
/// The same, made now if there is none.
Result<std::string> make_board_id(const Board& board);

/// Puts a signed keys document in force; tells whether it was not yet.
Result<bool> accept_keys(const Board& board, const Signed& input, const std::string& compatible);

/// The board is to be taken out of service: signed as a change of keys is, for this board alone.
Fault forget_order_problem(const Board& board, const Signed& input);

/// Takes back first contact: the board trusts no key, and the next one is its first.
Fault reset_keys(const Board& board);

}  // namespace edgectl
