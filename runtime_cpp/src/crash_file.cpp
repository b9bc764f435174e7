#include "edge/crash_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <vector>

#include "edge/about.hpp"
#include "edge/deploy_root.hpp"
#include "edge/file.hpp"
#include "edge/stack_dump.hpp"

namespace edge {
namespace {

constexpr size_t most_files = 8;
// A service that ends again and again would wear out the board's flash.
constexpr time_t seconds_between = 600;  // once there are `most_files`
constexpr size_t other_stack_bytes = 4 << 10;
constexpr size_t most_threads = 16;
constexpr size_t log_bytes = 2048;
constexpr unsigned most_seconds = 5;
constexpr const char* crashes = "crashes";  // folder of the deploy root
constexpr const char* suffix = ".crash";

/// What the handler needs, prepared beforehand.
struct Place {
  int folder = -1;
  unsigned number = 1;  // of the next file
  size_t count = 0;     // of the files that were there
  unsigned oldest = 0;
  char release[17] = {};
  char build[41] = {};
};

Place place;

unsigned number_of(const char* name) {
  char* end = nullptr;
  const unsigned long number = std::strtoul(name, &end, 10);
  return number < 1000000000 && std::strcmp(end, suffix) == 0 ? static_cast<unsigned>(number) : 0;
}

/// "000000012.crash"
void write_name(unsigned number, char (&name)[16]) {
  for (size_t at = 9; at-- > 0; number /= 10) name[at] = static_cast<char>('0' + number % 10);
  std::memcpy(name + 9, suffix, 7);
}

/// Those of the files that are there, in order.
std::vector<unsigned> numbers_in(int folder) {
  std::vector<unsigned> numbers;
  for (const std::string& name : names_in(folder)) {
    if (const unsigned number = number_of(name.c_str())) numbers.push_back(number);
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

// From here on: only what is safe inside a signal handler.

Registers stopped_registers;
volatile std::sig_atomic_t has_stopped = 0;

/// Holds a thread where it is; the process ends soon.
void stop(int, siginfo_t*, void* context) {
  read_registers(context, stopped_registers);
  has_stopped = 1;
  for (;;) pause();
}

/// Asks a thread for its registers; false if it does not answer within 20 ms.
bool stop_thread(long id) {
  has_stopped = 0;
  if (syscall(SYS_tgkill, getpid(), id, SIGUSR2) != 0) return false;
  const timespec moment{0, 1000 * 1000};
  for (int waits = 0; waits < 20 && has_stopped == 0; ++waits) nanosleep(&moment, nullptr);
  return has_stopped != 0;
}

/// `struct dirent` of getdents64, whose names are thread ids here; opendir would allocate.
struct Entry {
  uint64_t inode;
  int64_t next;
  unsigned short length;
  unsigned char type;
  char name[1];
};

void write_other_threads(Sink& sink, const Memory& memory, long own) {
  struct sigaction action{};
  action.sa_sigaction = stop;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGUSR2, &action, nullptr);
  const int tasks = open("/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  alignas(Entry) char block[1024];  // some 30 threads; the rest is left out
  const long size = tasks >= 0 ? syscall(SYS_getdents64, tasks, block, sizeof block) : 0;
  size_t count = 0;
  for (long at = 0; at < size && count < most_threads;) {
    const auto* entry = reinterpret_cast<const Entry*>(block + at);
    at += entry->length;
    long id = 0;
    for (const char* c = entry->name; *c >= '0' && *c <= '9'; ++c) id = id * 10 + (*c - '0');
    if (id == 0 || id == own || !stop_thread(id)) continue;
    write_thread(sink, memory, static_cast<uint64_t>(id), stopped_registers, other_stack_bytes);
    ++count;
  }
  if (tasks >= 0) close(tasks);
}

void write_log(Sink& sink, int log) {
  const off_t size = log >= 0 ? lseek(log, 0, SEEK_END) : 0;
  const off_t wanted = log_bytes;
  static char words[log_bytes];
  ssize_t length = size > 0 ? pread(log, words, log_bytes, size > wanted ? size - wanted : 0) : 0;
  if (length > 0 && words[length - 1] == '\n') --length;
  sink.text(length > 0 ? "log\n| " : "log\n");
  for (ssize_t i = 0; i < length; ++i) {
    const bool is_plain = words[i] >= ' ' && words[i] <= '~';
    if (words[i] == '\n') {
      sink.text("\n| ");
    } else {
      sink.put(is_plain ? words[i] : '?');
    }
  }
  if (length > 0) sink.put('\n');
}

void write_cause(Sink& sink, int signal, const siginfo_t& info) {
  sink.text("signal ");
  sink.decimal(static_cast<uint64_t>(signal));
  sink.text(" code ");
  sink.decimal(static_cast<uint64_t>(info.si_code > 0 ? info.si_code : 0));  // 0: a process sent it
  sink.text(" address ");
  sink.hex(info.si_code > 0 ? reinterpret_cast<uintptr_t>(info.si_addr) : 0);
  timespec wall{}, up{};
  clock_gettime(CLOCK_REALTIME, &wall);
  clock_gettime(CLOCK_BOOTTIME, &up);
  sink.text("\ntime ");
  sink.decimal(static_cast<uint64_t>(wall.tv_sec));
  sink.text(" uptime ");
  sink.decimal(static_cast<uint64_t>(up.tv_sec));
  sink.put('\n');
}

/// Another one so soon after the last tells nothing new.
bool is_too_soon() {
  char name[16];
  write_name(place.number - 1, name);
  struct stat newest{};
  if (place.count < most_files || fstatat(place.folder, name, &newest, AT_SYMLINK_NOFOLLOW) != 0)
    return false;
  const time_t age = time(nullptr) - newest.st_mtime;
  return age >= 0 && age < seconds_between;
}

/// A new file; another process may have taken the number meanwhile.
int open_file(char (&name)[16]) {
  int file = -1;
  for (unsigned tries = 0; tries < most_files && file < 0; ++tries) {
    write_name(place.number + tries, name);
    const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    file = openat(place.folder, name, flags, 0600);
  }
  return file;
}

}  // namespace

void keep_crashes(const std::string& release) {
  const std::string id = release.substr(release.find_last_of('/') + 1);
  if (id.size() >= sizeof place.release) return;
  const int folder = open_in_deploy_root(release, crashes);
  if (folder < 0) return;
  auto numbers = numbers_in(folder);
  while (numbers.size() > most_files) {
    char name[16];
    write_name(numbers.front(), name);
    unlinkat(folder, name, 0);
    numbers.erase(numbers.begin());
  }
  place.count = numbers.size();
  if (!numbers.empty()) {
    place.oldest = numbers.front();
    place.number = numbers.back() + 1;
  }
  std::strncpy(place.release, id.c_str(), sizeof place.release - 1);
  std::strncpy(place.build, build_id().c_str(), sizeof place.build - 1);
  place.folder = folder;
}

int crash_folder() {
  return place.folder;
}

void write_crash_file(const char* command, int signal, const siginfo_t& info, const void* context,
                      int log) {
  if (place.folder < 0 || is_too_soon()) return;
  std::signal(SIGALRM, SIG_DFL);
  alarm(most_seconds);  // storage may hang, and the service is to start again
  char name[16], oldest[16];
  const int file = open_file(name);
  if (file < 0) return;
  Registers registers;
  read_registers(context, registers);
  Sink sink(file);
  sink.text("edgewright crash 1\n");
  sink.pair("machine", machine);
  sink.pair("command", command);
  sink.pair("release", place.release);
  sink.pair("build-id", place.build);
  write_cause(sink, signal, info);
  const Memory memory;
  const long own = syscall(SYS_gettid);
  write_thread(sink, memory, static_cast<uint64_t>(own), registers, stack_bytes);
  write_other_threads(sink, memory, own);
  write_mappings(sink);
  write_log(sink, log);
  sink.text("end\n");
  if (!sink.flush()) {
    unlinkat(place.folder, name, 0);  // a full disk: half of a file would only fill it
  } else if (place.count >= most_files) {
    write_name(place.oldest, oldest);
    unlinkat(place.folder, oldest, 0);
  }
}

}  // namespace edge
