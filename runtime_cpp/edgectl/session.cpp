#include "session.hpp"

namespace edgectl {

Result<Session> Session::enter(const Board& board, uint64_t fence, const std::string& work) {
  if (auto fault = make_folders(board)) return *fault;
  auto lock = lock_session(board, work, last_lease(board).holder, Ending::nobody);
  if (!lock) return lock.error();
  const uint64_t last = fence_of(board);
  if (fence == last) return Session(std::move(*lock));
  return Error{
      Exit::busy, "fence_lost", "the board",
      format("deploy %llu is not the last one, which is %llu",
             static_cast<unsigned long long>(fence), static_cast<unsigned long long>(last)),
      "another deployer took over: run your deploy again if yours is to count"};
}

void renew(const Board& board, uint64_t fence) {
  const Lease lease = last_lease(board);
  if (!lease.holder.empty()) renew_lease(board, fence, lease.holder);
}

Fault held_by_another(const Board& board, const std::string& holder) {
  const Lease lease = lease_of(board);
  if (lease.holder.empty() || lease.holder == holder) return std::nullopt;
  return Error{Exit::busy, "busy", "the board",
               format("is being deployed to by %s, heard of %lld s ago", lease.holder.c_str(),
                      static_cast<long long>(lease.idle_ms / 1000)),
               "wait for it, or take over"};
}

}  // namespace edgectl
