#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <ctime>
#include <thread>

#include "edge/sampler.hpp"
#include "support.hpp"

using namespace edge;

namespace {

/// Takes so much of a processor's time.
void work(int milliseconds) {
  timespec at{};
  do clock_gettime(CLOCK_THREAD_CPUTIME_ID, &at);
  while (at.tv_sec == 0 && at.tv_nsec < milliseconds * 1000000L);
}

/// What a child process writes that is sampled while it works; its exit code is 0.
std::string samples_of(void (*body)()) {
  const TemporaryFolder folder;
  const std::string path = folder.path("samples");
  const pid_t child = fork();
  if (child == 0) {
    const int file = open(path.c_str(), O_WRONLY | O_CREAT, 0600);
    if (start_samples(file, "bench")) _exit(1);
    body();
    end_samples();
    _exit(0);
  }
  int status = -1;
  waitpid(child, &status, 0);
  CHECK(status == 0);
  return content_of(path);
}

std::vector<std::string> lines_with(const std::string& text, const std::string& word) {
  std::vector<std::string> lines;
  for (size_t at = text.find("\n" + word); at != std::string::npos;
       at = text.find("\n" + word, at + 1)) {
    lines.push_back(text.substr(at + 1, text.find('\n', at + 1) - at - 1));
  }
  return lines;
}

void two_threads() {
  std::thread other([] { work(150); });
  work(150);
  other.join();
}

void wait_only() {
  usleep(150 * 1000);
}

void after_a_reader_that_went() {
  std::signal(SIGPIPE, SIG_IGN);
  int ends[2];
  if (pipe(ends) != 0 || close(ends[0]) != 0 || start_samples(ends[1], "run")) _exit(1);
  work(50);
  end_samples();
}

}  // namespace

TEST_CASE("each thread that takes time is sampled, with its stack") {
  const std::string text = samples_of(two_threads);
  CHECK(text.rfind("edgewright profile 1\nmachine ", 0) == 0);
  CHECK(contains(text, "\ncommand bench\nbuild-id "));
  CHECK(contains(text, "\ninterval 10000\nmaps\n"));
  auto threads = lines_with(text, "thread ");
  CHECK(threads.size() >= 5);  // a kernel with a coarse clock takes fewer than 30
  CHECK(lines_with(text, "registers ").size() == threads.size());
  CHECK(lines_with(text, "stack ").size() == threads.size());
  std::sort(threads.begin(), threads.end());
  CHECK(std::unique(threads.begin(), threads.end()) - threads.begin() == 2);
  CHECK(text.rfind("\nend ") == text.size() - 7);  // followed by one digit: few were dropped
}

TEST_CASE("who waits is not sampled") {
  CHECK(lines_with(samples_of(wait_only), "thread ").size() <= 1);
}

TEST_CASE("a reader of samples that goes ends nothing else") {
  CHECK(samples_of(after_a_reader_that_went) != "");
}

TEST_CASE("a descriptor that is not open is refused") {
  const auto error = start_samples(999, "run");
  REQUIRE(error);
  CHECK(error->message() == "--samples: descriptor 999 is not open");
}
