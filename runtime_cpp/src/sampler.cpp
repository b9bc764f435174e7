#include "edge/sampler.hpp"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <ctime>

#include "common/text.hpp"
#include "edge/about.hpp"
#include "edge/crash_file.hpp"
#include "edge/stack_dump.hpp"

namespace edge {
namespace {

constexpr suseconds_t interval_us = 10000;
constexpr size_t main_bytes = 1024;            // of main's own frame, for the call that it is in
constexpr size_t other_stack_bytes = 8 << 10;  // measured: 2 KiB lead to a worker's first function

constexpr const char* fifo_name = "samples";
constexpr int fifo_bytes = 1 << 20;   // as many as a user may ask for
constexpr int most_bytes = 64 << 10;  // of one sample, more than any has

int file = -1;
int room = 0;  // bytes that the FIFO holds; 0: it is another kind of file, which may make us wait
uintptr_t main_stack = 0;
std::optional<Memory> memory;
std::atomic_flag writing = ATOMIC_FLAG_INIT;
std::atomic<unsigned> dropped{0};
std::atomic<bool> is_over{false};  // nobody reads any more

void set_timer(suseconds_t us) {
  const itimerval timer{{0, us}, {0, us}};
  setitimer(ITIMER_PROF, &timer, nullptr);
}

/// How much of the stack leads to `main`, or all that may lead to a thread's first function.
size_t depth(const Registers& registers, long thread) {
  const uintptr_t top = registers[stack_register];
  const bool is_main = thread == getpid() && top < main_stack;
  return is_main ? std::min<size_t>(main_stack - top, stack_bytes) : other_stack_bytes;
}

/// Whether a sample can be written without waiting for its reader.
bool has_room() {
  int waiting = 0;
  return room == 0 || (ioctl(file, FIONREAD, &waiting) == 0 && waiting <= room - most_bytes);
}

void on_sample(int, siginfo_t*, void* context) {
  const int error = errno;
  if (writing.test_and_set(std::memory_order_acquire)) {
    ++dropped;  // another thread's is being written
  } else if (!has_room()) {
    ++dropped;
    writing.clear(std::memory_order_release);
  } else {
    Registers registers;
    read_registers(context, registers);
    const long thread = syscall(SYS_gettid);
    Sink sink(file);
    write_thread(sink, *memory, static_cast<uint64_t>(thread), registers, depth(registers, thread));
    if (!sink.flush()) {
      set_timer(0);
      is_over = true;
    }
    writing.clear(std::memory_order_release);
  }
  errno = error;
}

void start(int descriptor, const std::string& command) {
  file = descriptor;
  dropped = 0;
  if (!memory) memory.emplace();
  Sink sink(file);
  sink.text("edgewright profile 1\n");
  sink.pair("machine", machine);
  sink.pair("command", command.c_str());
  sink.pair("build-id", build_id().c_str());
  sink.text("interval ");
  sink.decimal(interval_us);
  sink.put('\n');
  write_mappings(sink);
  is_over = !sink.flush();
  if (is_over) return;
  struct sigaction action{};
  action.sa_sigaction = on_sample;
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  sigaction(SIGPROF, &action, nullptr);
  set_timer(interval_us);
}

/// The FIFO, if somebody reads it; else -1.
int open_fifo() {
  const int flags = O_WRONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC;
  const int fifo = openat(crash_folder(), fifo_name, flags);
  struct stat status{};
  if (fifo < 0 || (fstat(fifo, &status) == 0 && S_ISFIFO(status.st_mode))) return fifo;
  close(fifo);
  return -1;
}

}  // namespace

void mark_main() {
  main_stack = reinterpret_cast<uintptr_t>(__builtin_frame_address(0)) + main_bytes;
}

std::optional<Error> start_samples(int descriptor, const std::string& command) {
  if (fcntl(descriptor, F_GETFD) < 0) {
    return Error{Exit::usage, "usage", "--samples", format("descriptor %d is not open", descriptor),
                 "e.g. --samples 3 3>samples"};
  }
  start(descriptor, command);
  return std::nullopt;
}

void sample_for_reader(const std::string& command) {
  if (is_over) end_samples();
  if (file >= 0 || crash_folder() < 0) return;
  const int fifo = open_fifo();
  if (fifo < 0) return;
  fcntl(fifo, F_SETPIPE_SZ, fifo_bytes);
  room = fcntl(fifo, F_GETPIPE_SZ);
  start(fifo, command);
}

void end_samples() {
  if (file < 0) return;
  set_timer(0);
  std::signal(SIGPROF, SIG_IGN);
  while (writing.test_and_set(std::memory_order_acquire)) {  // a thread's last one
    const timespec moment{0, 1000 * 1000};
    nanosleep(&moment, nullptr);
  }
  Sink sink(file);
  sink.text("end ");
  sink.decimal(dropped);
  sink.put('\n');
  sink.flush();
  close(file);
  file = -1;
  is_over = false;
  writing.clear(std::memory_order_release);
}

}  // namespace edge
