#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "edge/apart.hpp"
#include "edge/arrivals.hpp"
#include "edge/file.hpp"
#include "edge/heartbeat.hpp"
#include "edge/watch.hpp"
#include "support.hpp"

using namespace edge;

namespace {

constexpr int patience_ms = 20000;

Options watch_options(const std::string& in, const std::string& out) {
  Options options;
  options.command = "watch";
  options.model = "/nowhere/model.ort";
  options.in = in;
  options.out = out;
  return options;
}

std::string read_text(const std::string& path) {
  const auto bytes = read_file(path, {Exit::bug, "missing", "too_large", 4096});
  REQUIRE(bytes);
  return std::string(reinterpret_cast<const char*>(bytes->data.get()), bytes->size);
}

}  // namespace

TEST_CASE("a folder that is missing is told before the model is looked at") {
  const TemporaryFolder folder;
  const Outcome in = watch(watch_options(folder.path("none"), folder.path("")));
  CHECK(in.exit == Exit::usage);
  CHECK(contains(in.message, "--in=" + folder.path("none: no such file")));
  const Outcome out = watch(watch_options(folder.path(""), folder.path("none")));
  CHECK(contains(out.json, "folder_unusable"));
  CHECK(watch(watch_options(folder.path(""), folder.path(""))).exit == Exit::model);
}

TEST_CASE("a result replaces nothing, and nothing is written through a link") {
  const TemporaryFolder folder;
  const std::string victim = folder.write("victim", "mine");
  const std::string out = folder.path("out");
  mkdir(out.c_str(), 0755);
  REQUIRE(symlink(victim.c_str(), (out + "/.first").c_str()) == 0);
  CHECK(write_new_file(out + "/first", "text"));
  CHECK(read_text(out + "/first") == "text");
  CHECK_FALSE(write_new_file(out + "/first", "other"));
  CHECK(errno == EEXIST);
  CHECK(read_text(out + "/first") == "text");
  REQUIRE(symlink(victim.c_str(), (out + "/second").c_str()) == 0);
  CHECK_FALSE(write_new_file(out + "/second", "other"));
  CHECK(read_text(victim) == "mine");
  CHECK(access((out + "/.first").c_str(), F_OK) != 0);
  CHECK_FALSE(write_new_file(folder.path("none/file"), "text"));
}

TEST_CASE("an image that ends its decoder ends nothing else") {
  Card card;
  card.inputs = {{"image", {1, 1, 4, 4}}};
  card.preprocess.normalize.per_image = true;
  card.preprocess.normalize.epsilon = 1e-5;
  const auto apart = [&](const std::string& path) {
    return load_apart(path, card, {})->finish([] {});
  };
  const auto good = apart(EDGE_CORPUS "/good-gray.png");
  REQUIRE(good);
  CHECK(good->values == load_input(EDGE_CORPUS "/good-gray.png", card, {})->values);
  CHECK(std::string(apart(EDGE_CORPUS "/wrong-crc.png").error().code) == "image_corrupt");
  const TemporaryFolder folder;
  REQUIRE(symlink(EDGE_CORPUS "/good-gray.png", folder.path("link").c_str()) == 0);
  CHECK(apart(folder.path("link")).error().problem == "is a link");

  card.inputs = {{"image", {1, 1, 1, 1 << 22}}};  // the filter alone takes more than is permitted
  const auto crashed = apart(EDGE_CORPUS "/good-gray.png");
  REQUIRE_FALSE(crashed);
  CHECK(std::string(crashed.error().code) == "image_crashed");
}

TEST_CASE("an image is decoded while its owner does something else, and ended with it") {
  Card card;
  card.inputs = {{"image", {1, 1, 1, 1}}};
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  pollfd waiting{ends[0], POLLIN, 0};
  const auto decoder = [&](std::shared_ptr<uint8_t>) -> Result<Input> {
    [[maybe_unused]] const ssize_t written = write(ends[1], "x", 1);
    while (true) pause();
  };
  {
    const Apart decoding("image", decoder, card, {}, ends[1]);
    REQUIRE(poll(&waiting, 1, patience_ms) == 1);  // before anybody waits for it
    char byte = 0;
    CHECK(read(ends[0], &byte, 1) == 1);
  }
  close(ends[1]);
  REQUIRE(poll(&waiting, 1, patience_ms) == 1);
  char byte = 0;
  CHECK(read(ends[0], &byte, 1) == 0);  // the process had the other end
  close(ends[0]);
}

TEST_CASE("a decoder that was killed, as when memory is short, is tried again once") {
  Card card;
  card.inputs = {{"image", {1, 1, 1, 1}}};
  const TemporaryFolder folder;
  const auto killed_times = [&](int times) {
    const std::string notes = folder.path(std::to_string(times));
    const Decoder decoder = [=](std::shared_ptr<uint8_t>) -> Result<Input> {
      for (int i = 0; i < times; ++i) {
        if (mkdir((notes + "-" + std::to_string(i)).c_str(), 0755) == 0) raise(SIGKILL);
      }
      return Input{{7}};
    };
    return Apart("image", decoder, card, {}).finish([] {});
  };
  const auto input = killed_times(1);
  REQUIRE(input);
  CHECK(input->values == std::vector<float>{7});
  CHECK(contains(killed_times(2).error().problem, "ended the decoder by signal 9"));
}

TEST_CASE("a decoder has no connection of the service's") {
  Card card;
  card.inputs = {{"image", {1, 1, 1, 1}}};
  int ends[2];
  REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
  const auto decoder = [](std::shared_ptr<uint8_t>) -> Result<Input> {
    while (true) pause();
  };
  const Apart decoding("image", decoder, card, {});
  close(ends[1]);
  pollfd waiting{ends[0], POLLIN, 0};
  REQUIRE(poll(&waiting, 1, patience_ms) == 1);
  char byte = 0;
  CHECK(read(ends[0], &byte, 1) == 0);  // while the image is still decoded
  close(ends[0]);
}

TEST_CASE("a frame that is cut into tiles comes out of its decoder's process as it is") {
  Card card;
  card.inputs = {{"image", {1, 1, 4, 4}}};
  card.preprocess.normalize.per_image = true;
  card.preprocess.normalize.epsilon = 1e-5;
  card.tiling = Tiling{16, 16};
  for (const char* path : {EDGE_CORPUS "/good-gray.png", EDGE_CORPUS "/good-rgb.png"}) {
    const auto apart = load_apart(path, card, {})->finish([] {});
    const auto here = load_input(path, card, {});
    REQUIRE(apart);
    const ImageShape& shape = apart->frame.shape;
    CHECK(shape.channels == 1);
    const size_t bytes = static_cast<size_t>(shape.width) * static_cast<size_t>(shape.height);
    CHECK(std::memcmp(apart->frame.pixels.get(), here->frame.pixels.get(), bytes) == 0);
  }
  ImageLimits limits;
  limits.memory = 1;  // no file is as small
  CHECK(std::string(
            load_apart(EDGE_CORPUS "/good-gray.png", card, limits)->finish([] {}).error().code) ==
        "image_too_large");
}

TEST_CASE("only a renamed file is complete at once") {
  const TemporaryFolder folder;
  const std::string in = folder.path("in");
  mkdir(in.c_str(), 0755);
  folder.write("in/before.png", "x");
  Arrivals arrivals(in, folder.path(""));
  folder.write("in/copied.png", "x");
  folder.write("aside", "x");
  REQUIRE(rename(folder.path("aside").c_str(), (in + "/moved.png").c_str()) == 0);
  CHECK(arrivals.is_complete("moved.png"));
  CHECK_FALSE(arrivals.is_complete("before.png"));
  CHECK_FALSE(arrivals.is_complete("copied.png"));
  std::ofstream slow(in + "/slow.png");
  slow << "half" << std::flush;
  CHECK_FALSE(arrivals.is_complete("slow.png"));
  usleep(1100 * 1000);
  folder.write("in/copied.png", "xy");  // changed: it waits anew
  CHECK_FALSE(arrivals.is_complete("copied.png"));
  usleep(1100 * 1000);
  CHECK(arrivals.is_complete("before.png"));
  CHECK_FALSE(arrivals.is_complete("copied.png"));
  CHECK_FALSE(arrivals.is_complete("slow.png"));
  usleep(1100 * 1000);
  CHECK(arrivals.is_complete("copied.png"));
  CHECK_FALSE(arrivals.is_complete("slow.png"));  // still open
  CHECK_FALSE(arrivals.is_complete("absent.png"));
  for (const char* name : {"before.png", "copied.png", "moved.png", "slow.png"}) {
    unlink((in + "/" + name).c_str());
  }
  arrivals.wait(0);
  CHECK(arrivals.known() == 0);  // a service runs for years
}

TEST_CASE("a heartbeat says who is well, since the board was switched on") {
  const TemporaryFolder folder;
  const std::string file = folder.path("beat");
  Heartbeat(file, "watch").beat(7, 2, nullptr);
  const std::string text = read_text(file);
  CHECK(contains(text, "\"images\":7,\"failed\":2"));
  CHECK(contains(text, "\"pid\":" + std::to_string(getpid())));
  CHECK(contains(text, "\"uptime_s\":"));
  CHECK(contains(text, "\"heap_bytes\":"));
  CHECK(contains(text, "\"thermal\":null"));
}

TEST_CASE("a longer heartbeat leaves nothing of a shorter one, nor the other way round") {
  const TemporaryFolder folder;
  const std::string file = folder.path("beat");
  const Heartbeat heartbeat(file, "watch");
  Pacer pacer(80, 4, folder.path("none"));
  pacer.wait([] {});
  heartbeat.beat(INT64_MAX, INT64_MAX, &pacer);
  const std::string text = read_text(file);
  heartbeat.beat(7, 2, nullptr);
  CHECK(read_text(file).size() == text.size());
}

TEST_CASE("edgectl hears of a service that is ready in the file that it left open") {
  const TemporaryFolder folder;
  const std::string path = folder.write("service", "12 starting\n");
  const int fd = open(path.c_str(), O_RDWR);
  REQUIRE(lseek(fd, 3, SEEK_SET) == 3);
  setenv("EDGECTL_READY_FD", std::to_string(fd).c_str(), 1);
  CHECK(Heartbeat("", "watch").ready());
  close(fd);
  CHECK_FALSE(Heartbeat("", "watch").ready());
  unsetenv("EDGECTL_READY_FD");
  CHECK(read_text(path) == "12 ready\nng\n");
}

TEST_CASE("systemd hears of a service through its socket") {
  const TemporaryFolder folder;
  const std::string path = folder.path("notify");
  const int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strcpy(address.sun_path, path.c_str());
  REQUIRE(bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  setenv("NOTIFY_SOCKET", path.c_str(), 1);
  const Heartbeat heartbeat("", "watch");
  heartbeat.ready();
  heartbeat.beat(1, 0, nullptr);
  unsetenv("NOTIFY_SOCKET");
  char heard[64] = {};
  CHECK(recv(fd, heard, sizeof heard, MSG_DONTWAIT) == 7);
  CHECK(std::string(heard) == "READY=1");
  CHECK(recv(fd, heard, sizeof heard, MSG_DONTWAIT) == 10);
  CHECK(std::string(heard, 10) == "WATCHDOG=1");
  close(fd);
}
