#include "edge/serve_selftest.hpp"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <vector>

#include "common/text.hpp"
#include "edge/statistics.hpp"

namespace edge {
namespace {

constexpr size_t most_words = 4096;       // of its standard error, bytes
constexpr double deadline_ms = 600000;    // a board that swaps is slow
constexpr int niceness = 5;               // what is served comes first

std::string own_program() {
  char path[4096];
  const ssize_t length = readlink("/proc/self/exe", path, sizeof path);
  return length > 0 ? std::string(path, static_cast<size_t>(length)) : "";
}

std::vector<std::string> arguments(const Options& options) {
  std::vector<std::string> words{own_program(), "selftest"};
  const auto add = [&](const char* name, const std::string& value) {
    if (value.empty()) return;
    words.push_back(name);
    words.push_back(value);
  };
  add("--release", options.release);
  add("--model", options.model);
  if (options.threads != 0) add("--threads", format("%d", options.threads));
  return words;
}

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
  [[maybe_unused]] const int is_nice = nice(niceness);
  execv(argv[0], argv);
  _exit(static_cast<int>(Exit::bug));
}

}  // namespace

SelfTest::SelfTest(const Options& options) : child_(-1), start_ms_(now_ms()) {
  int ends[2] = {-1, -1};
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return;
  words_ = Descriptor(ends[0]);
  const Descriptor other_end(ends[1]);
  std::vector<std::string> words = arguments(options);
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const char* service_lock = std::getenv("EDGECTL_READY_FD");
  child_ = fork();
  if (child_ == 0) become_program(argv.data(), other_end.get(), service_lock);
}

SelfTest::~SelfTest() {
  if (child_ <= 0) return;
  kill(child_, SIGKILL);
  fault();
}

bool SelfTest::read() {
  if (child_ <= 0) return true;
  char part[512];
  const ssize_t got = ::read(words_.get(), part, sizeof part);
  if (got < 0) return errno != EAGAIN && errno != EINTR;
  const size_t room = most_words - text_.size();
  text_.append(part, std::min(static_cast<size_t>(got), room));
  return got == 0;
}

bool SelfTest::is_overdue() const {
  return now_ms() - start_ms_ > deadline_ms;
}

std::optional<Error> SelfTest::fault() {
  int status = -1;
  if (child_ > 0) {
    while (waitpid(child_, &status, 0) < 0 && errno == EINTR) {
    }
    child_ = -1;
  }
  if (status == 0) return std::nullopt;
  std::string problem = text_.substr(0, text_.find("\nnext: "));
  if (problem.empty()) problem = "its self-test did not run to its end";
  return Error{Exit::selftest, "reload_refused", "reload", problem,
               "the former model is served on; edge-infer selftest tells more of the new one"};
}

}  // namespace edge
