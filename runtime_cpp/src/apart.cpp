#include "edge/apart.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>

#include "common/text.hpp"
#include "edge/crash_guard.hpp"
#include "edge/statistics.hpp"

namespace edge {

/// What the child leaves behind, in memory that both have; the input's values follow it.
struct ApartAnswer {
  bool is_input;
  bool is_error;
  Placement placement;
  ImageShape frame;  // of a card with tiles, whose pixels lie where the values would
  double decode_ms;
  double preprocess_ms;
  ImageStatistics statistics;
  const char* code;  // of the error; a literal, so it has one address in both
  Exit exit;
  char subject[4096];
  char problem[1024];
  char next[512];

  float* values() { return reinterpret_cast<float*>(this + 1); }
};

namespace {

constexpr int beat_ms = 5000;
constexpr rlim_t cpu_s = 30;               // no image that is within the limits takes as long
constexpr double deadline_ms = 120000;     // for storage that does not answer
constexpr size_t spare_bytes = 32u << 20;  // beside image and input: stack, libraries, the filter

template <size_t room>
void copy_text(char (&to)[room], const std::string& text) {
  const size_t length = std::min(text.size(), room - 1);
  std::memcpy(to, text.data(), length);
  to[length] = '\0';
}

void leave(ApartAnswer& answer, const Result<Input>& input) {
  if (!input) {
    answer.code = input.error().code;
    answer.exit = input.error().exit;
    copy_text(answer.subject, input.error().subject);
    copy_text(answer.problem, input.error().problem);
    copy_text(answer.next, input.error().next);
    answer.is_error = true;
    return;
  }
  answer.placement = input->placement;
  answer.frame = input->frame.shape;
  answer.decode_ms = input->decode_ms;
  answer.preprocess_ms = input->preprocess_ms;
  answer.statistics = input->statistics;
  std::copy(input->values.begin(), input->values.end(), answer.values());
  answer.is_input = true;
}

void limit(__rlimit_resource_t resource, rlim_t most, rlim_t grace = 0) {
  const rlimit value{most, most + grace};
  setrlimit(resource, &value);
}

/// Closes the service's descriptors in the child. The other end of a connection, and edgectl, which
/// knows the service by a file's lock, would take it for the service itself.
void close_all_but(int image, int end) {
  DIR* listing = opendir("/proc/self/fd");
  while (const dirent* entry = listing != nullptr ? readdir(listing) : nullptr) {
    const int fd = std::atoi(entry->d_name);
    const bool is_used = fd <= STDERR_FILENO || fd == image || fd == end || fd == dirfd(listing);
    if (!is_used) close(fd);
  }
  if (listing != nullptr) closedir(listing);
}

/// Before the child touches the image: it ends alone, and first when memory is short.
void fence_off(const ImageLimits& limits, const Card& card) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  for (const int signal : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL}) std::signal(signal, SIG_DFL);
  prctl(PR_SET_DUMPABLE, 1);  // without it a process that has changed its user owns no /proc/self
  const int score = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (score >= 0) {
    [[maybe_unused]] const ssize_t written = write(score, "1000", 4);  // else it is one of equals
    close(score);
  }
  limit(RLIMIT_CORE, 0);
  limit(RLIMIT_CPU, cpu_s, 1);  // SIGXCPU first: SIGKILL means that memory is short
  // The input exists twice while it is made: resized, and turned.
  const size_t input_bytes = 2 * card.values() * sizeof(float);
  const size_t used = static_cast<size_t>(memory_kb("VmSize:")) << 10;
  limit(RLIMIT_AS, used + limits.memory + input_bytes + spare_bytes);  // a frame has its own
}

/// Waits for the child's end, which closes the other end of the pipe.
int wait_for(pid_t child, int pipe, const std::function<void()>& beat) {
  const double start = now_ms();
  pollfd ending{pipe, 0, 0};
  while (poll(&ending, 1, beat_ms) <= 0) {
    beat();
    if (now_ms() - start > deadline_ms) kill(child, SIGKILL);
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

Error crashed(const std::string& path, int status) {
  std::string how = format("ended the decoder with exit code %d", WEXITSTATUS(status));
  if (WIFSIGNALED(status)) how = format("ended the decoder by signal %d", WTERMSIG(status));
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGXCPU) {
    how = format("takes the decoder more than %d s", static_cast<int>(cpu_s));
  }
  return {Exit::image, "image_crashed", path, how, "copy or capture it again, or scale it down"};
}

std::shared_ptr<uint8_t> pixels_of(const std::shared_ptr<ApartAnswer>& shared) {
  return {shared, reinterpret_cast<uint8_t*>(shared->values())};
}

/// What the child has left behind, or how it ended without; a frame's pixels stay where they are.
Result<Input> collect(const std::shared_ptr<ApartAnswer>& shared, const Card& card,
                      const std::string& path, int status) {
  ApartAnswer& answer = *shared;
  if (answer.is_error) {
    return Error{answer.exit, answer.code, answer.subject, answer.problem, answer.next};
  }
  if (!answer.is_input) return crashed(path, status);
  Input input{{}, answer.placement, answer.decode_ms, answer.preprocess_ms};
  input.statistics = answer.statistics;
  if (card.tiling) {
    input.frame = {answer.frame, pixels_of(shared)};
  } else {
    input.values.assign(answer.values(), answer.values() + card.values());
  }
  return input;
}

}  // namespace

Apart::Apart(std::string name, Decoder decoder, const Card& card, const ImageLimits& limits,
             int image)
    : name_(std::move(name)),
      decoder_(std::move(decoder)),
      card_(card),
      limits_(limits),
      image_(image) {
  begin();
}

void Apart::begin() {
  // Of a frame no more pages are taken than it has.
  const size_t room = card_.tiling ? limits_.memory : card_.values() * sizeof(float);
  const size_t bytes = sizeof(ApartAnswer) + room;
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory != MAP_FAILED) {
    shared_.reset(static_cast<ApartAnswer*>(memory),
                  [bytes](ApartAnswer* mapped) { munmap(mapped, bytes); });
  }
  int ends[2] = {-1, -1};
  const bool has_parts = shared_ != nullptr && pipe2(ends, O_CLOEXEC) == 0;
  child_ = has_parts ? fork() : -1;
  if (child_ == 0) {
    fence_off(limits_, card_);
    close_all_but(image_, ends[1]);
    leave(*shared_, decoder_(card_.tiling ? pixels_of(shared_) : nullptr));
    _exit(0);
  }
  end_ = Descriptor(ends[0]);
  if (has_parts) close(ends[1]);
}

Apart::~Apart() {
  if (child_ <= 0) return;
  kill(child_, SIGKILL);
  wait_for(child_, end_.get(), [] {});
}

Result<Input> Apart::finish(const std::function<void()>& beat) {
  if (child_ > 0) {
    const double start = now_ms();
    int status = wait_for(std::exchange(child_, -1), end_.get(), beat);
    const bool is_killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    if (is_killed && now_ms() - start < deadline_ms) begin();
    if (child_ > 0) status = wait_for(std::exchange(child_, -1), end_.get(), beat);
    return collect(shared_, card_, name_, status);
  }
  // No process is to be had: a good image is not lost by that.
  const Blame blame(crashed(name_, 0));
  return decoder_(nullptr);
}

std::unique_ptr<Apart> load_apart(const std::string& path, const Card& card,
                                  const ImageLimits& limits) {
  const auto decoder = [path, &card, limits](std::shared_ptr<uint8_t> memory) {
    return load_input(path, card, limits, Links::refuse, std::move(memory));
  };
  return std::make_unique<Apart>(path, decoder, card, limits);
}

}  // namespace edge
