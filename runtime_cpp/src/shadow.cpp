#include "edge/shadow.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <optional>

#include "common/text.hpp"
#include "edge/apart.hpp"
#include "edge/commands.hpp"
#include "edge/crash_file.hpp"
#include "edge/deploy_root.hpp"
#include "edge/detect.hpp"
#include "edge/serve_connection.hpp"
#include "edge/serve_worker.hpp"
#include "edge/shadow_feed.hpp"
#include "edge/statistics.hpp"
#include "edge/user.hpp"

namespace edge {
namespace {

constexpr int64_t most_answer_bytes = 1 << 20;
constexpr double least_overlap = 0.5;             // of two boxes or masks that mean the same
constexpr size_t most_line_bytes = 32u << 10;     // of a pair that is told
constexpr size_t most_agreed_bytes = 256u << 10;  // of all pairs that agree
constexpr size_t most_bytes = 768u << 10;         // of all pairs

/// Each detection of one answer has one of its own in the other, of its label and about where it
/// is.
bool agree(const DetectAnswer& former, const DetectAnswer& answer) {
  std::vector<Detection> others = answer.detections;
  for (const Detection& detection : former.detections) {
    const auto match = std::find_if(others.begin(), others.end(), [&](const Detection& other) {
      return other.label == detection.label && overlap(other.box, detection.box) >= least_overlap;
    });
    if (match == others.end()) return false;
    others.erase(match);
  }
  return others.empty();
}

/// Whether whoever acts on it would do the same; probabilities and scores may differ.
bool agree(const Answer& former, const Answer& answer, const Card& card) {
  if (const auto* classes = std::get_if<ClassAnswer>(&former)) {
    return classes->index == std::get<ClassAnswer>(answer).index;
  }
  if (const auto* anomaly = std::get_if<AnomalyAnswer>(&former)) {
    return anomaly->is_anomalous == std::get<AnomalyAnswer>(answer).is_anomalous;
  }
  if (const auto* detections = std::get_if<DetectAnswer>(&former)) {
    return agree(*detections, std::get<DetectAnswer>(answer));
  }
  return compare_answers(former, answer, card, {1, least_overlap}).problems.empty();
}

/// Listens for the service that is current.
Result<Descriptor> listen_in(int folder) {
  const std::string path = shadow_path(folder);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strcpy(address.sun_path, path.c_str());
  unlink(path.c_str());  // of one before: edgectl lets no two run at once
  Descriptor listener(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const auto* at = reinterpret_cast<const sockaddr*>(&address);
  if (bind(listener.get(), at, sizeof address) == 0 && listen(listener.get(), 1) == 0) {
    return listener;
  }
  return Error{Exit::usage, "socket_unusable", shadow_folder, system_fault(),
               "run it as edgectl does, in a release of a deploy root"};
}

/// What a frame's file has behind its image.
struct Record {
  size_t image_bytes;
  std::string answer;  // of the service
};

std::optional<Record> read_record(int file) {
  uint32_t image_bytes = 0;
  const ssize_t tail = sizeof image_bytes;
  struct stat status{};
  if (fstat(file, &status) != 0) return std::nullopt;
  const auto end = static_cast<off_t>(status.st_size - tail);
  if (pread(file, &image_bytes, sizeof image_bytes, end) != tail) return std::nullopt;
  const int64_t answer_bytes = int64_t{end} - image_bytes;
  if (answer_bytes < 0 || answer_bytes > most_answer_bytes) return std::nullopt;
  std::string answer(static_cast<size_t>(answer_bytes), '\0');
  const auto start = static_cast<off_t>(image_bytes);
  if (pread(file, answer.data(), answer.size(), start) != answer_bytes) return std::nullopt;
  return Record{image_bytes, answer};
}

class Candidate {
 public:
  Candidate(Engine& engine, Descriptor listener, double end_ms)
      : engine_(engine), listener_(std::move(listener)), end_ms_(end_ms) {}

  void run();
  std::string summary() const;

 private:
  void accept();
  void receive();
  void ask(char word);
  ShadowFate judge(const Job& job);
  Result<Inferred> infer_record(int file, size_t image_bytes, const std::string& name);
  void tell_pair(Document& line, ShadowFate fate);

  Engine& engine_;
  Descriptor listener_;
  double end_ms_;
  std::unique_ptr<Connection> service_;
  double rested_ms_ = 0;      // from when on it may ask for another frame
  char word_ = ready_letter;  // that it asks with
  bool has_asked_ = false;
  uint64_t counts_[shadow_fates] = {};
  uint64_t offered_ = 0;       // frames that services had, while they were connected
  uint32_t last_offered_ = 0;  // by the service that is connected
  size_t connections_ = 0;
  size_t agreed_bytes_ = 0, told_bytes_ = 0;
};

void Candidate::run() {
  for (double time_ms = now_ms(); time_ms < end_ms_; time_ms = now_ms()) {
    if (service_ && !has_asked_ && time_ms >= rested_ms_) ask(word_);
    const double until = service_ && !has_asked_ ? std::min(rested_ms_, end_ms_) : end_ms_;
    pollfd waiting[] = {{listener_.get(), POLLIN, 0}, {service_ ? service_->fd() : -1, POLLIN, 0}};
    if (poll(waiting, 2, static_cast<int>(until - time_ms) + 1) <= 0) continue;
    if (waiting[1].revents != 0) receive();
    if (waiting[0].revents != 0) accept();
  }
}

/// A service that was started anew comes in place of the former one.
void Candidate::accept() {
  Descriptor socket(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!socket) return;
  service_ = std::make_unique<Connection>(++connections_, std::move(socket), now_ms());
  last_offered_ = 0;
  word_ = ready_letter;
  has_asked_ = false;
}

void Candidate::ask(char word) {
  service_->write(std::string(1, word));
  service_->send(now_ms());
  has_asked_ = true;
}

void Candidate::receive() {
  switch (service_->receive(now_ms())) {
    case Incoming::part:
      return;
    case Incoming::whole: {
      const double began = now_ms();
      const Job job = service_->take(began);
      offered_ += job.request.id - last_offered_;
      last_offered_ = job.request.id;
      const ShadowFate fate = judge(job);
      ++counts_[static_cast<size_t>(fate)];
      word_ = letter_of(fate);
      rested_ms_ = 2 * now_ms() - began;
      has_asked_ = false;
      return;
    }
    default:
      service_.reset();
  }
}

ShadowFate Candidate::judge(const Job& job) {
  const std::string name = format("frame %u", job.request.id);
  const Card& card = engine_.card;
  Document line("shadow");
  line.top().set("frame", uint64_t{job.request.id});
  const auto record = read_record(job.file.get());
  if (!record) return ShadowFate::missed;
  const std::string& text = record->answer;
  const auto json = parse_json(name, text.data(), text.size(), "answer_invalid");
  if (!json) return ShadowFate::missed;
  std::vector<std::string> problems;
  const Answer former = read_answer(Fields(yyjson_doc_get_root(json->get()), "", problems), card);
  // A label that this card lacks, or an answer of another task: it is none of ours.
  if (problems.empty()) set_answer(line.top().object("current"), former, card);
  if (!problems.empty()) line.top().set("problems", problems);
  const auto result = infer_record(job.file.get(), record->image_bytes, name);
  if (result) set_answer(line.top().object("candidate"), result->answer, card);
  if (!result) set_error(line.top(), result.error());
  const bool agrees = problems.empty() && result && agree(former, result->answer, card);
  const ShadowFate fate = !result  ? ShadowFate::failed
                          : agrees ? ShadowFate::agreed
                                   : ShadowFate::disagreed;
  tell_pair(line, fate);
  return fate;
}

Result<Inferred> Candidate::infer_record(int file, size_t image_bytes, const std::string& name) {
  const Card& card = engine_.card;
  const ImageLimits& limits = engine_.settings.limits;
  Encoded picture{name, nullptr, image_bytes, limits};
  picture.file = file;
  const auto decoder = [&](std::shared_ptr<uint8_t> memory) {
    return decode_input(picture, card, std::move(memory));
  };
  auto input = Apart(name, decoder, card, limits, file).finish([] {});
  if (!input) return input.error();
  return infer(engine_, name, std::move(*input), [] {});
}

/// Those that agree leave room for those that do not.
void Candidate::tell_pair(Document& line, ShadowFate fate) {
  line.top().set("fate", shadow_fate_names[static_cast<size_t>(fate)]);
  const std::string text = line.text();
  const bool agrees = fate == ShadowFate::agreed;
  if (text.size() > most_line_bytes || told_bytes_ + text.size() > most_bytes) return;
  if (agrees && agreed_bytes_ + text.size() > most_agreed_bytes) return;
  told_bytes_ += text.size();
  if (agrees) agreed_bytes_ += text.size();
  // At once: what was told outlives a candidate that crashes or is killed.
  std::fputs(text.c_str(), stdout);
  std::fflush(stdout);
}

std::string Candidate::summary() const {
  Document document("shadow");
  Json top = document.top();
  top.set("model", engine_.card.name);
  set_settings(top, engine_.settings);
  top.set("connections", uint64_t{connections_});
  top.set("offered", offered_);
  for (size_t i = 0; i < shadow_fates; ++i) {
    if (static_cast<ShadowFate>(i) != ShadowFate::missed) top.set(shadow_fate_names[i], counts_[i]);
  }
  top.set("peak_rss_kb", int64_t{memory_kb("VmHWM:")});
  set_thermal(top, engine_.pacer.get());
  return document.text();
}

}  // namespace

Outcome shadow(const Options& options) {
  auto engine = open_proven(options);
  if (!*engine) return failed(options.command, engine->error());
  const Descriptor folder(open_in_deploy_root((*engine)->settings.release, shadow_folder));
  if (!options.user.empty()) {
    const auto error = become(options.user, {}, {folder.get(), crash_folder()});
    if (error) return failed(options.command, *error);
  }
  auto listener = listen_in(folder.get());
  if (!listener) return failed(options.command, listener.error());
  Candidate candidate(**engine, std::move(*listener), now_ms() + 1e3 * options.seconds);
  candidate.run();
  unlink(shadow_path(folder.get()).c_str());
  return {Exit::done, candidate.summary(), ""};
}

}  // namespace edge
