#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <thread>

#include "edge/preprocess.hpp"
#include "edge/serve.hpp"
#include "edge/serve_connection.hpp"
#include "edge/serve_frame.hpp"
#include "edge/serve_metrics.hpp"
#include "edge/serve_worker.hpp"
#include "support.hpp"

using namespace edge;

namespace {

/// A client's end, and the service's.
struct Pair {
  Descriptor client;
  Connection service;
};

Pair connected() {
  int ends[2] = {-1, -1};
  REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
  return {Descriptor(ends[0]), Connection(7, Descriptor(ends[1]), 0)};
}

edge_request request_of(edge_kind kind, uint32_t image_size = 0) {
  return {EDGE_REQUEST_REST + image_size, 1, static_cast<uint32_t>(kind), 0, 0, 0, 0, 0, 0};
}

JobPtr job_of(uint64_t connection, uint32_t id) {
  auto job = std::make_unique<Job>();
  job->connection = connection;
  job->request = request_of(EDGE_FRAME);
  job->request.id = id;
  return job;
}

Card gray_card() {
  Card card;
  card.inputs = {{"image", {1, 1, 4, 4}}};
  card.preprocess.normalize.per_image = true;
  card.preprocess.normalize.epsilon = 1e-5;
  return card;
}

}  // namespace

TEST_CASE("a request that comes byte by byte is one") {
  auto [client, service] = connected();
  const edge_request request = request_of(EDGE_IMAGE, 3);
  const auto* bytes = reinterpret_cast<const char*>(&request);
  for (size_t i = 0; i + 1 < sizeof request; ++i) {
    REQUIRE(write(client.get(), bytes + i, 1) == 1);
    CHECK(service.receive(0) == Incoming::part);
  }
  REQUIRE(write(client.get(), bytes + sizeof request - 1, 1) == 1);
  CHECK(service.receive(0) == Incoming::head);
  REQUIRE(service.accept());
  CHECK(service.held_bytes() == 3);
  REQUIRE(write(client.get(), "ab", 2) == 2);
  CHECK(service.receive(0) == Incoming::part);
  CHECK(service.receive(0) == Incoming::part);  // nothing is there
  REQUIRE(write(client.get(), "cd", 2) == 2);   // the last is of the next request
  CHECK(service.receive(0) == Incoming::whole);
  const Job job = service.take(5);
  CHECK(std::memcmp(job.image.data.get(), "abc", 3) == 0);
  CHECK(job.connection == 7);
  CHECK(service.held_bytes() == 0);
  CHECK(service.receive(0) == Incoming::part);
  client = Descriptor();
}

TEST_CASE("an image there is no room for is read, and held nowhere") {
  auto [client, service] = connected();
  const edge_request request = request_of(EDGE_IMAGE, 10000);
  const std::string image(10000, 'x');
  REQUIRE(edge_send(client.get(), &request, -1) == 0);
  REQUIRE(edge_send_bytes(client.get(), image.data(), image.size()) == 0);
  CHECK(service.receive(0) == Incoming::head);
  service.skip();
  CHECK(service.held_bytes() == 0);
  Incoming incoming = Incoming::part;
  while (incoming == Incoming::part) incoming = service.receive(0);
  CHECK(incoming == Incoming::whole);
  CHECK(service.is_skipped());
  service.take(0);
  CHECK_FALSE(service.is_skipped());
}

TEST_CASE("what is no request is refused") {
  const auto refused = [](edge_request request, int fd) {
    auto [client, service] = connected();
    REQUIRE(edge_send(client.get(), &request, fd) == 0);
    return service.receive(0) == Incoming::refused;
  };
  const Descriptor file(dup(STDIN_FILENO));
  CHECK_FALSE(refused(request_of(EDGE_STATUS), -1));
  CHECK_FALSE(refused(request_of(EDGE_FRAME), file.get()));
  CHECK(refused(request_of(EDGE_FRAME), -1));
  CHECK(refused(request_of(EDGE_STATUS), file.get()));
  CHECK(refused(request_of(EDGE_IMAGE), -1));  // of no bytes
  CHECK(refused(request_of(EDGE_STATUS, 1), -1));
  CHECK(refused(request_of(static_cast<edge_kind>(0)), -1));
  CHECK(refused(request_of(static_cast<edge_kind>(6)), -1));
  edge_request shorter = request_of(EDGE_STATUS);
  shorter.length = 3;
  CHECK(refused(shorter, -1));
}

TEST_CASE("while an answer is not sent no request is read") {
  auto [client, service] = connected();
  CHECK(service.events() == POLLIN);
  const std::string json(1 << 20, 'j');
  service.answer(9, EDGE_DONE, json, 0);
  CHECK(service.events() == POLLOUT);
  REQUIRE(service.send(0));
  CHECK_FALSE(service.is_sent());  // more than a socket holds
  CHECK_FALSE(service.is_stuck(29000));
  CHECK(service.is_stuck(31000));
  edge_answer answer{};
  std::thread reader([&, fd = client.get()] {
    char* text = edge_receive(fd, &answer);
    CHECK(text == json);
    std::free(text);
  });
  while (!service.is_sent()) REQUIRE(service.send(1000));
  reader.join();
  CHECK(answer.id == 9);
  CHECK(service.events() == POLLIN);
  service.finish();
  CHECK(service.events() == 0);
  CHECK(service.is_done());
}

TEST_CASE("half a request is waited for, but not for ever") {
  auto [client, service] = connected();
  CHECK_FALSE(service.is_stuck(1e9));  // idle is as good as any
  REQUIRE(write(client.get(), "half", 4) == 4);
  CHECK(service.receive(1000) == Incoming::part);
  REQUIRE(write(client.get(), "x", 1) == 1);
  CHECK(service.receive(20000) == Incoming::part);
  CHECK_FALSE(service.is_stuck(30000));
  CHECK(service.is_stuck(32000));  // by its first byte
}

TEST_CASE("jobs go out as they came in, and of a client that has gone nobody waits for one") {
  Exchange exchange;
  exchange.add(job_of(1, 10));
  exchange.add(job_of(2, 20));
  exchange.add(job_of(1, 11));
  CHECK(exchange.waiting() == 3);
  exchange.forget(1);
  CHECK(exchange.take()->connection == 0);
  const JobPtr second = exchange.take();
  CHECK(second->request.id == 20);
  CHECK(second->connection == 2);
  CHECK(exchange.take()->connection == 0);
  exchange.close();
  CHECK(exchange.take() == nullptr);
}

TEST_CASE("the job that is taken next is seen before, and waits all the same") {
  Exchange exchange;
  CHECK(exchange.next() == nullptr);
  exchange.add(job_of(1, 10));
  exchange.add(job_of(2, 20));
  const Job* next = exchange.next();
  CHECK(exchange.waiting() == 2);
  CHECK(exchange.take().get() == next);
  CHECK(exchange.next()->request.id == 20);
}

TEST_CASE("a job at hand that does not move on is told from one that does") {
  Exchange exchange;
  CHECK(exchange.is_moving());
  CHECK(exchange.is_moving());  // nothing to do is well
  exchange.add(job_of(1, 1));
  REQUIRE(exchange.take());
  CHECK(exchange.is_moving());
  CHECK_FALSE(exchange.is_moving());
  exchange.moved();
  CHECK(exchange.is_moving());
}

TEST_CASE("answers wake the other thread") {
  Exchange exchange;
  pollfd waiting{exchange.wake_fd(), POLLIN, 0};
  CHECK(poll(&waiting, 1, 0) == 0);
  exchange.answer(job_of(4, 1));
  exchange.answer(job_of(5, 2));
  CHECK(poll(&waiting, 1, 0) == 1);
  const auto answered = exchange.answered();
  REQUIRE(answered.size() == 2);
  CHECK(answered[1]->connection == 5);
  CHECK(poll(&waiting, 1, 0) == 0);
}

TEST_CASE("a frame of more bytes than can be counted is none") {
  edge_frame frame{};
  CHECK(edge_frame_open(&frame, UINT32_MAX, 1, EDGE_RGB) == -1);
  CHECK(errno == EOVERFLOW);
  if (sizeof(size_t) > 4) return;  // which count all others
  CHECK(edge_frame_open(&frame, UINT32_MAX, 2, EDGE_GRAY) == -1);
  CHECK(errno == EOVERFLOW);
}

TEST_CASE("a frame is the image of its pixels") {
  edge_frame frame{};
  REQUIRE(edge_frame_open(&frame, 6, 5, EDGE_GRAY) == 0);
  for (uint8_t i = 0; i < 30; ++i) frame.pixels[i] = static_cast<uint8_t>(i * 8);
  const TemporaryFolder folder;
  std::string pgm = "P5\n6 5\n255\n";
  pgm.append(reinterpret_cast<const char*>(frame.pixels), 30);
  const Card card = gray_card();
  edge_request request = request_of(EDGE_FRAME);
  request.format = frame.format;
  request.width = 6;
  request.height = 5;
  request.stride = 6;
  const auto input = load_frame(request, frame.fd, "frame", card, {});
  REQUIRE(input);
  CHECK(input->values == load_input(folder.write("x.pgm", pgm), card, {})->values);

  request.offset = 6;
  CHECK(contains(load_frame(request, frame.fd, "frame", card, {}).error().problem, "byte 36"));
  request.height = 4;
  CHECK(load_frame(request, frame.fd, "frame", card, {}));
  request.height = 0xFFFFFFFF;
  request.width = 0xFFFFFFFF;
  CHECK_FALSE(load_frame(request, frame.fd, "frame", card, {}));
  edge_frame_close(&frame);
}

TEST_CASE("a frame takes no memory of the service's") {
  edge_request request = request_of(EDGE_FRAME);
  request.format = EDGE_GRAY;
  request.width = request.height = request.stride = 64;
  const auto problem = [&](int memory, off_t size) {
    REQUIRE(ftruncate(memory, size) == 0);
    REQUIRE(fcntl(memory, F_ADD_SEALS, F_SEAL_SHRINK) == 0);
    const auto input = load_frame(request, memory, "frame", gray_card(), {});
    REQUIRE_FALSE(input);
    return input.error().problem;
  };
  const Descriptor hollow(memfd_create("hollow", MFD_ALLOW_SEALING));
  CHECK(problem(hollow.get(), 4096) == "has pixels that nobody has written");
  struct stat status{};
  REQUIRE(fstat(hollow.get(), &status) == 0);
  CHECK(status.st_blocks == 0);
  const std::string pixels(4096, 'x');
  REQUIRE(pwrite(hollow.get(), pixels.data(), pixels.size(), 0) == 4096);
  CHECK(load_frame(request, hollow.get(), "frame", gray_card(), {}));
  const Descriptor huge(memfd_create("huge", MFD_ALLOW_SEALING | MFD_HUGETLB));
  if (!huge) return;  // a kernel without them
  CHECK(problem(huge.get(), 1 << 30) == "is memory in huge pages");
}

TEST_CASE("a picture may be less than the memory that a camera pads") {
  edge_frame frame{};
  REQUIRE(edge_frame_open(&frame, 6, 8, EDGE_NV12) == 0);
  frame.width = 4;
  frame.height = 5;
  const Card card = gray_card();
  edge_request request = request_of(EDGE_FRAME);
  request.format = frame.format;
  request.width = frame.width;
  request.height = frame.height;
  request.stride = frame.stride;
  request.chroma = frame.chroma;
  CHECK(frame.chroma == 48);
  CHECK(load_frame(request, frame.fd, "frame", card, {}));
  request.chroma = 27;  // luma ends at 4 rows of 6 and one of 4
  CHECK(load_frame(request, frame.fd, "frame", card, {}).error().problem ==
        "has chroma from byte 27 on, its luma ends at 28");
  request.chroma = 0xFFFFFFFF;
  CHECK_FALSE(load_frame(request, frame.fd, "frame", card, {}));
  edge_frame_close(&frame);
}

TEST_CASE("a label has whatever a model is called") {
  CHECK(label_value("a \"name\"\n\\\xFF") == "\"a \\\"name\\\"\\n\\\\\xEF\xBF\xBD\"");
}

TEST_CASE("a folder that cannot hold its sockets is told before the model is looked at") {
  const TemporaryFolder folder;
  Options options;
  options.command = "serve";
  options.model = "/nowhere/model.ort";
  options.folder = folder.path("none");
  CHECK(contains(serve(options).message, "--folder=" + folder.path("none: no such file")));
  options.folder = folder.path("");
  CHECK(serve(options).exit == Exit::model);
}
