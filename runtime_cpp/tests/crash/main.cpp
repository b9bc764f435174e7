// A program that crashes at a line that a test knows, below a function without any unwinding
// information, as ONNX Runtime's are. It has the product's own handler, and is no part of it.
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <cstring>

#include "edge/crash_file.hpp"

int through_opaque(int (*call)(int*), int* number);

namespace {

int* volatile nowhere = nullptr;

void on_signal(int signal, siginfo_t* info, void* context) {
  edge::write_crash_file("run", signal, *info, context, -1);
  _exit(1);
}

__attribute__((noipa)) int read_number(int* number) {
  if (getenv("CRASH_BY_ABORT") != nullptr) {
    std::abort();
  }
  return *number + 1;  // the planted null dereference
}

__attribute__((noipa)) int load(int* number) {
  char text[200];
  std::memset(text, *reinterpret_cast<volatile char*>(&number), sizeof text);
  return read_number(nowhere) + text[100];
}

}  // namespace

int main(int, char** argv) {
  edge::keep_crashes(argv[1]);
  struct sigaction action{};
  action.sa_sigaction = on_signal;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGSEGV, &action, nullptr);
  sigaction(SIGABRT, &action, nullptr);
  int number = 0;
  return through_opaque(load, &number) + 1;
}
