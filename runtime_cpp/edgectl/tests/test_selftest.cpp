#include <sys/stat.h>
#include <unistd.h>

#include <csignal>

#include "board.hpp"
#include "selftest.hpp"
#include "support.hpp"

using namespace edgectl;

namespace {

/// A release's folder whose program says with what it was called.
std::string release_with(const TemporaryFolder& folder, const std::string& script) {
  const std::string program = folder.write("bin/edge-infer", "#!/bin/sh\n" + script + "\n");
  REQUIRE(chmod(program.c_str(), 0755) == 0);
  return folder.path();
}

}  // namespace

TEST_CASE("a release with a run file runs as that says") {
  const TemporaryFolder folder;
  Manifest manifest;
  manifest.files = {{"run.json", "", 0, false}};
  const auto test = run_selftest(release_with(folder, "echo $*; exit 6"), manifest, 60);
  REQUIRE(code_of(test) == "ok");
  CHECK(test->report == "selftest\n");
  CHECK(test->exit == 6);
}

TEST_CASE("a release without one runs as its manifest says") {
  const TemporaryFolder folder;
  Manifest manifest;
  manifest.threads = 3;
  const auto test = run_selftest(release_with(folder, "echo $*"), manifest, 60);
  REQUIRE(code_of(test) == "ok");
  CHECK(test->report == "selftest --model model/model.ort --threads 3\n");
  CHECK(test->exit == 0);
}

TEST_CASE("a self-test that takes too long is killed, one that is not there is told") {
  const TemporaryFolder folder;
  const auto slow = run_selftest(release_with(folder, "exec sleep 60"), {}, 1);
  REQUIRE(code_of(slow) == "ok");
  CHECK(slow->exit == 128 + SIGTERM);
  CHECK(slow->stop == "took too long");
  const int64_t start = uptime_ms();
  const auto deaf = run_selftest(
      release_with(folder, "trap '' TERM; exec >&- 2>&-; while :; do sleep 1; done"), {}, 1);
  CHECK(deaf->exit == 128 + SIGKILL);
  CHECK(deaf->stop == "took too long");
  CHECK(uptime_ms() - start < 5000);
  const std::string note = folder.path("late");
  const auto left =
      run_selftest(release_with(folder, "(sleep 1; echo x > " + note + ") & exit 0"), {}, 60);
  CHECK(left->exit == 0);
  CHECK(left->stop.empty());
  sleep(2);
  CHECK(access(note.c_str(), F_OK) != 0);
  const auto absent = run_selftest(folder.path("nowhere"), {}, 60);
  REQUIRE(code_of(absent) == "ok");
  CHECK(absent->exit == 127);
}
