#include "session.hpp"

namespace edgectl {

Result<Session> Session::enter(const Board& board, uint64_t fence, const std::string& work) {
  if (auto fault = make_folders(board)) return *fault;
  auto lock = lock_session(board, work + " of " + last_lease(board).holder);
  if (!lock) return lock.error();
  const uint64_t last = fence_of(board);
  if (fence == last) return Session(board, std::move(*lock), fence);
  return Error{
      Exit::busy, "fence_lost", "the board",
      format("deploy %llu is not the last one, which is %llu",
             static_cast<unsigned long long>(fence), static_cast<unsigned long long>(last)),
      "another deployer took over: run your deploy again if yours is to count"};
}

void Session::renew() const {
  const Lease lease = last_lease(board_);
  if (!lease.holder.empty()) renew_lease(board_, fence_, lease.holder);
}

}  // namespace edgectl
