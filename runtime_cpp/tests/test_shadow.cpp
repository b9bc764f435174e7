#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

#include "edge/client.h"
#include "edge/serve_connection.hpp"
#include "edge/shadow_feed.hpp"
#include "support.hpp"

using namespace edge;

namespace {

/// A deploy root with one release in it, and what the service of that release gives.
struct Deployed {
  Deployed() { folder.write("releases/0123456789abcdef/run.json", "{}"); }

  Settings settings(size_t memory = 1000) const {
    Settings settings;
    settings.release = folder.path("releases/0123456789abcdef");
    settings.limits.memory = memory;
    return settings;
  }
  std::string socket_path() const {
    return folder.path(std::string(shadow_folder) + "/" + shadow_socket);
  }

  TemporaryFolder folder;
};

Card card_of_two() {
  Card card;
  card.labels = {"ok", "bad"};
  return card;
}

const ClassAnswer answer{1, {0.25, 0.75}};

bool four_bytes(int file, size_t limit) {
  return limit >= 4 && write_all(file, "four", 4);
}

/// A candidate that listens, and does only what a test has it do.
class Listener {
 public:
  explicit Listener(const std::string& path) : socket_(socket(AF_UNIX, SOCK_STREAM, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    REQUIRE(path.size() < sizeof address.sun_path);
    std::strcpy(address.sun_path, path.c_str());
    const auto* at = reinterpret_cast<const sockaddr*>(&address);
    REQUIRE(bind(socket_.get(), at, sizeof address) == 0);
    REQUIRE(listen(socket_.get(), 1) == 0);
  }

  Connection accept() {
    pollfd waiting{socket_.get(), POLLIN, 0};
    REQUIRE(poll(&waiting, 1, 5000) == 1);
    Connection service(1, Descriptor(::accept(socket_.get(), nullptr, nullptr)), 0);
    REQUIRE(service.fd() >= 0);
    return service;
  }

 private:
  Descriptor socket_;
};

void ask(Connection& service, char letter) {
  service.write(std::string(1, letter));
  REQUIRE(service.send(0));
}

/// The feed connects to a candidate when it has a frame, and the candidate asks for the next one.
Connection ready(ShadowFeed& feed, Listener& candidate) {
  feed.offer(answer, card_of_two(), four_bytes);
  Connection service = candidate.accept();
  ask(service, ready_letter);
  return service;
}

std::string record_of(const Job& job) {
  const auto bytes = read_open_file(job.file.get(), "", {Exit::image, "", "", 1000});
  REQUIRE(bytes);
  return {reinterpret_cast<const char*>(bytes->data.get()), bytes->size};
}

uint32_t count(const ShadowFeed& feed, ShadowFate fate) {
  return feed.counts.counts[static_cast<size_t>(fate)];
}

}  // namespace

TEST_CASE("without a candidate no frame is read") {
  const Deployed deployed;
  int reads = 0;
  const auto writer = [&](int file, size_t limit) {
    ++reads;
    return four_bytes(file, limit);
  };
  ShadowFeed feed(deployed.settings());
  feed.offer(answer, card_of_two(), writer);
  Settings undeployed;
  undeployed.release = deployed.folder.path();
  ShadowFeed elsewhere(undeployed);
  elsewhere.offer(answer, card_of_two(), writer);
  CHECK(elsewhere.folder() == -1);
  CHECK(reads == 0);
  CHECK(count(feed, ShadowFate::missed) == 0);
}

TEST_CASE("a candidate gets a frame when it asks for one, with the answer of the service") {
  const Deployed deployed;
  ShadowFeed feed(deployed.settings());
  Listener candidate(deployed.socket_path());
  feed.offer(answer, card_of_two(), four_bytes);
  Connection service = candidate.accept();
  CHECK(count(feed, ShadowFate::missed) == 1);  // it has not asked yet

  ask(service, ready_letter);
  feed.offer(answer, card_of_two(), four_bytes);
  REQUIRE(service.receive(0) == Incoming::whole);
  const Job job = service.take(0);
  CHECK(job.request.id == 2);
  CHECK(job.request.kind == EDGE_FILE);
  const std::string record = record_of(job);
  CHECK(record.substr(0, 4) == "four");
  CHECK(record.substr(record.size() - 4) == std::string("\4\0\0\0", 4));
  CHECK(record.find(R"("class":"bad")") != std::string::npos);

  // It is at work: nobody waits for it, and nothing is laid by.
  feed.offer(answer, card_of_two(), four_bytes);
  feed.offer(answer, card_of_two(), four_bytes);
  CHECK(service.receive(0) == Incoming::part);
  CHECK(count(feed, ShadowFate::missed) == 3);

  ask(service, letter_of(ShadowFate::disagreed));
  feed.offer(answer, card_of_two(), four_bytes);
  REQUIRE(service.receive(0) == Incoming::whole);
  CHECK(service.take(0).request.id == 5);
  CHECK(count(feed, ShadowFate::disagreed) == 1);
  CHECK(count(feed, ShadowFate::agreed) == 0);
}

TEST_CASE("a frame that cannot be read is missed, and the next one is given") {
  const Deployed deployed;
  ShadowFeed feed(deployed.settings());
  Listener candidate(deployed.socket_path());
  Connection service = ready(feed, candidate);
  feed.offer(answer, card_of_two(), [](int, size_t) { return false; });
  CHECK(service.receive(0) == Incoming::part);
  feed.offer(answer, card_of_two(), four_bytes);
  CHECK(service.receive(0) == Incoming::whole);
}

TEST_CASE("a frame of more than half of image_memory is missed, and no larger one is held") {
  const Deployed deployed;
  ShadowFeed small(deployed.settings(7));
  ShadowFeed large(deployed.settings(8));
  Listener candidate(deployed.socket_path());
  for (ShadowFeed* feed : {&small, &large}) {
    Connection service = ready(*feed, candidate);
    feed->offer(answer, card_of_two(), four_bytes);
    CHECK(service.receive(0) == (feed == &small ? Incoming::part : Incoming::whole));
    CHECK(count(*feed, ShadowFate::missed) == (feed == &small ? 2 : 1));
  }
}

TEST_CASE("a candidate that asked and went away makes room for the next one") {
  const Deployed deployed;
  ShadowFeed feed(deployed.settings());
  {
    Listener candidate(deployed.socket_path());
    const Connection service = ready(feed, candidate);
  }
  feed.offer(answer, card_of_two(), four_bytes);
  REQUIRE(unlink(deployed.socket_path().c_str()) == 0);
  Listener next(deployed.socket_path());
  Connection service = ready(feed, next);
  feed.offer(answer, card_of_two(), four_bytes);
  CHECK(service.receive(0) == Incoming::whole);
}

TEST_CASE("a candidate that accepts nobody, or goes away, keeps nobody waiting") {
  const Deployed deployed;
  ShadowFeed feed(deployed.settings());
  std::vector<std::unique_ptr<ShadowFeed>> others;
  {
    Listener deaf(deployed.socket_path());
    for (int i = 0; i < 5; ++i) {  // more than may wait to be accepted
      others.push_back(std::make_unique<ShadowFeed>(deployed.settings()));
      others.back()->offer(answer, card_of_two(), four_bytes);
    }
    CHECK(count(*others.front(), ShadowFate::missed) == 1);
    CHECK(count(*others.back(), ShadowFate::missed) == 0);  // it is not connected
  }
  others.front()->offer(answer, card_of_two(), four_bytes);
  CHECK(count(*others.front(), ShadowFate::missed) == 1);
}
