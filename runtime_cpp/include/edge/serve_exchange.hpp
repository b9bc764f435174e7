#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "common/outcome.hpp"
#include "edge/client.h"
#include "edge/descriptor.hpp"
#include "edge/engine.hpp"
#include "edge/file.hpp"

namespace edge {

/// A request on its way to the thread that infers, and back.
struct Job {
  uint64_t connection = 0;  // number of the one that waits for it; 0: nobody does
  edge_request request{};
  FileBytes image = {};   // of EDGE_IMAGE
  Descriptor file = {};   // of EDGE_FILE and EDGE_FRAME
  double arrived_ms = 0;  // when all of it had come
  // Of the way back:
  Outcome outcome = {};     // its document is the answer's
  double inference_ms = 0;  // 0 where nothing was inferred
  /// Of EDGE_RELOAD: the network that is not served any more, for the one thread to let go of once
  /// it knows, and the one that is.
  std::unique_ptr<Result<Engine>> former = nullptr;
  const Engine* served = nullptr;
};
using JobPtr = std::unique_ptr<Job>;

/// Bytes of an image that came with its request.
size_t image_bytes(const edge_request& request);

/// What the two threads of the service share: jobs go one way, and come back answered.
class Exchange {
 public:
  Exchange();

  // Of the thread that reads and answers.
  size_t waiting() const;
  void add(JobPtr job);              // whoever adds has looked how many wait
  void forget(uint64_t connection);  // nobody waits for its jobs any more
  void close();                      // nothing is added from here on
  std::vector<JobPtr> answered();
  int wake_fd() const { return wake_.get(); }  // readable once there are some
  /// True unless a job is at hand that has not moved on since the last call.
  bool is_moving();

  // Of the thread that infers.
  JobPtr take();  // waits; null: closed, and all is done
  /// The job that is taken next, which stays where it is; null: none waits.
  const Job* next() const;
  void answer(JobPtr job);
  void moved() { ++steps_; }

 private:
  const Descriptor wake_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<JobPtr> waiting_;  // the oldest first
  std::vector<JobPtr> answered_;
  bool is_closed_ = false;
  bool is_at_work_ = false;
  std::atomic<uint32_t> steps_{0};
  uint32_t seen_steps_ = 0;
};

}  // namespace edge
