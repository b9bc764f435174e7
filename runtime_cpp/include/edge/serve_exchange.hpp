#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "edge/client.h"
#include "edge/descriptor.hpp"
#include "edge/file.hpp"
#include "edge/settings.hpp"

namespace edge {

/// What came in: a request, and what it is about.
struct Job {
  uint64_t connection = 0;  // number of the one that it came over; 0: none, it was a signal
  edge_request request{};
  FileBytes image = {};   // of EDGE_IMAGE
  Descriptor file = {};   // of EDGE_FILE and EDGE_FRAME
  double arrived_ms = 0;  // when all of it had come
};

/// What is served.
struct Served {
  std::string model;  // name in its card
  Settings settings;
};

/// What became of a job.
struct Reply {
  uint64_t connection = 0;
  edge_request request{};
  std::string json = "";                       // of a result
  std::optional<Error> error = std::nullopt;   // in its place
  double arrived_ms = 0;
  double inference_ms = 0;                     // 0 where nothing was inferred
  std::optional<Served> served = std::nullopt;  // of a reload that is done
};

/// Bytes of an image that came with its request.
size_t image_bytes(const edge_request& request);

/// What the two threads of the service share: jobs go one way, replies the other.
class Exchange {
 public:
  explicit Exchange(size_t most_waiting);

  // Of the thread that reads and answers.
  bool has_room() const;
  size_t waiting() const;
  void add(Job job);  // whoever adds images has asked for room
  /// Takes back what nobody waits for any more; bytes of images that were among it.
  size_t forget(uint64_t connection, size_t& jobs);
  void close();  // nothing is added from here on
  std::vector<Reply> replies();
  int wake_fd() const { return wake_.get(); }  // readable once there are replies
  /// True unless a job is at hand that has not moved on since the last call.
  bool is_moving();

  // Of the thread that infers.
  std::optional<Job> take();  // waits; none: closed, and all is done
  void reply(Reply reply);
  void moved() { ++steps_; }

 private:
  const size_t most_waiting_;
  const Descriptor wake_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> jobs_;
  std::vector<Reply> replies_;
  bool is_closed_ = false;
  bool is_at_work_ = false;
  std::atomic<uint32_t> steps_{0};
  uint32_t seen_steps_ = 0;
};

}  // namespace edge
