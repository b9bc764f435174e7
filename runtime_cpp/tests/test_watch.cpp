#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "edge/file.hpp"
#include "edge/heartbeat.hpp"
#include "edge/watch.hpp"
#include "support.hpp"

using namespace edge;

namespace {

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

TEST_CASE("a small file is replaced as a whole, and one that cannot be is told") {
  const TemporaryFolder folder;
  CHECK(write_file(folder.path("file"), "first"));
  CHECK(write_file(folder.path("file"), "second"));
  CHECK(read_text(folder.path("file")) == "second");
  CHECK(access((folder.path("") + "/.file").c_str(), F_OK) != 0);
  CHECK(!write_file(folder.path("none/file"), "text"));
}

TEST_CASE("a heartbeat says who is well, since the board was switched on") {
  const TemporaryFolder folder;
  const std::string file = folder.path("beat");
  Heartbeat(file).beat(7, 2);
  const std::string text = read_text(file);
  CHECK(contains(text, "\"images\":7,\"failed\":2"));
  CHECK(contains(text, "\"pid\":" + std::to_string(getpid())));
  CHECK(contains(text, "\"uptime_s\":"));
}

TEST_CASE("edgectl hears of a service that is ready in the file that it left open") {
  const TemporaryFolder folder;
  const std::string path = folder.write("service", "12 starting\n");
  const int fd = open(path.c_str(), O_RDWR);
  REQUIRE(lseek(fd, 3, SEEK_SET) == 3);
  setenv("EDGECTL_READY_FD", std::to_string(fd).c_str(), 1);
  CHECK(Heartbeat("").ready());
  close(fd);
  CHECK_FALSE(Heartbeat("").ready());
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
  const Heartbeat heartbeat("");
  heartbeat.ready();
  heartbeat.beat(1, 0);
  unsetenv("NOTIFY_SOCKET");
  char heard[64] = {};
  CHECK(recv(fd, heard, sizeof heard, MSG_DONTWAIT) == 7);
  CHECK(std::string(heard) == "READY=1");
  CHECK(recv(fd, heard, sizeof heard, MSG_DONTWAIT) == 10);
  CHECK(std::string(heard, 10) == "WATCHDOG=1");
  close(fd);
}
