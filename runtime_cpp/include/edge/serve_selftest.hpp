#pragma once

#include <sys/types.h>

#include <string>

#include "edge/descriptor.hpp"
#include "edge/options.hpp"

namespace edge {

/// The self-test of what the options name now, in a process of its own: a model that crashes the
/// runtime, or never ends, does that to nobody else. It is ended with this object.
class SelfTest {
 public:
  explicit SelfTest(const Options& options);
  SelfTest(const SelfTest&) = delete;
  SelfTest& operator=(const SelfTest&) = delete;
  ~SelfTest();

  int fd() const { return standard_error_.get(); }  // readable when there is something to `read`
  bool read();                                      // true once it has ended
  bool is_overdue() const;
  bool has_passed();  // once it has ended
  std::string words() const { return words_; }

 private:
  pid_t child_;
  double start_ms_;
  Descriptor standard_error_;
  char words_[2048] = {};  // of it, the first
  size_t size_ = 0;
};

}  // namespace edge
