#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>

#include "service.hpp"
#include "support.hpp"

using namespace edgectl;

namespace {

/// A process that became the service of a board and runs a release; ends with this object.
class Running {
 public:
  Running(const Board& board, const std::string& release, const std::string& says) {
    int line[2];
    REQUIRE(pipe(line) == 0);
    pid_ = fork();
    if (pid_ == 0) {
      const bool works = !become_service(board) && !announce(board, release);
      const ssize_t said = write(atoi(getenv("EDGECTL_READY_FD")), says.data(), says.size());
      const char done = works && said == static_cast<ssize_t>(says.size()) ? 'y' : 'n';
      const ssize_t wrote = write(line[1], &done, 1);
      pause();
      _exit(wrote == 1 ? 0 : 1);
    }
    char done = 'n';
    REQUIRE(read(line[0], &done, 1) == 1);
    REQUIRE(done == 'y');
    close(line[0]);
    close(line[1]);
  }
  ~Running() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  int pid() const { return pid_; }

 private:
  pid_t pid_;
};

Manifest manifest_with_run_file(const std::string& id) {
  Manifest manifest;
  manifest.id = id;
  manifest.files = {{"run.json", "", 0, false}};
  return manifest;
}

constexpr const char* release = "0123456789abcdef";

}  // namespace

TEST_CASE("a service is known by its lock, and is ready once it says so") {
  const TemporaryBoard temporary;
  const Board& board = temporary.board;
  CHECK(service_of(board).pid == 0);
  {
    const Running running(board, release, "");
    const Service service = service_of(board);
    CHECK(service.pid == running.pid());
    CHECK(service.release == release);
    CHECK_FALSE(service.ready);
    CHECK_FALSE(serves(board, manifest_with_run_file(release)));
    CHECK(code_of(become_service(board)) == "busy");
  }
  const Running running(board, release, "ready\n");
  CHECK(service_of(board).ready);
  CHECK(serves(board, manifest_with_run_file(release)));
  CHECK_FALSE(serves(board, manifest_with_run_file("fedcba9876543210")));
}

TEST_CASE("what a former service said does not count for the next one") {
  const TemporaryBoard temporary;
  {
    const Running former(temporary.board, release, "ready\n");
  }
  CHECK(service_of(temporary.board).pid == 0);
  CHECK_FALSE(serves(temporary.board, manifest_with_run_file(release)));
  const Running next(temporary.board, release, "");
  CHECK_FALSE(service_of(temporary.board).ready);
}

TEST_CASE("a release that cannot say so has to stay up for a while") {
  const TemporaryBoard temporary;
  const Running running(temporary.board, release, "");
  Manifest manifest;
  manifest.id = release;
  CHECK_FALSE(serves(temporary.board, manifest));
}
