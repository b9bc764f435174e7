#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "edge/crash_guard.hpp"
#include "support.hpp"

using namespace edge;

namespace {

/// What a crashed process left behind.
struct Remains {
  int exit_code;
  std::string out, err;
};

/// Runs `body` under the guard in a child process.
Remains remains_of(void (*body)()) {
  const TemporaryFolder folder;
  const std::string out = folder.path("out"), err = folder.path("err");
  const pid_t child = fork();
  if (child == 0) {
    dup2(open(out.c_str(), O_WRONLY | O_CREAT, 0600), STDOUT_FILENO);
    dup2(open(err.c_str(), O_WRONLY | O_CREAT, 0600), STDERR_FILENO);
    for (const int signal : {SIGABRT, SIGSEGV, SIGBUS}) std::signal(signal, SIG_DFL);
    install_crash_guard("run");
    body();
    _exit(99);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, content_of(out), content_of(err)};
}

Error model_fault() {
  return {Exit::model, "model_crashed", "m.ort", "crashed", "use another"};
}

void abort_as_the_runtime_does() {
  const Blame blame(model_fault());
  std::fprintf(stderr, "ORT says: \"no kernel\" in C:\\path\n");
  std::abort();
}

void abort_on_another_thread() {
  const Blame blame(model_fault());
  std::thread([] { std::abort(); }).join();
}

int fill_the_stack(int depth) {
  volatile char frame[4096] = {};
  frame[depth % 4096] = 1;
  return depth == 0 ? 0 : fill_the_stack(depth - 1) + frame[0];
}

void overflow_the_stack() {
  const Blame blame(model_fault());
  _exit(fill_the_stack(1000000));
}

void take_an_instruction_that_no_cpu_has() {
  const Blame blame(model_fault());
#if defined(__x86_64__) || defined(__i386__)
  __asm__ volatile("ud2");
#else
  __asm__ volatile(".inst 0x00000000");
#endif
}

void abort_outside_of_any_blame() {
  {
    const Blame blame(model_fault());
  }
  std::abort();
}

}  // namespace

TEST_CASE("an abort in the runtime becomes one message, one document and the model's exit code") {
  const Remains remains = remains_of(abort_as_the_runtime_does);
  CHECK(remains.exit_code == 4);
  CHECK(remains.err ==
        "m.ort: crashed\n"
        "  SIGABRT: ORT says: 'no kernel' in C:/path\n"
        "next: use another\n");
  CHECK(remains.out ==
        "{\"version\":1,\"command\":\"run\",\"error\":{\"code\":\"model_crashed\","
        "\"message\":\"m.ort: crashed\",\"next\":\"use another\","
        "\"detail\":\"SIGABRT: ORT says: 'no kernel' in C:/path\"}}\n");
}

TEST_CASE("a crash of the runtime's own threads is caught too") {
  CHECK(remains_of(abort_on_another_thread).exit_code == 4);
}

TEST_CASE("a stack that runs over is told, too") {
  const Remains remains = remains_of(overflow_the_stack);
  CHECK(remains.exit_code == 4);
  CHECK(contains(remains.err, "SIGSEGV"));
}

TEST_CASE("a crash that is nobody else's fault is a bug") {
  const Remains remains = remains_of(abort_outside_of_any_blame);
  CHECK(remains.exit_code == 1);
  CHECK(contains(remains.out, "\"code\":\"bug\""));
}

TEST_CASE("an instruction that the CPU lacks is the CPU's, not the model's") {
  const Remains remains = remains_of(take_an_instruction_that_no_cpu_has);
  CHECK(remains.exit_code == 7);
  CHECK(contains(remains.err, "edge-infer: takes an instruction that this CPU does not have\n"));
  CHECK(contains(remains.err, "  SIGILL at 0x"));
  CHECK(contains(remains.out,
                 "{\"version\":1,\"command\":\"run\",\"error\":{\"code\":\"cpu_unfit\","));
  CHECK(contains(remains.out, "; this CPU lacks nothing of it, by HWCAP\"}}\n"));
}
