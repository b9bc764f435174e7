#include "edge/crash_file.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <vector>

#include "edge/about.hpp"

namespace edge {
namespace {

constexpr size_t most_files = 8;
// A service that ends again and again would wear out the board's flash.
constexpr time_t seconds_between = 600;  // once there are `most_files`
constexpr size_t line_bytes = 64;        // of a stack, so that no line crosses a page
constexpr size_t stack_bytes = 24 << 10;
constexpr size_t other_stack_bytes = 4 << 10;
constexpr size_t page_bytes = 4096;
constexpr size_t unreadable_pages = 16;  // below a stack that ran over
constexpr size_t most_threads = 16;
constexpr size_t most_mappings = 64;
constexpr size_t log_bytes = 2048;
constexpr unsigned most_seconds = 5;
constexpr const char* suffix = ".crash";

#if defined(__aarch64__)
constexpr const char* machine = "aarch64";
constexpr size_t register_count = 33;  // x0 to x30, sp, pc
constexpr size_t stack_register = 31;
#elif defined(__arm__)
constexpr const char* machine = "arm";
constexpr size_t register_count = 17;  // r0 to r15, cpsr
constexpr size_t stack_register = 13;
#else  // of the machine that runs the tests
constexpr const char* machine = "x86_64";
constexpr size_t register_count = 17;  // in DWARF's order, rip last
constexpr size_t stack_register = 7;
#endif

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
std::string folder_path;

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
  const int handle = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR* listing = handle >= 0 ? fdopendir(handle) : nullptr;
  while (const dirent* entry = listing != nullptr ? readdir(listing) : nullptr) {
    if (const unsigned number = number_of(entry->d_name)) numbers.push_back(number);
  }
  if (listing != nullptr) closedir(listing);
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

/// Whether `release` lies in the folder `releases` of a deploy root.
bool is_deployed(int release) {
  struct stat above{}, releases{};
  return fstatat(release, "..", &above, 0) == 0 &&
         fstatat(release, "../../releases", &releases, AT_SYMLINK_NOFOLLOW) == 0 &&
         above.st_dev == releases.st_dev && above.st_ino == releases.st_ino;
}

// From here on: only what is safe inside a signal handler.

/// A file that is written block by block.
class Sink {
 public:
  explicit Sink(int file) : file_(file) {}

  void text(const char* text) {
    for (; *text != '\0'; ++text) put(*text);
  }
  void put(char c) {
    if (used_ == sizeof block_) flush();
    block_[used_++] = c;
  }
  void hex(uintptr_t value) {
    for (unsigned shift = sizeof value * 8; shift > 0;) {
      shift -= 4;
      digit(value >> shift);
    }
  }
  void bytes(const uint8_t* bytes, size_t count) {
    for (size_t i = 0; i < count; ++i) {
      digit(bytes[i] >> 4);
      digit(bytes[i]);
    }
  }
  void decimal(uint64_t value) {
    char digits[21] = {};
    size_t at = sizeof digits - 1;
    do digits[--at] = static_cast<char>('0' + value % 10);
    while ((value /= 10) != 0);
    text(digits + at);
  }
  /// False if anything could not be written.
  bool flush() {
    if (write(file_, block_, used_) != static_cast<ssize_t>(used_)) is_whole_ = false;
    used_ = 0;
    return is_whole_;
  }

 private:
  void digit(uintptr_t value) { put("0123456789abcdef"[value & 15]); }

  int file_;
  size_t used_ = 0;
  bool is_whole_ = true;
  char block_[512];
};

using Registers = uintptr_t[register_count];

void read_registers(const void* context, Registers& registers) {
  const auto& machine_context = static_cast<const ucontext_t*>(context)->uc_mcontext;
#if defined(__aarch64__)
  for (size_t i = 0; i < 31; ++i) registers[i] = machine_context.regs[i];
  registers[31] = machine_context.sp;
  registers[32] = machine_context.pc;
#elif defined(__arm__)
  // r0 to r15 and cpsr follow each other there.
  std::memcpy(registers, &machine_context.arm_r0, sizeof registers);
#else
  constexpr int order[] = {REG_RAX, REG_RDX, REG_RCX, REG_RBX, REG_RSI, REG_RDI,
                           REG_RBP, REG_RSP, REG_R8,  REG_R9,  REG_R10, REG_R11,
                           REG_R12, REG_R13, REG_R14, REG_R15, REG_RIP};
  for (size_t i = 0; i < register_count; ++i)
    registers[i] = static_cast<uintptr_t>(machine_context.gregs[order[i]]);
#endif
}

/// Reads memory that may not be there: for a pipe the kernel looks first.
class Memory {
 public:
  Memory() {
    if (pipe2(ends_, O_CLOEXEC) != 0) ends_[0] = ends_[1] = -1;
  }
  bool read_line(uintptr_t address, uint8_t (&line)[line_bytes]) const {
    return write(ends_[1], reinterpret_cast<const void*>(address), line_bytes) == line_bytes &&
           read(ends_[0], line, line_bytes) == line_bytes;
  }

 private:
  int ends_[2];
};

void write_stack(Sink& sink, const Memory& memory, uintptr_t top, size_t most) {
  uint8_t line[line_bytes];
  uintptr_t at = top & ~(line_bytes - 1);
  for (size_t page = 0; page < unreadable_pages && !memory.read_line(at, line); ++page)
    at = (at & ~(page_bytes - 1)) + page_bytes;
  sink.text("stack ");
  sink.hex(at);
  sink.put('\n');
  for (size_t done = 0; done < most; done += line_bytes) {
    if (!memory.read_line(at + done, line)) break;
    sink.bytes(line, line_bytes);
    sink.put('\n');
  }
}

void write_thread(Sink& sink, const Memory& memory, uint64_t id, const Registers& registers,
                  size_t most) {
  sink.text("thread ");
  sink.decimal(id);
  sink.text("\nregisters");
  for (const uintptr_t value : registers) {
    sink.put(' ');
    sink.hex(value);
  }
  sink.put('\n');
  write_stack(sink, memory, registers[stack_register], most);
}

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

/// Lines of /proc/self/maps with code.
void write_mappings(Sink& sink) {
  sink.text("maps\n");
  const int maps = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
  char line[256], block[512];
  size_t length = 0, count = 0;
  ssize_t got = 0;
  while (maps >= 0 && (got = read(maps, block, sizeof block)) > 0) {
    for (ssize_t i = 0; i < got; ++i) {
      if (block[i] != '\n') {
        if (length < sizeof line - 1) line[length++] = block[i];
        continue;
      }
      line[length] = '\0';
      length = 0;
      if (std::strstr(line, " r-xp ") == nullptr || ++count > most_mappings) continue;
      sink.text(line);
      sink.put('\n');
    }
  }
  if (maps >= 0) close(maps);
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

void write_pair(Sink& sink, const char* key, const char* value) {
  sink.text(key);
  sink.put(' ');
  sink.text(value);
  sink.put('\n');
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
  const int at = open(release.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (at < 0) return;
  int folder = -1;
  if (is_deployed(at)) {
    mkdirat(at, "../../crashes", 0700);
    folder = openat(at, "../../crashes", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  }
  close(at);
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
  folder_path = release + "/../../crashes";
  place.folder = folder;
}

std::string crash_folder() {
  return folder_path;
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
  write_pair(sink, "machine", machine);
  write_pair(sink, "command", command);
  write_pair(sink, "release", place.release);
  write_pair(sink, "build-id", place.build);
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
