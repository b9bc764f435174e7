#include "session.hpp"

namespace edgectl {
namespace {

constexpr size_t max_owner = 256;  // bytes

}  // namespace

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

Fault owned_by_another(const Board& board, const std::string& holder) {
  const std::string path = board.path("owner");
  if (is_absent(path)) return std::nullopt;
  const auto text = read_text(path, max_owner);
  if (!text) return text.error();  // unread, it may well be another's
  const std::string owner = text->substr(0, text->find('\n'));
  if (owner == holder) return std::nullopt;
  return Error{Exit::busy, "owned", "the board", "its releases belong to " + owner,
               "update the board by that, or have that give it up first"};
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
