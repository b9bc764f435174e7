#include <sched.h>

#include <ctime>
#include <memory>

#include "edge/pacer.hpp"
#include "support.hpp"

using namespace edge;

namespace {

/// A tree of Linux's files.
class Sysfs {
 public:
  void zone(int number, const std::string& text) const {
    folder_.write("sys/class/thermal/thermal_zone" + std::to_string(number) + "/temp", text);
  }
  void clock(int core, const std::string& khz) const {
    const std::string cpu = "sys/devices/system/cpu/cpu" + std::to_string(core);
    folder_.write(cpu + "/cpufreq/scaling_max_freq", khz);
  }
  std::string root() const { return folder_.path(); }

 private:
  TemporaryFolder folder_;
};

std::string report_of(const Pacer& pacer) {
  Document document("test");
  set_thermal(document.top(), &pacer);
  return document.text();
}

int cores_now() {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  sched_getaffinity(0, sizeof cores, &cores);
  return CPU_COUNT(&cores);
}

}  // namespace

TEST_CASE("the hottest zone that can be true counts") {
  const Sysfs sysfs;
  HeatSensors sensors(sysfs.root());
  CHECK_FALSE(sensors.read(0).celsius);
  sysfs.zone(0, "45500\n");
  sysfs.zone(2, "61000");     // no line end; zone 1 is gone
  sysfs.zone(3, "200000\n");  // no board is as hot
  sysfs.zone(4, "hot\n");
  sysfs.zone(5, "");
  CHECK(sensors.read(0).celsius == 61.0);
}

TEST_CASE("where every zone is absurd, that is what is told") {
  const Sysfs sysfs;
  sysfs.zone(0, "-274000\n");
  CHECK(HeatSensors(sysfs.root()).read(0).celsius == -274.0);
}

TEST_CASE("a clock that is held down is one that may run slower than it might") {
  const Sysfs sysfs;
  HeatSensors sensors(sysfs.root());
  CHECK_FALSE(sensors.read(0).capped);
  sysfs.clock(0, "1400000\n");
  sysfs.clock(1, "1400000\n");
  CHECK_FALSE(sensors.read(0).capped);
  sysfs.clock(1, "600000\n");
  CHECK(sensors.read(0).capped);
  sysfs.clock(1, "1400000\n");
  CHECK_FALSE(sensors.read(0).capped);
}

TEST_CASE("a cool board waits for nothing") {
  const Sysfs sysfs;
  sysfs.zone(0, "40000\n");
  Pacer pacer(80, 4, sysfs.root());
  for (int i = 0; i < 3; ++i) {
    CHECK(pacer.wait([] {}) < 20);
    pacer.worked(500);
  }
  const std::string report = report_of(pacer);
  CHECK(contains(report, "\"sensor\":\"good\",\"celsius\":40,\"highest_c\":40,\"effort\":1,"));
  CHECK(contains(report, "\"samples\":1"));  // not one for each inference
}

TEST_CASE("a hot board waits, uses fewer cores, and gets them back") {
  const int all = cores_now();
  const Sysfs sysfs;
  sysfs.zone(0, "95000\n");
  {
    Pacer pacer(80, all, sysfs.root());
    pacer.wait([] {});
    CHECK(cores_now() == 1);
    pacer.worked(100);
    // One core: its share of the least effort, at most that alone.
    CHECK(pacer.wait([] {}) > 100 / (Governor::least_effort * all) - 100 - 20);
    CHECK(contains(report_of(pacer), "\"least_effort\":0.1,\"threads\":1"));
    sysfs.zone(0, "30000\n");
    for (int i = 0; i < 60 && cores_now() < all; ++i) {
      pacer.worked(0);
      timespec second{1, 0};
      nanosleep(&second, nullptr);
      pacer.wait([] {});
    }
    CHECK(cores_now() == all);
  }
}

TEST_CASE("a model that is loaded anew on a hot board begins with all cores") {
  const int all = cores_now();
  const Sysfs sysfs;
  sysfs.zone(0, "95000\n");
  auto former = std::make_unique<Pacer>(80, all, sysfs.root());
  former->wait([] {});
  CHECK(cores_now() == 1);
  sysfs.zone(0, "30000\n");
  Pacer next(80, all, sysfs.root());
  former.reset();
  CHECK(cores_now() == all);
  next.wait([] {});
  CHECK(next.effort() == 1);
  CHECK(next.celsius() == 30);
  CHECK(cores_now() == all);
}

TEST_CASE("whoever waits for long is heard of") {
  const Sysfs sysfs;
  sysfs.zone(0, "95000\n");
  Pacer pacer(80, 1, sysfs.root());
  pacer.wait([] {});
  pacer.worked(300);  // of which comes a wait of 2.7 s
  int beats = 0;
  const double ms = pacer.wait([&] { ++beats; });
  CHECK(ms > 2500);
  CHECK(ms < 4000);
  CHECK(beats >= 1);
}
