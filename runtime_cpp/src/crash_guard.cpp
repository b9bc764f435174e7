#include "edge/crash_guard.hpp"

#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstring>

#include "common/document.hpp"

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
    case SIGILL:
      return "SIGILL, an instruction this CPU does not have";
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

void on_fatal_signal(int signal) {
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
  _exit(prepared.exit);
}

void hold_back_standard_error() {
  held_back = memfd_create("stderr", MFD_CLOEXEC);
  if (held_back < 0) return;  // an old kernel: then libraries' words go to people directly
  people = dup(STDERR_FILENO);
  dup2(held_back, STDERR_FILENO);
}

}  // namespace

void install_crash_guard(const std::string& command) {
  command_name = command;
  prepare(bug());
  hold_back_standard_error();
  static char stack[32768];  // a signal for lack of stack needs another one
  stack_t alternative{};
  alternative.ss_sp = stack;
  alternative.ss_size = sizeof stack;
  sigaltstack(&alternative, nullptr);
  struct sigaction action{};
  action.sa_handler = on_fatal_signal;
  action.sa_flags = SA_ONSTACK;
  for (const int signal : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL}) {
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
