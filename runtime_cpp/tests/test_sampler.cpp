#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <ctime>
#include <thread>

#include "edge/crash_file.hpp"
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

/// A service of a release in a deploy root, in a child process; what it does is its exit code.
class Service {
 public:
  explicit Service(int (*body)()) {
    std::filesystem::create_directories(root_.path("releases/0123456789abcdef"));
    std::filesystem::create_directory(root_.path("crashes"));
    if (mkfifo(fifo().c_str(), 0600) != 0) std::abort();
    body_ = body;
  }

  std::string fifo() const { return root_.path("crashes/samples"); }

  void start() {
    child_ = fork();
    if (child_ != 0) return;
    std::signal(SIGPIPE, SIG_IGN);
    keep_crashes(root_.path("releases/0123456789abcdef"));
    _exit(body_());
  }

  int wait() const {
    int status = -1;
    waitpid(child_, &status, 0);
    return status;
  }

 private:
  TemporaryFolder root_;
  int (*body_)() = nullptr;
  pid_t child_ = -1;
};

int open_files() {
  int count = 0;
  for (int fd = 0; fd < 64; ++fd) count += fcntl(fd, F_GETFD) >= 0 ? 1 : 0;
  return count;
}

int serve_a_reader() {
  sample_for_reader("watch");
  work(100);
  end_samples();
  return 0;
}

int serve_three_readers_that_go() {
  sample_for_reader("watch");
  const int files = open_files();
  for (int reader = 0; reader < 3; ++reader) {
    sample_for_reader("watch");
    work(50);
  }
  return files - open_files();
}

int serve_nobody() {
  sample_for_reader("watch");
  work(50);
  end_samples();
  return 0;
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

TEST_CASE("a service is sampled while its FIFO is read") {
  Service service(serve_a_reader);
  const int reader = open(service.fifo().c_str(), O_RDONLY | O_NONBLOCK);
  service.start();
  CHECK(service.wait() == 0);
  std::string text(1 << 20, '\0');
  text.resize(static_cast<size_t>(read(reader, text.data(), text.size())));
  close(reader);
  CHECK(text.rfind("edgewright profile 1\nmachine ", 0) == 0);
  CHECK(contains(text, "\ncommand watch\n"));
  CHECK(lines_with(text, "thread ").size() >= 5);
  CHECK(contains(text, "\nend 0\n"));
}

TEST_CASE("a service never waits for who reads its samples, and counts those left out") {
  Service service(serve_a_reader);
  const int reader = open(service.fifo().c_str(), O_RDONLY | O_NONBLOCK);
  const int writer = open(service.fifo().c_str(), O_WRONLY | O_NONBLOCK);
  const std::string unread((1 << 20) - (32 << 10), 'x');
  REQUIRE(fcntl(writer, F_SETPIPE_SZ, 1 << 20) == 1 << 20);
  REQUIRE(write(writer, unread.data(), unread.size()) == static_cast<ssize_t>(unread.size()));
  service.start();
  CHECK(service.wait() == 0);
  std::string text(1 << 20, '\0');
  text.resize(static_cast<size_t>(read(reader, text.data(), text.size())));
  close(writer);
  close(reader);
  CHECK(contains(text, "xedgewright profile 1\n"));
  CHECK(lines_with(text, "thread ").empty());
  CHECK(lines_with(text, "end ").size() == 1);
  CHECK(!contains(text, "\nend 0\n"));
}

TEST_CASE("a reader that goes leaves nothing open, and another one may come") {
  Service service(serve_three_readers_that_go);
  const int reader = open(service.fifo().c_str(), O_RDONLY | O_NONBLOCK);
  service.start();
  char first = '\0';
  while (read(reader, &first, 1) != 1) usleep(1000);
  close(reader);
  CHECK(service.wait() == 0);
}

TEST_CASE("a FIFO that nobody reads, and a file of its name, get nothing") {
  Service unread(serve_nobody);
  unread.start();
  CHECK(unread.wait() == 0);

  Service service(serve_nobody);
  std::filesystem::remove(service.fifo());
  std::ofstream(service.fifo()) << "the user's";
  service.start();
  CHECK(service.wait() == 0);
  CHECK(content_of(service.fifo()) == "the user's");
}
