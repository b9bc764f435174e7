#include "program.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "board.hpp"

namespace edgectl {
namespace {

constexpr size_t max_report = 1u << 20;  // bytes
constexpr int look_ms = 100;
constexpr const char* too_late = "took too long";
constexpr int64_t grace_ms = 1000;  // from SIGTERM to SIGKILL

void write_word(const char* path, const char* word) {
  const int file = open(path, O_WRONLY | O_CLOEXEC);
  [[maybe_unused]] const ssize_t written = write(file, word, std::strlen(word));
  close(file);
}

/// What the kernel does not offer is left out.
void give_way() {
  setpriority(PRIO_PROCESS, 0, 19);
  // Where the kernel groups processes by session, niceness counts within a session alone.
  write_word("/proc/self/autogroup", "19");
  write_word("/proc/self/oom_score_adj", "1000");
}

/// The start of a file of /proc; empty: it cannot be read, or the process has ended.
std::string proc_text(pid_t process, const char* name) {
  char text[1024] = {};
  const int file = open(format("/proc/%d/%s", process, name).c_str(), O_RDONLY | O_CLOEXEC);
  const ssize_t bytes = read(file, text, sizeof text);
  close(file);
  return {text, static_cast<size_t>(std::max<ssize_t>(bytes, 0))};
}

/// Resident memory of a process; 0 of one that has ended.
uint64_t resident_bytes(pid_t process) {
  const std::string text = proc_text(process, "statm");  // all of its addresses come first
  const size_t second = std::min(text.find(' '), text.size());
  return std::strtoull(text.c_str() + second, nullptr, 10) *
         static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

bool is_of_group(pid_t process, pid_t group) {
  const std::string text = proc_text(process, "stat");  // PID (NAME) STATE PARENT GROUP …
  const size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) return false;
  int parent = 0, its_group = 0;
  std::sscanf(text.c_str() + name_end + 1, " %*c %d %d", &parent, &its_group);
  return its_group == group;
}

/// Memory of a process and of those that it started. A page that several of them have counts once,
/// as forked processes share most. Where the kernel does not say that, it is the first one's alone.
uint64_t group_bytes(pid_t group) {
  uint64_t bytes = 0;
  DIR* listing = opendir("/proc");
  while (const dirent* entry = listing != nullptr ? readdir(listing) : nullptr) {
    const pid_t process = std::atoi(entry->d_name);
    if (process <= 0 || !is_of_group(process, group)) continue;
    const std::string text = proc_text(process, "smaps_rollup");
    const size_t share = text.find("\nPss:");
    if (share != std::string::npos) {
      bytes += std::strtoull(text.c_str() + share + std::strlen("\nPss:"), nullptr, 10) << 10;
    } else if (process == group) {
      bytes += resident_bytes(process);
    }
  }
  if (listing != nullptr) closedir(listing);
  return bytes;
}

[[noreturn]] void become(const std::string& folder, const std::string& program,
                         const std::vector<std::string>& arguments, int output, bool gives_way) {
  std::vector<std::string> words = arguments;
  words.insert(words.begin(), program);
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  setsid();  // a group of its own, and a session, whose niceness is no other process's
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  const int nothing = open("/dev/null", O_RDWR);
  dup2(nothing, STDIN_FILENO);
  dup2(output, STDOUT_FILENO);
  if (gives_way) give_way();
  if (chdir(folder.c_str()) == 0) execv(("bin/" + program).c_str(), argv.data());
  _exit(127);
}

volatile std::sig_atomic_t told_to_end = 0;

void end_soon(int) {
  told_to_end = 1;
}

/// Takes what there is to read at once; false at the end of it.
bool read_some(int input, std::string& report) {
  char block[4096];
  for (;;) {
    const ssize_t bytes = read(input, block, sizeof block);
    if (bytes == 0) return false;
    if (bytes < 0) return errno == EAGAIN || errno == EINTR;
    if (report.size() < max_report) report.append(block, static_cast<size_t>(bytes));
  }
}

/// The other end of our standard output is closed: the deployer, or the line to it, is gone.
bool is_deserted(short events) {
  return (events & (POLLERR | POLLHUP)) != 0;
}

/// The process alone while it has no group yet.
void signal_group(pid_t child, int signal) {
  if (kill(-child, signal) != 0) kill(child, signal);
}

/// Waits for the process, not for its output, which it may close or hand on; returns its status.
int attend(pid_t child, int input, const Bounds& bounds, const std::function<void()>& each_look,
           Ended& end) {
  const uint64_t memory = bounds.memory_mb << 20;
  int status = 0;
  for (;; each_look()) {
    const pid_t ended = waitpid(child, &status, WNOHANG);
    const bool is_open = input >= 0 && read_some(input, end.report);
    if (!is_open) input = -1;
    if (ended == child) return status;
    pollfd waiting[] = {{input, POLLIN, 0}, {STDOUT_FILENO, 0, 0}};
    poll(waiting, 2, look_ms);
    if (uptime_ms() >= bounds.deadline_ms) end.stop = too_late;
    if (memory != 0 && group_bytes(child) > memory) {
      end.stop = format("took more than %llu MiB of memory",
                        static_cast<unsigned long long>(bounds.memory_mb));
    }
    if (is_deserted(waiting[1].revents)) end.stop = "was left alone: nobody waits for it any more";
    if (told_to_end != 0) end.stop = "was ended: another deployer took over";
    if (!end.stop.empty()) break;
  }
  signal_group(child, SIGTERM);
  const int64_t grace = uptime_ms() + grace_ms;
  while (uptime_ms() < grace) {
    if (waitpid(child, &status, WNOHANG) == child) return status;
    usleep(20 * 1000);
  }
  signal_group(child, SIGKILL);
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
  return status;
}

int exit_of(int status) {
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace

std::vector<Program> programs_of(const Manifest& manifest) {
  if (!manifest.programs.empty()) return manifest.programs;
  if (manifest.has(run_file_name)) return {{default_program, {"selftest"}}};
  const std::string threads = format("%llu", static_cast<unsigned long long>(manifest.threads));
  return {{default_program, {"selftest", "--model", "model/model.ort", "--threads", threads}}};
}

Result<Ended> run_program(const std::string& folder, const std::string& program,
                          const std::vector<std::string>& arguments, const Bounds& bounds,
                          const std::function<void()>& each_look) {
  if (uptime_ms() >= bounds.deadline_ms) return Ended{128 + SIGTERM, "", too_late};
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return storage_fault(folder);
  const Descriptor input(ends[0]);
  Descriptor output(ends[1]);
  fcntl(input.get(), F_SETFL, O_NONBLOCK);
  struct sigaction action{};
  action.sa_handler = end_soon;
  sigaction(SIGTERM, &action, nullptr);
  const pid_t child = fork();
  if (child < 0) return storage_fault(folder);
  if (child == 0) become(folder, program, arguments, output.get(), bounds.gives_way);
  output = Descriptor();
  Ended end;
  end.exit = exit_of(attend(child, input.get(), bounds, each_look, end));
  kill(-child, SIGKILL);  // what it started and left
  return end;
}

}  // namespace edgectl
