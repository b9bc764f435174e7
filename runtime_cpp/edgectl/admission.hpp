#pragma once

#include <string>

#include "board.hpp"
#include "manifest.hpp"
#include "signature.hpp"

namespace edgectl {

/// A manifest that a trusted key signed for this board, and that may be installed now.
struct Admitted {
  Manifest manifest;
  Claim claim;
  PublicKey key;
  std::string manifest_text;
  std::string signature_text;
};

/// The four lines of a signature file, then the document.
struct Signed {
  std::string signature;
  std::string document;
};
Signed split_signed(const std::string& input);
/// The same from a file descriptor, up to the end of input.
Result<Signed> read_signed(int fd);

/// Signature, board, sequence, quarantine: refuses with a message of its own for each.
Result<Admitted> admit(const Board& board, const Signed& input);

/// `tmp/`: the manifest that the deploy under way is about.
Fault stage(const Board& board, const Admitted& admitted);
/// The same, admitted anew: what lies on the storage is not believed.
Result<Admitted> staged(const Board& board);

}  // namespace edgectl
