#include "edge/serve.hpp"

#include <poll.h>
#include <sys/signalfd.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <memory>
#include <thread>

#include "common/document.hpp"
#include "common/text.hpp"
#include "edge/crash_file.hpp"
#include "edge/crash_guard.hpp"
#include "edge/heartbeat.hpp"
#include "edge/recorder.hpp"
#include "edge/serve_connection.hpp"
#include "edge/serve_metrics.hpp"
#include "edge/serve_selftest.hpp"
#include "edge/serve_worker.hpp"
#include "edge/statistics.hpp"
#include "edge/user.hpp"

namespace edge {
namespace {

constexpr int beat_ms = 5000;
constexpr int look_ms = 1000;
constexpr size_t most_clients = 32;
constexpr size_t most_scrapers = 8;   // connections that ask for metrics
constexpr size_t others = 5;          // descriptors that are waited for beside connections
constexpr double farewell_ms = 5000;  // for the last answers to be read
constexpr const char* metrics_head =  // so that curl --unix-socket and scrapers take it
    "HTTP/1.0 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close\r\n\r\n";
// Answers to what never gets as far as a network.
constexpr const char* busy = R"({"version":1,"command":"serve","error":{"code":"busy",)"
                             R"("message":"request: as many wait as may",)"
                             R"("next":"ask again later"}})"
                             "\n";
constexpr const char* no_request =
    R"({"version":1,"command":"serve","error":{"code":"request_invalid",)"
    R"("message":"request: is none of this protocol","next":"see edge/client.h"}})"
    "\n";
constexpr const char* too_large =
    R"({"version":1,"command":"serve","error":{"code":"image_too_large",)"
    R"("message":"request: its image has more bytes than the limit",)"
    R"("next":"crop it or scale it down"}})"
    "\n";

Error socket_fault(const std::string& path, const std::string& problem) {
  return {Exit::usage, "socket_unusable", path, problem, "give another --folder"};
}

Error reload_fault(const std::string& problem) {
  return {Exit::selftest, "reload_refused", "reload",
          problem.empty() ? "the self-test did not run to its end" : problem,
          "the former model is served on; edge-infer selftest tells more of the new one"};
}

/// Listens at a path; what a service that was killed has left there goes.
Result<Descriptor> listen_at(const std::string& path) {
  const Descriptor other(edge_connect(path.c_str()));
  if (other) return socket_fault(path, "another service listens there");
  if (errno == ENAMETOOLONG) return socket_fault(path, system_fault());
  if (errno == ECONNREFUSED) unlink(path.c_str());
  Descriptor listener(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strcpy(address.sun_path, path.c_str());
  const mode_t former = umask(0117);  // its user and group may connect
  const bool is_bound =
      bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  umask(former);
  if (!is_bound || listen(listener.get(), most_clients) != 0) {
    return socket_fault(path, system_fault());
  }
  return listener;
}

/// The signals that the service hears by a descriptor. Threads that are made later block them too.
Descriptor listen_for_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, signal);
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  return Descriptor(signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
}

/// The thread that reads and answers.
class Server {
 public:
  Server(const Options& options, Exchange& exchange, const Engine& engine,
         const ShadowCounts& shadow, Descriptor signals)
      : options_(options),
        exchange_(exchange),
        engine_(&engine),
        shadow_(shadow),
        signals_(std::move(signals)),
        heartbeat_(options.heartbeat, options.command) {
    counters_.queue = static_cast<size_t>(options.queue);
  }

  std::optional<Error> open();
  void run();

 private:
  using Slot = std::unique_ptr<Connection>;

  bool is_over() const;
  void beat();
  void wait();
  void serve_connection(Slot& slot, short events);
  void hear_signals();
  void accept_from(const Descriptor& listener, Slot* first, size_t count);
  void receive(Connection& client);
  void take(Connection& client);
  void deliver(Job& job);
  void start_reload(uint64_t connection, uint32_t id);
  void finish_test();
  void finish_reload(const Outcome& outcome);
  void answer_metrics(Connection& scraper);
  void drop(Slot& slot);
  void stop();
  Connection* find(uint64_t number);
  bool has_room() const { return exchange_.waiting() < counters_.queue; }
  size_t image_limit() const;
  std::string metrics();
  std::string status_document() const;
  std::string path(const char* name) const { return options_.folder + "/" + name; }

  const Options& options_;
  Exchange& exchange_;
  const Engine* engine_;  // that is served
  const ShadowCounts& shadow_;
  Descriptor signals_;
  Heartbeat heartbeat_;
  Descriptor listener_;
  Descriptor metrics_listener_;
  Slot slots_[most_clients + most_scrapers];  // the clients first
  std::unique_ptr<SelfTest> test_;            // of a new model
  bool is_reloading_ = false;                 // tested, or loaded
  uint64_t reload_connection_ = 0;            // that asked for it; 0: a signal
  uint32_t reload_id_ = 0;
  Counters counters_;
  uint64_t last_number_ = 0;
  size_t image_bytes_ = 0;  // of images that came with their requests, and are not answered
  size_t at_work_ = 0;      // jobs that are not answered
  double now_ms_ = 0;
  double beat_ms_ = -1e9;
  double answered_ms_ = 0;
  bool is_stopping_ = false;
};

std::optional<Error> Server::open() {
  for (const auto& [name, listener] :
       {std::pair{"infer.sock", &listener_}, {"metrics.sock", &metrics_listener_}}) {
    auto opened = listen_at(path(name));
    if (!opened) return opened.error();
    *listener = std::move(*opened);
  }
  return std::nullopt;
}

void Server::run() {
  if (!heartbeat_.ready()) tell("edgectl: " + system_fault() + "\n");
  while (!is_over()) {
    beat();
    wait();
    for (Slot& slot : slots_) {
      if (slot && (slot->is_done() || slot->is_stuck(now_ms_))) drop(slot);
    }
  }
  unlink(path("infer.sock").c_str());
  unlink(path("metrics.sock").c_str());
}

bool Server::is_over() const {
  if (!is_stopping_ || at_work_ > 0) return false;
  const bool is_sent = std::all_of(slots_, slots_ + most_clients,
                                   [](const Slot& slot) { return !slot || slot->is_sent(); });
  return is_sent || now_ms_ - answered_ms_ > farewell_ms;
}

void Server::beat() {
  now_ms_ = now_ms();
  if (now_ms_ - beat_ms_ < beat_ms) return;
  beat_ms_ = now_ms_;
  // An inference that never ends is what the watchdog is for.
  if (exchange_.is_moving()) {
    const uint64_t failed = counters_[Fate::failed];
    heartbeat_.beat(static_cast<int64_t>(counters_[Fate::done] + failed),
                    static_cast<int64_t>(failed), engine_->pacer.get());
  }
  replace_file(path("metrics.prom"), metrics());  // where that cannot be, its age tells
}

void Server::wait() {
  pollfd waiting[others + most_clients + most_scrapers] = {{signals_.get(), POLLIN, 0},
                                                           {exchange_.wake_fd(), POLLIN, 0},
                                                           {test_ ? test_->fd() : -1, POLLIN, 0},
                                                           {listener_.get(), POLLIN, 0},
                                                           {metrics_listener_.get(), POLLIN, 0}};
  pollfd* entry = waiting + others;
  for (const Slot& slot : slots_) {
    *entry++ = {slot ? slot->fd() : -1, slot ? slot->events() : short{0}, 0};
  }
  if (poll(waiting, static_cast<nfds_t>(entry - waiting), look_ms) < 0) return;
  now_ms_ = now_ms();
  entry = waiting + others;
  for (Slot& slot : slots_) serve_connection(slot, (entry++)->revents);
  if (waiting[0].revents != 0) hear_signals();
  if (waiting[1].revents != 0) {
    for (const JobPtr& job : exchange_.answered()) deliver(*job);
  }
  if (test_) finish_test();
  if (waiting[3].revents != 0) accept_from(listener_, slots_, most_clients);
  if (waiting[4].revents != 0) {
    accept_from(metrics_listener_, slots_ + most_clients, most_scrapers);
  }
}

void Server::serve_connection(Slot& slot, short events) {
  if (events == 0) return;
  if ((events & (POLLHUP | POLLERR)) != 0) {
    drop(slot);
  } else if ((events & POLLOUT) != 0) {
    if (!slot->send(now_ms_)) drop(slot);
  } else if (&slot >= slots_ + most_clients) {
    answer_metrics(*slot);
  } else {
    receive(*slot);
  }
}

void Server::hear_signals() {
  signalfd_siginfo signal{};
  while (read(signals_.get(), &signal, sizeof signal) == sizeof signal) {
    if (signal.ssi_signo != SIGHUP) {
      stop();
    } else if (!is_reloading_) {
      start_reload(0, 0);
    }
  }
}

/// From here on nothing is read; what was accepted is answered.
void Server::stop() {
  is_stopping_ = true;
  answered_ms_ = now_ms_;
  listener_ = Descriptor();
  if (test_) {
    test_.reset();
    finish_reload(failed(options_.command, reload_fault("the service is told to end")));
  }
  exchange_.close();
  for (size_t i = 0; i < most_clients; ++i) {
    if (slots_[i]) slots_[i]->finish();
  }
}

void Server::accept_from(const Descriptor& listener, Slot* first, size_t count) {
  Descriptor socket(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!socket) return;
  auto client = std::make_unique<Connection>(++last_number_, std::move(socket), now_ms_);
  Slot* free = std::find(first, first + count, nullptr);
  if (free != first + count) {
    *free = std::move(client);
    return;
  }
  client->answer(0, EDGE_BUSY, busy, now_ms_);
  client->send(now_ms_);
}

void Server::receive(Connection& client) {
  const edge_request& request = client.request();
  switch (client.receive(now_ms_)) {
    case Incoming::part:
      break;
    case Incoming::head:
      if (!has_room() || image_bytes_ + image_bytes(request) > image_limit() || !client.accept()) {
        client.skip();
      }
      image_bytes_ += client.held_bytes();
      break;
    case Incoming::whole:
      take(client);
      break;
    case Incoming::refused:
      ++counters_[Fate::refused];
      client.answer(request.id, EDGE_REFUSED, no_request, now_ms_);
      client.finish();
      break;
    case Incoming::ended:
      client.finish();
      break;
  }
}

/// A request that has come whole.
void Server::take(Connection& client) {
  const bool is_skipped = client.is_skipped();
  auto job = std::make_unique<Job>(client.take(now_ms_));
  const edge_request request = job->request;
  if (request.kind == EDGE_STATUS) {
    client.answer(request.id, EDGE_DONE, status_document(), now_ms_);
  } else if (request.kind == EDGE_RELOAD && !is_reloading_) {
    ++client.pending;
    start_reload(client.number(), request.id);
  } else if (is_skipped && image_bytes(request) > image_limit()) {
    ++counters_[Fate::failed];
    client.answer(request.id, EDGE_ERROR, too_large, now_ms_);
  } else if (request.kind == EDGE_RELOAD || is_skipped || !has_room()) {
    image_bytes_ -= job->image.size;
    ++counters_[Fate::busy];
    client.answer(request.id, EDGE_BUSY, busy, now_ms_);
  } else {
    ++client.pending;
    ++at_work_;
    exchange_.add(std::move(job));
  }
}

/// Nobody waits for its answers any more.
void Server::drop(Slot& slot) {
  exchange_.forget(slot->number());
  image_bytes_ -= slot->held_bytes();
  slot.reset();
}

void Server::deliver(Job& job) {
  --at_work_;
  answered_ms_ = now_ms_;
  image_bytes_ -= job.image.size;
  const bool is_done = job.outcome.exit == Exit::done;
  if (job.request.kind == EDGE_RELOAD) {
    if (is_done) engine_ = job.served;
    finish_reload(job.outcome);
    return;
  }
  Connection* client = find(job.connection);
  ++counters_[client == nullptr ? Fate::abandoned : is_done ? Fate::done : Fate::failed];
  if (client == nullptr) return;
  counters_.inference_ms += job.inference_ms;
  counters_.request_ms += now_ms_ - job.arrived_ms;
  --client->pending;
  client->answer(job.request.id, is_done ? EDGE_DONE : EDGE_ERROR, job.outcome.json, now_ms_);
  client->send(now_ms_);  // that nobody reads any more the next poll tells too
}

void Server::start_reload(uint64_t connection, uint32_t id) {
  is_reloading_ = true;
  reload_connection_ = connection;
  reload_id_ = id;
  test_ = std::make_unique<SelfTest>(options_);
}

void Server::finish_test() {
  const bool is_overdue = test_->is_overdue();
  if (!is_overdue && !test_->read()) return;
  const bool has_passed = !is_overdue && test_->has_passed();
  const std::string words = test_->words();
  test_.reset();
  if (!has_passed) {
    finish_reload(failed(options_.command, reload_fault(words.substr(0, words.find("\nnext: ")))));
    return;
  }
  auto job = std::make_unique<Job>();
  job->request.kind = EDGE_RELOAD;
  ++at_work_;
  exchange_.add(std::move(job));
}

void Server::finish_reload(const Outcome& outcome) {
  const bool is_done = outcome.exit == Exit::done;
  ++(is_done ? counters_.reloads : counters_.refused_reloads);
  tell(outcome.message);
  is_reloading_ = false;
  Connection* client = find(reload_connection_);
  if (client == nullptr) return;
  --client->pending;
  client->answer(reload_id_, is_done ? EDGE_DONE : EDGE_ERROR,
                 is_done ? status_document() : outcome.json, now_ms_);
}

void Server::answer_metrics(Connection& scraper) {
  char request[4096];  // whatever it is
  [[maybe_unused]] const ssize_t got = recv(scraper.fd(), request, sizeof request, MSG_DONTWAIT);
  scraper.write(metrics_head + metrics());
  scraper.finish();
}

Connection* Server::find(uint64_t number) {
  for (const Slot& slot : slots_) {
    if (slot && slot->number() == number) return slot.get();
  }
  return nullptr;
}

std::string Server::metrics() {
  counters_.waiting = exchange_.waiting();
  counters_.connections = static_cast<size_t>(std::count_if(
      slots_, slots_ + most_clients, [](const Slot& slot) { return slot != nullptr; }));
  return metrics_text(counters_, shadow_, *engine_);
}

std::string Server::status_document() const {
  Document document(options_.command);
  Json top = document.top();
  top.set("model", engine_->card.name);
  set_settings(top, engine_->settings);
  set_thermal(top, engine_->pacer.get());
  top.set("waiting", uint64_t{exchange_.waiting()});
  top.set("queue", uint64_t{counters_.queue});
  Json requests = top.object("requests");
  for (size_t i = 0; i < fates; ++i) requests.set(fate_names[i], counters_.requests[i]);
  return document.text();
}

/// Of all images that came with their requests and are not answered, bytes.
size_t Server::image_limit() const {
  return std::min(engine_->settings.limits.bytes, engine_->settings.limits.memory);
}

/// From here on strangers' images are read, so no more than that is permitted.
std::optional<Error> become_user(const Options& options, const Recorder& recorder) {
  if (options.user.empty()) return std::nullopt;
  auto error = become(options.user, {options.folder},
                      {crash_folder(), recorder.histograms.folder(),
                       recorder.unsure_images.folder(), recorder.shadow.folder()});
  if (error) return error;
  return folder_fault("--folder", options.folder);
}

}  // namespace

Outcome serve(const Options& options) {
  if (auto error = folder_fault("--folder", options.folder)) return failed(options.command, *error);
  Descriptor signals = listen_for_signals();
  // A release on trial is committed once it says that it is ready, so it proves itself first.
  auto engine = open_proven(options);
  if (!*engine) return failed(options.command, engine->error());
  Exchange exchange;
  Recorder recorder((*engine)->settings, options.command);
  Server server(options, exchange, **engine, recorder.shadow.counts, std::move(signals));
  auto error = become_user(options, recorder);
  if (!error) error = server.open();
  if (error) return failed(options.command, *error);
  Worker worker(options, std::move(engine), exchange, recorder);
  std::thread thread([&] { worker.run(); });
  server.run();
  thread.join();
  recorder.histograms.save();
  return {Exit::done, "", ""};
}

}  // namespace edge
