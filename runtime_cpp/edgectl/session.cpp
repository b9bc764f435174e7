#include "session.hpp"

namespace edgectl {

Result<Session> Session::enter(const Board& board, uint64_t fence) {
  if (auto fault = make_folders(board)) return *fault;
  auto lock = lock_session(board);
  if (!lock) return lock.error();
  const uint64_t last = fence_of(board);
  if (fence == last) return Session(board, std::move(*lock), fence);
  return Error{
      Exit::busy, "fence_lost", "the board",
      format("deploy %llu is not the last one, which is %llu",
             static_cast<unsigned long long>(fence), static_cast<unsigned long long>(last)),
      "another deployer took over: run your deploy again if yours is to count"};
}

Fault Session::renew() const {
  const Lease lease = lease_of(board_);
  if (lease.holder.empty()) return std::nullopt;
  return renew_lease(board_, fence_, lease.holder);
}

}  // namespace edgectl
