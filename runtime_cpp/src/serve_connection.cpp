#include "edge/serve_connection.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>

namespace edge {
namespace {

constexpr double patience_ms = 30000;  // in the middle of a request or an answer

bool brings_descriptor(uint32_t kind) {
  return kind == EDGE_FILE || kind == EDGE_FRAME;
}

}  // namespace

short Connection::events() const {
  if (!is_sent()) return POLLOUT;
  return is_finished_ ? short{0} : short{POLLIN};
}

/// As recv, and keeps the descriptor that comes with the bytes.
ssize_t Connection::receive_some(void* to, size_t size) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  iovec part{to, size};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t got = recvmsg(fd(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (got < 0) return got;
  if ((message.msg_flags & MSG_CTRUNC) != 0) has_excess_ = true;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    for (size_t at = CMSG_LEN(0); at + sizeof(int) <= header->cmsg_len; at += sizeof(int)) {
      int descriptor = -1;
      std::memcpy(&descriptor, reinterpret_cast<char*>(header) + at, sizeof descriptor);
      if (file_) has_excess_ = true;
      file_ = Descriptor(descriptor);
    }
  }
  return got;
}

Incoming Connection::check_head() const {
  const bool has_image = request_.kind == EDGE_IMAGE;
  const bool is_known = request_.kind >= EDGE_IMAGE && request_.kind <= EDGE_RELOAD;
  const bool fits =
      has_image ? request_.length > EDGE_REQUEST_REST : request_.length == EDGE_REQUEST_REST;
  const bool has_its_descriptor = static_cast<bool>(file_) == brings_descriptor(request_.kind);
  if (!is_known || !fits || has_excess_ || !has_its_descriptor) return Incoming::refused;
  return has_image ? Incoming::head : Incoming::whole;
}

Incoming Connection::receive(double now) {
  char forgotten[4096];
  const bool in_head = received_ < sizeof request_;
  const size_t done = in_head ? received_ : received_ - sizeof request_;
  const size_t left = (in_head ? sizeof request_ : image_bytes(request_)) - done;
  void* to = in_head ? reinterpret_cast<char*>(&request_) + done : forgotten;
  if (!in_head && !is_skipped_) to = image_.data.get() + done;
  const ssize_t got = receive_some(to, to == forgotten ? std::min(left, sizeof forgotten) : left);
  if (got < 0) return errno == EAGAIN || errno == EINTR ? Incoming::part : Incoming::ended;
  if (got == 0) return Incoming::ended;
  // By its first byte: who sends one now and then is not to hold memory for ever.
  if (received_ == 0) moved_ms_ = now;
  received_ += static_cast<size_t>(got);
  if (static_cast<size_t>(got) < left) return Incoming::part;
  if (in_head) return check_head();
  return file_ || has_excess_ ? Incoming::refused : Incoming::whole;
}

bool Connection::accept() {
  const size_t size = image_bytes(request_);
  image_ = {std::unique_ptr<uint8_t[]>(new (std::nothrow) uint8_t[size]), size};
  if (image_.data) return true;
  skip();
  return false;
}

void Connection::skip() {
  image_ = {};
  is_skipped_ = true;
}

Job Connection::take(double now) {
  Job job{number_, request_, std::move(image_), std::move(file_), now};
  received_ = 0;
  image_ = {};
  is_skipped_ = false;
  return job;
}

void Connection::answer(uint32_t id, edge_status status, const std::string& json, double now) {
  if (is_sent()) moved_ms_ = now;
  const edge_answer head{static_cast<uint32_t>(EDGE_ANSWER_REST + json.size()), id, status};
  unsent_.append(reinterpret_cast<const char*>(&head), sizeof head);
  unsent_ += json;
}

bool Connection::send(double now) {
  const ssize_t got =
      ::send(fd(), unsent_.data() + sent_, unsent_.size() - sent_, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (got < 0) return errno == EAGAIN || errno == EINTR;
  moved_ms_ = now;
  sent_ += static_cast<size_t>(got);
  if (sent_ < unsent_.size()) return true;
  std::string().swap(unsent_);  // gives its memory back
  sent_ = 0;
  return true;
}

bool Connection::is_stuck(double now) const {
  return (!is_sent() || (received_ > 0 && !is_finished_)) && now - moved_ms_ > patience_ms;
}

size_t Connection::held_bytes() const {
  return image_.data ? image_.size : 0;
}

}  // namespace edge
