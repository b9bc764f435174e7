#include "edge/serve_exchange.hpp"

#include <sys/eventfd.h>

#include <utility>

namespace edge {

size_t image_bytes(const edge_request& request) {
  return request.kind == EDGE_IMAGE ? request.length - EDGE_REQUEST_REST : 0;
}

Exchange::Exchange() : wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

size_t Exchange::waiting() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return waiting_.size();
}

void Exchange::add(JobPtr job) {
  const std::lock_guard<std::mutex> lock(mutex_);
  waiting_.push_back(std::move(job));
  changed_.notify_one();
}

void Exchange::forget(uint64_t connection) {
  const std::lock_guard<std::mutex> lock(mutex_);
  for (const JobPtr& job : waiting_) {
    if (job->connection == connection) job->connection = 0;
  }
}

void Exchange::close() {
  const std::lock_guard<std::mutex> lock(mutex_);
  is_closed_ = true;
  changed_.notify_one();
}

std::vector<JobPtr> Exchange::answered() {
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t got = read(wake_.get(), &count, sizeof count);
  const std::lock_guard<std::mutex> lock(mutex_);
  return std::exchange(answered_, {});
}

bool Exchange::is_moving() {
  const std::lock_guard<std::mutex> lock(mutex_);
  const uint32_t steps = steps_;
  const bool has_moved = steps != std::exchange(seen_steps_, steps);
  return has_moved || !is_at_work_;
}

JobPtr Exchange::take() {
  std::unique_lock<std::mutex> lock(mutex_);
  is_at_work_ = false;
  while (waiting_.empty() && !is_closed_) changed_.wait(lock);
  if (waiting_.empty()) return nullptr;
  is_at_work_ = true;
  moved();
  JobPtr job = std::move(waiting_.front());
  waiting_.erase(waiting_.begin());
  return job;
}

const Job* Exchange::next() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return waiting_.empty() ? nullptr : waiting_.front().get();
}

void Exchange::answer(JobPtr job) {
  const std::lock_guard<std::mutex> lock(mutex_);
  answered_.push_back(std::move(job));
  const uint64_t more = 1;
  [[maybe_unused]] const ssize_t written = write(wake_.get(), &more, sizeof more);
}

}  // namespace edge
