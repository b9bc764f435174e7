#pragma once

#include "board.hpp"

namespace edgectl {

/// The right to act: nobody else acts meanwhile, and no later deployer has begun.
class Session {
 public:
  /// Refuses a deploy that a later one has fenced off (`fence_lost`).
  static Result<Session> enter(const Board& board, uint64_t fence, const std::string& work);

  /// The deployer lives. Where that cannot be written its lease may end: it does no harm.
  void renew() const;

 private:
  Session(const Board& board, Lock lock, uint64_t fence)
      : board_(board), lock_(std::move(lock)), fence_(fence) {}

  Board board_;
  Lock lock_;
  uint64_t fence_;
};

}  // namespace edgectl
