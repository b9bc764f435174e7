#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "edge/client.h"
#include "edge/descriptor.hpp"
#include "edge/serve_exchange.hpp"

namespace edge {

/// How far a request has come.
enum class Incoming {
  part,     // more of it is to come
  head,     // all but the image that follows it: `accept` or `skip`
  whole,    // `take`
  refused,  // it is none: answer, then end the connection
  ended,    // nothing more comes
};

/// One client. Nothing is read beyond the request at hand, and no request while an answer is not
/// sent: what a client can have the service hold is bounded.
class Connection {
 public:
  Connection(uint64_t number, Descriptor socket, double now)
      : number_(number), socket_(std::move(socket)), moved_ms_(now) {}

  uint64_t number() const { return number_; }
  int fd() const { return socket_.get(); }
  short events() const;  // what poll is to wait for

  Incoming receive(double now);
  const edge_request& request() const { return request_; }
  bool accept();  // memory for the image; false: there is none, and it was skipped
  void skip();    // the image is read, and forgotten
  bool is_skipped() const { return is_skipped_; }
  Job take(double now);

  void answer(uint32_t id, edge_status status, const std::string& json, double now);
  void write(const std::string& text) { unsent_ += text; }  // as it is
  bool send(double now);                                    // false: nobody reads any more
  bool is_sent() const { return unsent_.empty(); }

  /// No more is read of it; it ends with its last answer.
  void finish() { is_finished_ = true; }
  bool is_done() const { return is_finished_ && pending == 0 && is_sent(); }
  /// In the middle of a request or an answer, and not moved on for long.
  bool is_stuck(double now) const;
  size_t held_bytes() const;  // of an image under way

  size_t pending = 0;  // jobs that are not answered

 private:
  ssize_t receive_some(void* to, size_t size);
  Incoming check_head() const;

  uint64_t number_;
  Descriptor socket_;
  edge_request request_{};
  size_t received_ = 0;  // bytes of the request, then of its image
  FileBytes image_;
  Descriptor file_;
  bool has_excess_ = false;  // more descriptors than one
  bool is_skipped_ = false;
  bool is_finished_ = false;
  std::string unsent_;
  size_t sent_ = 0;
  double moved_ms_;
};

}  // namespace edge
