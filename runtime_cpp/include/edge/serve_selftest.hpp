#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "common/result.hpp"
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

  int fd() const { return words_.get(); }  // readable when there is something to `read`
  bool read();                             // true once it has ended
  bool is_overdue() const;
  std::optional<Error> fault();  // once it has ended; none: it passed

 private:
  pid_t child_;
  double start_ms_;
  Descriptor words_;  // its standard error
  std::string text_;
};

}  // namespace edge
