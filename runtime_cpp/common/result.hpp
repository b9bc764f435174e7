#pragma once

#include <optional>
#include <string>
#include <utility>

namespace edge {

/// Exit codes of `edge-infer` (docs/formats.md) and, from 10, of `edgectl` (docs/protocol.md).
enum class Exit : int {
  done = 0,
  bug = 1,
  usage = 2,
  image = 3,
  model = 4,
  card = 5,
  selftest = 6,
  cpu = 7,
  storage = 10,
  signature = 11,
  refused = 12,
  damaged = 13,
  busy = 14,
  premature = 15,
  selftest_failed = 16,
  nothing = 17,
};

/// A fault told in words: "subject: problem", then "next: what to do".
struct Error {
  Exit exit = Exit::bug;     // what the process returns when this ends it
  const char* code = "bug";  // stable word for programs, such as "image_truncated"
  std::string subject;       // the file, option or program that is at fault
  std::string problem;       // one line, or one line for each defect
  std::string next;          // what to do now

  std::string message() const { return subject + ": " + problem; }
};

/// A value, or the reason why there is none.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}
  Result(Error error) : error_(std::move(error)) {}

  explicit operator bool() const { return value_.has_value(); }
  T& operator*() { return *value_; }
  const T& operator*() const { return *value_; }
  T* operator->() { return &*value_; }
  const T* operator->() const { return &*value_; }
  const Error& error() const { return error_; }

 private:
  std::optional<T> value_;
  Error error_;
};

}  // namespace edge
