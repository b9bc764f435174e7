#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <thread>

#include "edge/crash_file.hpp"
#include "edge/crash_guard.hpp"
#include "support.hpp"

using namespace edge;

namespace {

/// A deploy root with one release in it.
struct Deployed {
  Deployed() { folder.write("releases/0123456789abcdef/run.json", "{}"); }

  std::string release() const { return folder.path("releases/0123456789abcdef"); }
  std::vector<std::string> crashes() const {
    std::vector<std::string> names;
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator(folder.path("crashes"), ignored))
      names.push_back(entry.path().filename());
    std::sort(names.begin(), names.end());
    return names;
  }

  TemporaryFolder folder;
};

/// Runs `body` in a child process that keeps its crashes there; returns its exit code.
int crash(const std::string& release, void (*body)()) {
  const pid_t child = fork();
  if (child == 0) {
    const int nothing = open("/dev/null", O_WRONLY);
    dup2(nothing, STDOUT_FILENO);
    dup2(nothing, STDERR_FILENO);
    install_crash_guard("run");
    keep_crashes(release);
    body();
    _exit(99);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void read_through_null() {
  std::fprintf(stderr, "ORT says: \"no kernel\"\nin C:\\path\n");
  volatile int* nowhere = nullptr;
  *nowhere = 1;
}

void abort_beside_a_thread() {
  std::thread([] { pause(); }).detach();
  usleep(50 * 1000);
  std::abort();
}

void fill_the_disk() {
  const rlimit none{0, 0};
  std::signal(SIGXFSZ, SIG_IGN);
  setrlimit(RLIMIT_FSIZE, &none);
  std::abort();
}

void take_an_instruction_that_no_cpu_has() {
#if defined(__x86_64__)
  __asm__ volatile("ud2");
#else
  __asm__ volatile(".inst 0x00000000");
#endif
}

void do_nothing() {}

size_t count_of(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

}  // namespace

TEST_CASE("a crash of a deployed release leaves a file that nobody else may read") {
  const Deployed board;
  CHECK(crash(board.release(), read_through_null) == 1);
  REQUIRE(board.crashes() == std::vector<std::string>{"000000001.crash"});
  const std::string path = board.folder.path("crashes/000000001.crash");
  struct stat file{}, folder{};
  REQUIRE(stat(path.c_str(), &file) == 0);
  REQUIRE(stat(board.folder.path("crashes").c_str(), &folder) == 0);
  CHECK((file.st_mode & 07777) == 0600);
  CHECK((folder.st_mode & 07777) == 0700);
  const std::string text = content_of(path);
  CHECK(text.substr(0, 19) == "edgewright crash 1\n");
  CHECK(contains(text, "\ncommand run\nrelease 0123456789abcdef\n"));
  CHECK(contains(text, "\nsignal 11 code 1 address 0000000"));
  CHECK(contains(text, "\n| ORT says: \"no kernel\"\n| in C:\\path\nend\n"));
}

TEST_CASE("an instruction that the CPU lacks leaves a file, too") {
  const Deployed board;
  CHECK(crash(board.release(), take_an_instruction_that_no_cpu_has) == 7);
  const std::string text = content_of(board.folder.path("crashes/000000001.crash"));
  CHECK(contains(text, "\ncommand run\nrelease 0123456789abcdef\n"));
  CHECK(contains(text, "\nsignal 4 code "));
  CHECK(contains(text, "\nend\n"));
}

TEST_CASE("the other threads of a crash are in its file") {
  const Deployed board;
  crash(board.release(), abort_beside_a_thread);
  const std::string text = content_of(board.folder.path("crashes/000000001.crash"));
  CHECK(count_of(text, "\nthread ") == 2);
  CHECK(count_of(text, "\nstack ") == 2);
}

TEST_CASE("the newest crashes are kept, and one that ends a service over and over is not") {
  const Deployed board;
  for (int number = 0; number < 8; ++number) crash(board.release(), read_through_null);
  CHECK(board.crashes().size() == 8);
  crash(board.release(), read_through_null);  // too soon
  CHECK(board.crashes().back() == "000000008.crash");
  const timespec long_ago[2] = {{1000, 0}, {1000, 0}};
  utimensat(AT_FDCWD, board.folder.path("crashes/000000008.crash").c_str(), long_ago, 0);
  crash(board.release(), read_through_null);
  CHECK(board.crashes().size() == 8);
  CHECK(board.crashes().front() == "000000002.crash");
  CHECK(board.crashes().back() == "000000009.crash");
}

TEST_CASE("of files that are too many the oldest go") {
  const Deployed board;
  for (int number = 1; number < 20; ++number)
    board.folder.write("crashes/0000000" + std::to_string(number + 10) + ".crash", "");
  board.folder.write("crashes/notes.txt", "somebody's");
  CHECK(crash(board.release(), do_nothing) == 99);
  CHECK(board.crashes().size() == 9);
  CHECK(board.crashes().front() == "000000022.crash");
  CHECK(board.crashes().back() == "notes.txt");
}

TEST_CASE("a link in the way of a crash file is neither followed nor replaced") {
  const Deployed board;
  const std::string precious = board.folder.write("precious", "as it was");
  std::filesystem::create_directory(board.folder.path("crashes"));
  symlink(precious.c_str(), board.folder.path("crashes/000000001.crash").c_str());
  crash(board.release(), read_through_null);
  CHECK(content_of(precious) == "as it was");
  CHECK(board.crashes().back() == "000000002.crash");
}

TEST_CASE("a folder of crashes that is a link is left alone") {
  const Deployed board;
  const TemporaryFolder elsewhere;
  symlink(elsewhere.path().c_str(), board.folder.path("crashes").c_str());
  CHECK(crash(board.release(), read_through_null) == 1);
  CHECK(std::filesystem::is_empty(elsewhere.path()));
}

TEST_CASE("a full disk changes no exit code, and half of a file does not stay") {
  const Deployed board;
  CHECK(crash(board.release(), fill_the_disk) == 1);
  CHECK(board.crashes().empty());
}

TEST_CASE("outside of a deploy root nothing is kept") {
  const TemporaryFolder folder;
  folder.write("0123456789abcdef/run.json", "{}");
  CHECK(crash(folder.path("0123456789abcdef"), read_through_null) == 1);
  CHECK_FALSE(std::filesystem::exists(folder.path("crashes")));
}
