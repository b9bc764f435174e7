#include "edge/serve_selftest.hpp"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include "common/text.hpp"
#include "edge/statistics.hpp"

namespace edge {
namespace {

constexpr double deadline_ms = 600000;  // a board that swaps is slow
constexpr int niceness = 5;             // what is served comes first

/// In the child, which has but one thread: only what is safe in a signal handler.
[[noreturn]] void become_program(char* const* argv, int words, const char* service_lock) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  // The file by whose lock edgectl knows the service must not outlive the service.
  if (service_lock != nullptr) close(std::atoi(service_lock));
  const int nothing = open("/dev/null", O_WRONLY);
  dup2(nothing, STDOUT_FILENO);
  dup2(words, STDERR_FILENO);
  setpriority(PRIO_PROCESS, 0, niceness);
  execv(argv[0], argv);
  _exit(1);
}

}  // namespace

SelfTest::SelfTest(const Options& options) : child_(-1), start_ms_(now_ms()) {
  char program[4096] = {};
  int ends[2] = {-1, -1};
  if (readlink("/proc/self/exe", program, sizeof program - 1) <= 0) return;
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return;
  standard_error_ = Descriptor(ends[0]);
  const std::string threads = format("%d", options.threads);
  const char* argv[9] = {program, "selftest"};
  const char** end = argv + 2;
  const auto add = [&](const char* name, const std::string& value) {
    *end++ = name;
    *end++ = value.c_str();
  };
  if (!options.release.empty()) add("--release", options.release);
  if (!options.model.empty()) add("--model", options.model);
  if (options.threads != 0) add("--threads", threads);
  const char* service_lock = std::getenv("EDGECTL_READY_FD");
  child_ = fork();
  if (child_ == 0) become_program(const_cast<char* const*>(argv), ends[1], service_lock);
  close(ends[1]);
}

SelfTest::~SelfTest() {
  if (child_ <= 0) return;
  kill(child_, SIGKILL);
  has_passed();
}

bool SelfTest::read() {
  char part[256];
  const ssize_t got = ::read(standard_error_.get(), part, sizeof part);
  if (got < 0) return errno != EAGAIN && errno != EINTR;
  const size_t room = sizeof words_ - 1 - size_;
  const size_t wanted = std::min(static_cast<size_t>(got), room);
  std::memcpy(words_ + size_, part, wanted);
  size_ += wanted;
  return got == 0;
}

bool SelfTest::is_overdue() const {
  return now_ms() - start_ms_ > deadline_ms;
}

bool SelfTest::has_passed() {
  int status = -1;
  while (child_ > 0 && waitpid(child_, &status, 0) < 0 && errno == EINTR) {
  }
  child_ = -1;
  return status == 0;
}

}  // namespace edge
