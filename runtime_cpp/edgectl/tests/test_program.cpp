#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <fstream>

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

std::string text_of_file(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// A deadline.
int64_t in_s(int64_t seconds) {
  return uptime_ms() + seconds * 1000;
}

Result<Ended> run(const std::string& release, const std::vector<std::string>& arguments,
                  int64_t timeout_s) {
  return run_program(release, default_program, arguments, {in_s(timeout_s)}, [] {});
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
  const auto test =
      run_program(release, default_program, {"run", "an image.png"}, {in_s(60)}, [&] { ++looks; });
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

TEST_CASE("a program that takes more memory than it may is ended, and one within it is not") {
  const TemporaryFolder folder;
  // The shell's own variable grows by 4 MiB a turn; a modest one stays below 4 MiB.
  const std::string grows = "x=$(head -c 4194304 /dev/zero | tr '\\0' x); while :; do y=$y$x; done";
  const auto greedy = run_program(release_with(folder, grows), default_program, {"shadow"},
                                  {in_s(60), 64, true}, [] {});
  REQUIRE(code_of(greedy) == "ok");
  CHECK(greedy->stop == "took more than 64 MiB of memory");
  CHECK(greedy->exit == 128 + SIGTERM);
  const auto modest = run_program(release_with(folder, "sleep 1; echo well"), default_program,
                                  {"shadow"}, {in_s(60), 64, true}, [] {});
  REQUIRE(code_of(modest) == "ok");
  CHECK(modest->stop.empty());
  CHECK(modest->report == "well\n");
}

TEST_CASE("the memory of the processes that a program starts counts, too") {
  const TemporaryFolder folder;
  const std::string grows = "x=$(head -c 4194304 /dev/zero | tr '\\0' x); while :; do y=$y$x; done";
  const auto greedy = run_program(release_with(folder, "( " + grows + " ) & wait"), default_program,
                                  {"shadow"}, {in_s(60), 64, true}, [] {});
  REQUIRE(code_of(greedy) == "ok");
  CHECK(greedy->stop == "took more than 64 MiB of memory");
}

TEST_CASE("what gives way has the least priority, and goes first where memory is short") {
  const TemporaryFolder folder;
  const std::string tell = "cut -d ' ' -f 19 /proc/self/stat; cat /proc/self/oom_score_adj";
  const auto shadow = run_program(release_with(folder, tell), default_program, {"shadow"},
                                  {in_s(60), 0, true}, [] {});
  REQUIRE(code_of(shadow) == "ok");
  CHECK(shadow->report == "19\n1000\n");
  const auto test = run(release_with(folder, tell), {"selftest"}, 60);
  const std::string score = text_of_file("/proc/self/oom_score_adj");
  CHECK(test->report == format("%d\n", getpriority(PRIO_PROCESS, 0)) + score);
}

TEST_CASE("a program that gives way is in a session of its own, and ours keeps its priority") {
  const TemporaryFolder folder;
  const std::string former = text_of_file("/proc/self/autogroup");  // empty where there are none
  const std::string tell = "echo $$; cut -d ' ' -f 6 /proc/self/stat";
  const auto shadow = run_program(release_with(folder, tell), default_program, {"shadow"},
                                  {in_s(60), 0, true}, [] {});
  REQUIRE(code_of(shadow) == "ok");
  const size_t line_end = shadow->report.find('\n');
  REQUIRE(line_end != std::string::npos);
  CHECK(shadow->report.substr(0, line_end + 1) == shadow->report.substr(line_end + 1));
  CHECK(text_of_file("/proc/self/autogroup") == former);
}
