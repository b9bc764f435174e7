#include <sys/stat.h>
#include <unistd.h>

#include <csignal>

#include "board.hpp"
#include "program.hpp"
#include "support.hpp"

using namespace edgectl;

namespace {

/// A release's folder whose program says with what it was called.
std::string release_with(const TemporaryFolder& folder, const std::string& script) {
  const std::string program = folder.write("bin/edge-infer", "#!/bin/sh\n" + script + "\n");
  REQUIRE(chmod(program.c_str(), 0755) == 0);
  return folder.path();
}

Result<Ended> run(const std::string& release, const std::vector<std::string>& arguments,
                  int64_t timeout_s) {
  return run_program(release, default_program, arguments, uptime_ms() + timeout_s * 1000, [] {});
}

}  // namespace

TEST_CASE("a self-test takes its settings from the run file, or from the manifest without one") {
  Manifest manifest;
  manifest.threads = 3;
  const std::vector<std::string> told{"selftest", "--model", "model/model.ort", "--threads", "3"};
  CHECK(programs_of(manifest)[0].arguments == told);
  manifest.files = {{"run.json", "", 0, false}};
  CHECK(programs_of(manifest)[0].arguments == std::vector<std::string>{"selftest"});
  CHECK(programs_of(manifest)[0].name == default_program);
  manifest.programs = {{"inspect", {"--check"}}};
  REQUIRE(programs_of(manifest).size() == 1);
  CHECK(programs_of(manifest)[0].name == "inspect");
}

TEST_CASE("arguments, output and exit code are passed on, and looks come while it runs") {
  const TemporaryFolder folder;
  const std::string release = release_with(folder, "echo \"$2\"; sleep 1; exit 6");
  int looks = 0;
  const auto test = run_program(release, default_program, {"run", "an image.png"},
                                uptime_ms() + 60000, [&] { ++looks; });
  REQUIRE(code_of(test) == "ok");
  CHECK(test->report == "an image.png\n");
  CHECK(test->exit == 6);
  CHECK(test->stop.empty());
  CHECK(looks >= 5);
}

TEST_CASE("a program that takes too long is killed, one that is not there is told") {
  const TemporaryFolder folder;
  const auto slow = run(release_with(folder, "exec sleep 60"), {"selftest"}, 1);
  REQUIRE(code_of(slow) == "ok");
  CHECK(slow->exit == 128 + SIGTERM);
  CHECK(slow->stop == "took too long");
  const int64_t start = uptime_ms();
  const auto deaf =
      run(release_with(folder, "trap '' TERM; exec >&- 2>&-; while :; do sleep 1; done"),
          {"selftest"}, 1);
  CHECK(deaf->exit == 128 + SIGKILL);
  CHECK(deaf->stop == "took too long");
  CHECK(uptime_ms() - start < 5000);
  const std::string note = folder.path("late");
  const auto left =
      run(release_with(folder, "(sleep 1; echo x > " + note + ") & exit 0"), {"selftest"}, 60);
  CHECK(left->exit == 0);
  CHECK(left->stop.empty());
  sleep(2);
  CHECK(access(note.c_str(), F_OK) != 0);
  const auto absent = run(folder.path("nowhere"), {"selftest"}, 60);
  REQUIRE(code_of(absent) == "ok");
  CHECK(absent->exit == 127);
}

TEST_CASE("after its deadline a program is not started") {
  const TemporaryFolder folder;
  const std::string note = folder.path("started");
  const auto late = run(release_with(folder, "echo x > " + note), {"selftest"}, 0);
  REQUIRE(code_of(late) == "ok");
  CHECK(late->stop == "took too long");
  CHECK(late->exit == 128 + SIGTERM);
  CHECK(access(note.c_str(), F_OK) != 0);
}
