#include "edge/serve_exchange.hpp"

#include <sys/eventfd.h>

#include <algorithm>
#include <utility>

namespace edge {

size_t image_bytes(const edge_request& request) {
  return request.kind == EDGE_IMAGE ? request.length - EDGE_REQUEST_REST : 0;
}

Exchange::Exchange(size_t most_waiting)
    : most_waiting_(most_waiting), wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

bool Exchange::has_room() const {
  return waiting() < most_waiting_;
}

size_t Exchange::waiting() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return jobs_.size();
}

void Exchange::add(Job job) {
  const std::lock_guard<std::mutex> lock(mutex_);
  jobs_.push_back(std::move(job));
  changed_.notify_one();
}

size_t Exchange::forget(uint64_t connection, size_t& jobs) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto end = std::stable_partition(jobs_.begin(), jobs_.end(), [&](const Job& job) {
    return job.connection != connection;
  });
  size_t bytes = 0;
  for (auto job = end; job != jobs_.end(); ++job) bytes += image_bytes(job->request);
  jobs = static_cast<size_t>(jobs_.end() - end);
  jobs_.erase(end, jobs_.end());
  return bytes;
}

void Exchange::close() {
  const std::lock_guard<std::mutex> lock(mutex_);
  is_closed_ = true;
  changed_.notify_one();
}

std::vector<Reply> Exchange::replies() {
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t got = read(wake_.get(), &count, sizeof count);
  const std::lock_guard<std::mutex> lock(mutex_);
  return std::exchange(replies_, {});
}

bool Exchange::is_moving() {
  const std::lock_guard<std::mutex> lock(mutex_);
  const uint32_t steps = steps_;
  const bool has_moved = steps != std::exchange(seen_steps_, steps);
  return has_moved || !is_at_work_;
}

std::optional<Job> Exchange::take() {
  std::unique_lock<std::mutex> lock(mutex_);
  is_at_work_ = false;
  changed_.wait(lock, [&] { return is_closed_ || !jobs_.empty(); });
  if (jobs_.empty()) return std::nullopt;
  is_at_work_ = true;
  moved();
  std::optional<Job> job(std::move(jobs_.front()));
  jobs_.pop_front();
  return job;
}

void Exchange::reply(Reply reply) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    replies_.push_back(std::move(reply));
  }
  const uint64_t more = 1;
  [[maybe_unused]] const ssize_t written = write(wake_.get(), &more, sizeof more);
}

}  // namespace edge
