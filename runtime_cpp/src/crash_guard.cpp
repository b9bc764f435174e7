#include "edge/crash_guard.hpp"

#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdint>
#include <cstring>

#include "common/document.hpp"
#include "edge/crash_file.hpp"

namespace edge {
namespace {

/// All that the signal handler may touch: prepared beforehand, because it must not allocate.
struct Prepared {
  char json[4096];     // the document, up to where "detail" goes
  char message[2048];  // for people, up to where the detail goes
  char next[512];      // for people
  int exit;
};

Prepared prepared;
std::string command_name;
int people = STDERR_FILENO;  // the real standard error
int held_back = -1;          // a memory file that stands in for it
std::atomic_flag crashed = ATOMIC_FLAG_INIT;

void copy_text(char* to, size_t room, const std::string& text) {
  const size_t length = text.size() < room ? text.size() : room - 1;
  std::memcpy(to, text.data(), length);
  to[length] = '\0';
}

/// The document without its closing "}}\n": the handler adds the detail and closes it.
std::string open_document(const Error& error) {
  Document document(command_name);
  set_error(document.top(), error);
  const std::string text = document.text();
  return text.size() > 3 ? text.substr(0, text.size() - 3) : text;
}

void prepare(const Error& error) {
  Error short_error = error;
  if (short_error.subject.size() > 512) short_error.subject.resize(512);
  prepared.exit = static_cast<int>(error.exit);
  copy_text(prepared.json, sizeof prepared.json, open_document(short_error));
  copy_text(prepared.message, sizeof prepared.message, short_error.message());
  copy_text(prepared.next, sizeof prepared.next, error.next);
}

Error bug() {
  return {Exit::bug, "bug", "edge-infer", "stopped by a fatal signal",
          "report it with the command line and --debug's output"};
}

// From here to the handler: only what is safe inside a signal handler.

void put(int fd, const char* text) {
  size_t left = std::strlen(text);
  while (left > 0) {
    const ssize_t written = write(fd, text, left);
    if (written <= 0) return;
    text += written;
    left -= static_cast<size_t>(written);
  }
}

const char* signal_name(int signal) {
  switch (signal) {
    case SIGABRT:
      return "SIGABRT";
    case SIGSEGV:
      return "SIGSEGV";
    case SIGBUS:
      return "SIGBUS";
    case SIGFPE:
      return "SIGFPE";
    default:
      return "a signal";
  }
}

/// The end of what libraries printed, made safe for a JSON string.
void read_last_words(char* text, size_t room) {
  const off_t size = held_back >= 0 ? lseek(held_back, 0, SEEK_END) : 0;
  const off_t wanted = static_cast<off_t>(room) - 1;
  const ssize_t got =
      size > 0 ? pread(held_back, text, room - 1, size > wanted ? size - wanted : 0) : 0;
  size_t length = 0;
  for (ssize_t i = 0; i < got; ++i) {
    const char c = text[i];
    const bool plain = c >= ' ' && c <= '~';
    text[length++] = !plain ? ' ' : c == '"' ? '\'' : c == '\\' ? '/' : c;
  }
  while (length > 0 && text[length - 1] == ' ') --length;
  text[length] = '\0';
}

void on_fatal_signal(int signal, siginfo_t* info, void* context) {
  while (crashed.test_and_set()) pause();  // another thread is at it already
  char words[600];
  read_last_words(words, sizeof words);
  const char* separator = words[0] != '\0' ? ": " : "";
  for (const char* part : {static_cast<const char*>(prepared.message), "\n  ", signal_name(signal),
                           separator, static_cast<const char*>(words),
                           "\nnext: ", static_cast<const char*>(prepared.next), "\n"}) {
    put(people, part);
  }
  for (const char* part :
       {static_cast<const char*>(prepared.json), ",\"detail\":\"", signal_name(signal), separator,
        static_cast<const char*>(words), "\"}}\n"}) {
    put(STDOUT_FILENO, part);
  }
  write_crash_file(command_name.c_str(), signal, *info, context, held_back);
  _exit(prepared.exit);
}

// From here to the end of its handler SIGILL's own guard. It is there before any initialiser runs,
// so it has nothing of what `install_crash_guard` prepares, and takes no atomics, which may be what
// the CPU lacks.

/// What this program was compiled for, and where Linux tells whether the CPU has it.
struct Requirement {
  const char* name;
  unsigned long vector;  // entry of the auxiliary vector
  unsigned long flags;   // of which the CPU has one at least
};

constexpr Requirement requirements[] = {
#if defined(__aarch64__)
    {"asimd", AT_HWCAP, HWCAP_ASIMD},
#elif defined(__arm__)
    {"neon", AT_HWCAP, HWCAP_ARM_NEON},
#ifdef __ARM_FEATURE_FMA
    {"vfpv4", AT_HWCAP, HWCAP_ARM_VFPv4},
#endif
#ifdef __ARM_FEATURE_IDIV
    {"idiv", AT_HWCAP, HWCAP_ARM_IDIVA | HWCAP_ARM_IDIVT},
#endif
#if __ARM_ARCH >= 8
    {"armv8", AT_PLATFORM, 0},  // Linux has no flag for it, but a name: v8l
#endif
#endif
    {nullptr, 0, 0}};

bool is_met(const Requirement& requirement) {
  const unsigned long value = getauxval(requirement.vector);
  if (requirement.vector != AT_PLATFORM) return (value & requirement.flags) != 0;
  const char* platform = reinterpret_cast<const char*>(value);
  return platform != nullptr && std::strncmp(platform, "v8", 2) == 0;
}

void put_requirements(int fd, bool only_missing) {
  bool any = false;
  for (const Requirement* one = requirements; one->name != nullptr; ++one) {
    if (only_missing && is_met(*one)) continue;
    put(fd, " ");
    put(fd, one->name);
    any = true;
  }
  if (!any) put(fd, only_missing ? " nothing of it, by HWCAP" : " any CPU of its kind");
}

void put_illegal(int fd, const void* address) {
  char digits[2 * sizeof(uintptr_t) + 1] = {};
  auto rest = reinterpret_cast<uintptr_t>(address);
  for (size_t at = sizeof digits - 1; at-- > 0; rest >>= 4)
    digits[at] = "0123456789abcdef"[rest & 15];
  put(fd, "SIGILL at 0x");
  put(fd, digits);
  put(fd, "; built for");
  put_requirements(fd, false);
  put(fd, "; this CPU lacks");
  put_requirements(fd, true);
}

constexpr const char* illegal_message =
    "edge-infer: takes an instruction that this CPU does not have";
constexpr const char* illegal_next = "build it for the board's own profile: invoke boards";
char illegal_command[16];  // empty before main

void on_illegal_instruction(int number, siginfo_t* signal, void* context) {
  put(people, illegal_message);
  put(people, "\n  ");
  put_illegal(people, signal->si_addr);
  put(people, "\nnext: ");
  put(people, illegal_next);
  put(people, "\n");
  for (const char* part :
       {"{\"version\":1,\"command\":\"", static_cast<const char*>(illegal_command),
        "\",\"error\":{\"code\":\"cpu_unfit\",\"message\":\"", illegal_message, "\",\"next\":\"",
        illegal_next, "\",\"detail\":\""}) {
    put(STDOUT_FILENO, part);
  }
  put_illegal(STDOUT_FILENO, signal->si_addr);
  put(STDOUT_FILENO, "\"}}\n");
  // Last, as it may take what the CPU lacks; before `main` nothing is kept.
  write_crash_file(illegal_command, number, *signal, context, held_back);
  _exit(static_cast<int>(Exit::cpu));
}

void guard_instructions() {
  struct sigaction action{};
  action.sa_sigaction = on_illegal_instruction;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigaction(SIGILL, &action, nullptr);
}

// Before the initialisers of every library: one of those may be what takes the instruction.
__attribute__((section(".preinit_array"), used)) void (*const guard_first)() = guard_instructions;

void hold_back_standard_error() {
  held_back = memfd_create("stderr", MFD_CLOEXEC);
  if (held_back < 0) return;  // an old kernel: then libraries' words go to people directly
  people = dup(STDERR_FILENO);
  dup2(held_back, STDERR_FILENO);
}

}  // namespace

void install_crash_guard(const std::string& command) {
  command_name = command;
  copy_text(illegal_command, sizeof illegal_command, command);
  prepare(bug());
  hold_back_standard_error();
  static char stack[32768];  // a signal for lack of stack needs another one
  stack_t alternative{};
  alternative.ss_sp = stack;
  alternative.ss_size = sizeof stack;
  sigaltstack(&alternative, nullptr);
  guard_instructions();  // an initialiser may have taken the signal since
  struct sigaction action{};
  action.sa_sigaction = on_fatal_signal;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  // A fault of the handler's own ends the process; its end must not wait for itself.
  sigfillset(&action.sa_mask);
  sigdelset(&action.sa_mask, SIGALRM);
  for (const int signal : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE}) {
    sigaction(signal, &action, nullptr);
  }
}

void tell(const std::string& text) {
  put(people, text.c_str());
}

Blame::Blame(const Error& error) {
  prepare(error);
}

Blame::~Blame() {
  prepare(bug());
}

}  // namespace edge
