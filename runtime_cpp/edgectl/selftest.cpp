#include "selftest.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

#include "board.hpp"

namespace edgectl {
namespace {

constexpr size_t max_report = 1u << 20;  // bytes

/// A release that was made before there was run.json is run as its manifest says.
[[noreturn]] void become_selftest(const std::string& folder, const Manifest& manifest, int output) {
  const std::string threads = format("%llu", static_cast<unsigned long long>(manifest.threads));
  const int nothing = open("/dev/null", O_RDWR);
  dup2(nothing, STDIN_FILENO);
  dup2(output, STDOUT_FILENO);
  if (chdir(folder.c_str()) == 0) {
    const char* model = manifest.has(run_file_name) ? nullptr : "--model";  // null ends the list
    execl("bin/edge-infer", "edge-infer", "selftest", model, "model/model.ort", "--threads",
          threads.c_str(), nullptr);
  }
  _exit(127);
}

/// Reads until the other end closes, or the time is over; false then.
bool read_report(int input, int64_t deadline, std::string& report) {
  char block[4096];
  for (;;) {
    const int64_t left = deadline - uptime_ms();
    if (left <= 0) return false;
    pollfd waiting{input, POLLIN, 0};
    if (poll(&waiting, 1, static_cast<int>(std::min<int64_t>(left, 60000))) <= 0) continue;
    const ssize_t got = read(input, block, sizeof block);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return true;
    if (report.size() < max_report) report.append(block, static_cast<size_t>(got));
  }
}

int exit_of(int status) {
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace

Result<SelfTest> run_selftest(const std::string& folder, const Manifest& manifest,
                              uint64_t timeout_s) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return storage_fault(folder);
  const Descriptor input(ends[0]);
  Descriptor output(ends[1]);
  const pid_t child = fork();
  if (child < 0) return storage_fault(folder);
  if (child == 0) become_selftest(folder, manifest, output.get());
  output = Descriptor();
  SelfTest test;
  const int64_t deadline = uptime_ms() + static_cast<int64_t>(timeout_s) * 1000;
  if (!read_report(input.get(), deadline, test.report)) kill(child, SIGKILL);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
  test.exit = exit_of(status);
  return test;
}

}  // namespace edgectl
