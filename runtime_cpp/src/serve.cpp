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
#include "edge/golden.hpp"
#include "edge/heartbeat.hpp"
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
constexpr size_t most_connections = 32;
constexpr size_t most_metrics = 8;        // connections that ask for them
constexpr double farewell_ms = 5000;      // for the last answers to be read
constexpr const char* metrics_head =      // so that curl --unix-socket and scrapers take it
    "HTTP/1.0 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close\r\n\r\n";

size_t most_waiting(const Options& options) {
  return static_cast<size_t>(options.queue);
}

Error socket_fault(const std::string& path, const std::string& problem) {
  return {Exit::usage, "socket_unusable", path, problem, "give another --folder"};
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
  if (!is_bound || listen(listener.get(), most_connections) != 0) return socket_fault(path, system_fault());
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

/// Who asked for the model to be read anew, and how far that is.
struct Reload {
  uint64_t connection = 0;  // 0: a signal
  uint32_t id = 0;          // of the request
  std::unique_ptr<SelfTest> test;  // none any more: it has passed, and the model is loaded
};

/// The thread that reads and answers.
class Server {
 public:
  Server(const Options& options, Exchange& exchange, Served served, Descriptor signals)
      : options_(options),
        exchange_(exchange),
        served_(std::move(served)),
        signals_(std::move(signals)),
        heartbeat_(options.heartbeat, options.command) {}

  std::optional<Error> open();
  void run();

 private:
  bool is_over() const;
  void wait();
  void beat();
  void hear_signals();
  void accept_from(const Descriptor& listener, size_t most, std::vector<Connection>& list);
  void serve_client(Connection& client);
  void handle(Connection& client, Incoming incoming);
  void take(Connection& client);
  void end(Connection& client);
  void deliver();
  void answer(Connection& client, uint32_t id, const std::optional<Error>& error,
              const std::string& json);
  void refuse_for_lack_of_room(Connection& client, uint32_t id, const char* problem);
  void start_reload(Connection* client, uint32_t id);
  void finish_test();
  void finish_reload(const std::optional<Error>& error);
  void serve_metrics(Connection& client);
  void drop_ended();
  void stop();
  Connection* find(uint64_t number);
  std::string metrics() const;
  std::string status_document() const;
  std::string path(const char* name) const { return options_.folder + "/" + name; }
  size_t image_limit() const;

  const Options& options_;
  Exchange& exchange_;
  Served served_;
  Descriptor signals_;
  Heartbeat heartbeat_;
  Descriptor listener_;
  Descriptor metrics_listener_;
  std::vector<Connection> clients_;
  std::vector<Connection> scrapers_;
  std::optional<Reload> reload_;
  Counters counters_;
  uint64_t last_number_ = 0;
  size_t image_bytes_ = 0;  // of images that came with their requests, and are not answered
  size_t at_work_ = 0;      // jobs of all clients, of those that have gone too
  double now_ms_ = 0;
  double beat_ms_ = -1e9;
  double answered_ms_ = 0;
  bool is_stopping_ = false;
};

std::optional<Error> Server::open() {
  auto listener = listen_at(path("infer.sock"));
  if (!listener) return listener.error();
  auto metrics_listener = listen_at(path("metrics.sock"));
  if (!metrics_listener) return metrics_listener.error();
  listener_ = std::move(*listener);
  metrics_listener_ = std::move(*metrics_listener);
  return std::nullopt;
}

void Server::run() {
  if (!heartbeat_.ready()) tell("edgectl: " + system_fault() + "\n");
  while (!is_over()) {
    beat();
    wait();
    drop_ended();
  }
  unlink(path("infer.sock").c_str());
  unlink(path("metrics.sock").c_str());
}

bool Server::is_over() const {
  if (!is_stopping_ || at_work_ > 0) return false;
  const bool is_sent = std::all_of(clients_.begin(), clients_.end(),
                                   [](const Connection& client) { return client.is_sent(); });
  return is_sent || now_ms_ - answered_ms_ > farewell_ms;
}

void Server::beat() {
  now_ms_ = now_ms();
  if (now_ms_ - beat_ms_ < beat_ms) return;
  beat_ms_ = now_ms_;
  // An inference that never ends is what the watchdog is for.
  if (exchange_.is_moving()) {
    heartbeat_.beat(static_cast<int64_t>(counters_.done + counters_.failed),
                    static_cast<int64_t>(counters_.failed));
  }
  replace_file(path("metrics.prom"), metrics());  // where that cannot be, its age tells
}

void Server::wait() {
  std::vector<pollfd> waiting{{signals_.get(), POLLIN, 0},
                              {exchange_.wake_fd(), POLLIN, 0},
                              {listener_.get(), POLLIN, 0},
                              {metrics_listener_.get(), POLLIN, 0},
                              {reload_ && reload_->test ? reload_->test->fd() : -1, POLLIN, 0}};
  const size_t first = waiting.size();
  const size_t scrapers = scrapers_.size();
  for (const Connection& scraper : scrapers_) waiting.push_back({scraper.fd(), scraper.events(), 0});
  for (const Connection& client : clients_) waiting.push_back({client.fd(), client.events(), 0});
  if (poll(waiting.data(), waiting.size(), look_ms) < 0) return;
  now_ms_ = now_ms();
  for (size_t i = first; i < waiting.size(); ++i) {
    if (waiting[i].revents == 0) continue;
    const bool is_scraper = i - first < scrapers;
    Connection& client = is_scraper ? scrapers_[i - first] : clients_[i - first - scrapers];
    if ((waiting[i].revents & (POLLHUP | POLLERR)) != 0) {
      end(client);
    } else if ((waiting[i].revents & POLLOUT) != 0) {
      if (!client.send(now_ms_)) end(client);
    } else if (is_scraper) {
      serve_metrics(client);
    } else {
      handle(client, client.receive(now_ms_));
    }
  }
  if (waiting[0].revents != 0) hear_signals();
  if (waiting[1].revents != 0) deliver();
  if (waiting[2].revents != 0) accept_from(listener_, most_connections, clients_);
  if (waiting[3].revents != 0) accept_from(metrics_listener_, most_metrics, scrapers_);
  if (reload_ && reload_->test) finish_test();
}

void Server::hear_signals() {
  signalfd_siginfo signal{};
  while (read(signals_.get(), &signal, sizeof signal) == sizeof signal) {
    if (signal.ssi_signo != SIGHUP) {
      stop();
    } else {
      start_reload(nullptr, 0);
    }
  }
}

/// From here on nothing is read; what was accepted is answered.
void Server::stop() {
  if (is_stopping_) return;
  is_stopping_ = true;
  answered_ms_ = now_ms_;
  listener_ = Descriptor();
  if (reload_ && reload_->test) {
    finish_reload(Error{Exit::selftest, "reload_refused", "reload",
                        "the service is told to end before its self-test has", "start it again"});
  }
  exchange_.close();
  for (Connection& client : clients_) client.finish();
}

void Server::accept_from(const Descriptor& listener, size_t most, std::vector<Connection>& list) {
  Descriptor socket(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!socket) return;
  Connection client(++last_number_, std::move(socket), now_ms_);
  if (list.size() < most) {
    list.push_back(std::move(client));
    return;
  }
  const Error fault{Exit::usage, "busy", "connection", format("%zu are open", most),
                    "close one, or use it for several requests"};
  client.answer(0, EDGE_BUSY, error_document(fault), now_ms_);
  client.send(now_ms_);
}

void Server::handle(Connection& client, Incoming incoming) {
  const edge_request& request = client.request();
  switch (incoming) {
    case Incoming::part:
      break;
    case Incoming::head:
      if (!exchange_.has_room() || image_bytes_ + image_bytes(request) > image_limit() || !client.accept()) {
        client.skip();
      }
      image_bytes_ += client.held_bytes();
      break;
    case Incoming::whole:
      take(client);
      break;
    case Incoming::refused:
      ++counters_.refused;
      client.answer(request.id, EDGE_REFUSED,
                    error_document({Exit::usage, "request_invalid", "request",
                                    "is none of this protocol", "see edge/client.h"}),
                    now_ms_);
      client.finish();
      break;
    case Incoming::ended:
      client.finish();
      break;
  }
}

/// A request that has come whole.
void Server::take(Connection& client) {
  const edge_request request = client.request();
  const size_t bytes = client.held_bytes();
  const bool is_skipped = client.is_skipped();
  Job job = client.take(now_ms_);
  if (request.kind == EDGE_STATUS) {
    client.answer(request.id, EDGE_DONE, status_document(), now_ms_);
  } else if (request.kind == EDGE_RELOAD) {
    start_reload(&client, request.id);
  } else if (is_skipped && image_bytes(request) > image_limit()) {
    const Error fault{Exit::image, "image_too_large", format("request %u", request.id),
                      format("has %zu bytes, the limit is %zu", image_bytes(request),
                             image_limit()),
                      "crop it or scale it down"};
    ++counters_.failed;
    client.answer(request.id, EDGE_ERROR, error_document(fault), now_ms_);
  } else if (is_skipped || !exchange_.has_room()) {
    image_bytes_ -= bytes;
    ++counters_.busy;
    refuse_for_lack_of_room(client, request.id, "as many requests wait as may");
  } else {
    ++client.pending;
    ++at_work_;
    exchange_.add(std::move(job));
  }
}

void Server::refuse_for_lack_of_room(Connection& client, uint32_t id, const char* problem) {
  const Error fault{Exit::usage, "busy", format("request %u", id), problem, "ask again later"};
  client.answer(id, EDGE_BUSY, error_document(fault), now_ms_);
}

/// Nobody waits for its answers any more.
void Server::end(Connection& client) {
  size_t jobs = 0;
  image_bytes_ -= exchange_.forget(client.number(), jobs) + client.held_bytes();
  at_work_ -= jobs;
  counters_.abandoned += jobs;
  client.end();
}

void Server::drop_ended() {
  for (std::vector<Connection>* list : {&clients_, &scrapers_}) {
    for (Connection& client : *list) {
      if (client.is_done() || client.is_stuck(now_ms_)) end(client);
    }
    list->erase(std::remove_if(list->begin(), list->end(),
                               [](const Connection& client) { return client.is_ended(); }),
                list->end());
  }
}

void Server::deliver() {
  for (Reply& reply : exchange_.replies()) {
    --at_work_;
    answered_ms_ = now_ms_;
    image_bytes_ -= image_bytes(reply.request);
    if (reply.request.kind == EDGE_RELOAD) {
      if (reply.served) served_ = std::move(*reply.served);
      finish_reload(reply.error);
      continue;
    }
    Connection* client = find(reply.connection);
    if (client == nullptr) {
      ++counters_.abandoned;
      continue;
    }
    ++(reply.error ? counters_.failed : counters_.done);
    counters_.inference_ms += reply.inference_ms;
    counters_.request_ms += now_ms_ - reply.arrived_ms;
    answer(*client, reply.request.id, reply.error, reply.json);
  }
}

/// The answer of a job.
void Server::answer(Connection& client, uint32_t id, const std::optional<Error>& error,
                    const std::string& json) {
  --client.pending;
  client.answer(id, error ? EDGE_ERROR : EDGE_DONE, error ? error_document(*error) : json, now_ms_);
  if (!client.send(now_ms_)) end(client);
}

/// `client` is null where a signal asked for it.
void Server::start_reload(Connection* client, uint32_t id) {
  if (reload_) {
    if (client != nullptr) refuse_for_lack_of_room(*client, id, "the model is being read already");
    return;
  }
  reload_ = Reload{client != nullptr ? client->number() : 0, id,
                   std::make_unique<SelfTest>(options_)};
  if (client != nullptr) ++client->pending;
}

void Server::finish_test() {
  SelfTest& test = *reload_->test;
  if (!test.is_overdue() && !test.read()) return;
  const auto fault = test.fault();
  reload_->test.reset();
  if (fault) {
    finish_reload(fault);
    return;
  }
  Job job;
  job.request.kind = EDGE_RELOAD;
  ++at_work_;
  exchange_.add(std::move(job));
}

void Server::finish_reload(const std::optional<Error>& error) {
  ++(error ? counters_.refused_reloads : counters_.reloads);
  tell(error ? message_lines(*error) : "reload: serves " + printable(served_.model) + "\n");
  const auto [connection, id, test] = *std::exchange(reload_, std::nullopt);
  if (Connection* client = find(connection)) answer(*client, id, error, status_document());
}

void Server::serve_metrics(Connection& client) {
  char request[4096];  // whatever it is
  if (recv(client.fd(), request, sizeof request, MSG_DONTWAIT) < 0) {
    end(client);
    return;
  }
  client.write(metrics_head + metrics());
  client.finish();
  if (!client.send(now_ms_)) end(client);
}

Connection* Server::find(uint64_t number) {
  for (Connection& client : clients_) {
    if (client.number() == number) return &client;
  }
  return nullptr;
}

std::string Server::metrics() const {
  return metrics_text(counters_, {exchange_.waiting(), most_waiting(options_), clients_.size()},
                      served_);
}

std::string Server::status_document() const {
  Document document(options_.command);
  Json top = document.top();
  top.set("model", served_.model);
  set_settings(top, served_.settings);
  top.set("waiting", uint64_t{exchange_.waiting()});
  top.set("queue", uint64_t{most_waiting(options_)});
  Json requests = top.object("requests");
  requests.set("done", counters_.done);
  requests.set("failed", counters_.failed);
  requests.set("busy", counters_.busy);
  requests.set("refused", counters_.refused);
  requests.set("abandoned", counters_.abandoned);
  return document.text();
}

/// Of all images that came with their requests and are not answered, bytes.
size_t Server::image_limit() const {
  return std::min(served_.settings.limits.bytes, served_.settings.limits.memory);
}

std::optional<Error> check(Engine& engine) {
  if (auto error = task_fault(engine)) return error;
  // A release on trial is committed once it says that it is ready, so it proves that first.
  return first_golden_fault(engine);
}

/// From here on strangers' images are read, so no more than that is permitted.
std::optional<Error> become_user(const Options& options) {
  if (options.user.empty()) return std::nullopt;
  if (auto error = become(options.user, {options.folder}, crash_folder())) return error;
  return folder_fault("--folder", options.folder);
}

}  // namespace

Outcome serve(const Options& options) {
  if (auto error = folder_fault("--folder", options.folder)) return failed(options.command, *error);
  Descriptor signals = listen_for_signals();
  auto opened = open_engine(options);
  if (!opened) return failed(options.command, opened.error());
  auto engine = std::make_unique<Engine>(std::move(*opened));
  if (const auto error = check(*engine)) return failed(options.command, *error);
  Exchange exchange(most_waiting(options));
  Server server(options, exchange, {engine->card.name, engine->settings}, std::move(signals));
  auto error = become_user(options);
  if (!error) error = server.open();
  if (error) return failed(options.command, *error);
  Worker worker(options, std::move(engine), exchange);
  std::thread thread([&] { worker.run(); });
  server.run();
  thread.join();
  return {Exit::done, "", ""};
}

}  // namespace edge
