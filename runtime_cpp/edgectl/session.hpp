#pragma once

#include "board.hpp"

namespace edgectl {

/// The right to act: nobody else acts meanwhile, and no later deployer has begun.
class Session {
 public:
  /// Refuses a deploy that a later one has fenced off (`fence_lost`).
  static Result<Session> enter(const Board& board, uint64_t fence, const std::string& work);

 private:
  explicit Session(Lock lock) : lock_(std::move(lock)) {}

  Lock lock_;
};

/// The deployer lives. Where that cannot be written its lease may end: it does no harm.
void renew(const Board& board, uint64_t fence);

/// The releases are another updater's to switch: docs/protocol.md, "Another updater's board".
Fault owned_by_another(const Board& board, const std::string& holder);

/// Another deployer is at work, and was heard of lately.
Fault held_by_another(const Board& board, const std::string& holder);

}  // namespace edgectl
