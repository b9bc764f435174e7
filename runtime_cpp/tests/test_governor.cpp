#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>

#include "edge/governor.hpp"
#include "support.hpp"

using namespace edge;

namespace {

/// Heat of a board above its surroundings, as two bodies one after the other: the chip, which
/// follows the power within seconds, and what it lies on, which takes minutes.
struct Body {
  double full_c;  // that full power makes of it, in the end
  double constant_s;

  double heat_c = 0;
  void run(double power, double seconds) {
    heat_c += (power * full_c - heat_c) * (1 - std::exp(-seconds / constant_s));
  }
};

struct Board {
  const char* name;
  double idle_c;
  Body chip, carrier;
};

// Two exponentials fitted (least squares) to the temperatures that stressberry recorded every two
// seconds while all four cores were loaded, from the start of the load on: github.com/nschloe/
// stressberry, gh-pages, rpi3b-naked.dat until it throttled (error 0.4 °C), rpi4b-stock.dat and
// rpi4b-flirc.dat (0.6 °C each; their sensors tell whole degrees).
constexpr Board pi3{"Raspberry Pi 3B, bare", 46.2, {16.1, 5.9}, {19.8, 78}};
constexpr Board pi4{"Raspberry Pi 4B, bare", 47.0, {9.1, 5.9}, {16.2, 99}};
constexpr Board flirc{"Raspberry Pi 4B, Flirc case", 37.5, {6.3, 2.7}, {8.7, 259}};

constexpr double limit_c = 80;
constexpr int cores = 4;

/// A board that infers image after image, as fast as a governor lets it.
class Line {
 public:
  Line(Board board, double warmer_c, double inference_s, double resolution_c = 1)
      : board_(board), inference_s_(inference_s), resolution_c_(resolution_c) {
    board_.idle_c += warmer_c;
  }

  double celsius() const { return board_.idle_c + board_.chip.heat_c + board_.carrier.heat_c; }

  /// What the sensor says: whole steps, and as restless as those of the recordings.
  double sensor() {
    state_ = state_ * 1664525u + 1013904223u;
    const double noise = (static_cast<double>(state_ >> 8) / 8388608.0 - 1) * 0.7;
    return std::floor((celsius() + noise) / resolution_c_) * resolution_c_;
  }

  void run(double seconds) {
    forget();
    for (const double end = now_s + seconds; now_s < end;) {
      const double began = now_s;
      look();
      const Pace pace = governor.pace();
      // Three quarters of an inference are shared by the threads.
      const double work_s = inference_s_ * (0.25 + 0.75 * cores / pace.threads);
      heat(static_cast<double>(pace.threads) / cores, work_s);
      busy_s_ += work_s;
      const double ended = now_s;
      for (;;) {
        look();
        const double rest_s = ended + work_s * (1 / governor.pace().duty - 1) - now_s;
        if (rest_s <= 1e-6) break;
        heat(0, std::min(rest_s, 1.0));
      }
      slowest = std::max(slowest, (now_s - began) / inference_s_);
      ++images;
    }
  }

  /// No image comes for so long.
  void idle(double seconds) { heat(0, seconds); }
  void warm(double by_c) { board_.idle_c += by_c; }

  /// Figures begin anew.
  void forget() {
    hottest = images = switches = 0;
    coolest = 1000;
    least_effort = 1;
    most_effort = 0;
    slowest = 0;
  }

  /// In place of the sensor.
  std::function<std::optional<double>()> lie;
  std::function<bool()> capped = [] { return false; };

  Governor governor{limit_c, cores};
  double now_s = 0;
  double hottest = 0, coolest = 1000;  // °C, the board itself
  double least_effort = 1, most_effort = 0;
  double slowest = 0;               // from image to image, in inferences of a cool board
  double images = 0, switches = 0;  // of the number of threads

 private:
  void heat(double power, double seconds) {
    for (double left = seconds; left > 0; left -= 0.05) {
      const double step = std::min(left, 0.05);
      board_.chip.run(power, step);
      board_.carrier.run(power, step);
      hottest = std::max(hottest, celsius());
      coolest = std::min(coolest, celsius());
    }
    now_s += seconds;
  }

  void look() {
    if (now_s < next_s_) return;
    next_s_ = now_s + 1;
    const int before = governor.pace().threads;
    governor.sample({now_s, lie ? lie() : sensor(), capped()}, busy_s_);
    busy_s_ = 0;
    switches += governor.pace().threads != before;
    least_effort = std::min(least_effort, governor.effort());
    most_effort = std::max(most_effort, governor.effort());
  }

  Board board_;
  double inference_s_, resolution_c_;
  double next_s_ = 0, busy_s_ = 0;
  uint32_t state_ = 1;
};

constexpr double hour = 3600;

}  // namespace

TEST_CASE("a board that stays cool is never slowed down") {
  for (const Board& board : {pi4, flirc}) {
    CAPTURE(board.name);
    Line line(board, -10, 0.3);
    line.run(hour);
    CHECK(line.least_effort == 1);
    CHECK(line.governor.pace().threads == cores);
    CHECK(line.slowest < 1.01);
  }
}

TEST_CASE("a hot board is held below the limit, with speed to spare for nothing") {
  // So warm that full power, all the time, would make 15 to 20 °C too much.
  for (const auto& [board, warmer_c] : {std::pair{pi3, 15.0}, {pi4, 25.0}, {flirc, 36.0}}) {
    for (const double inference_s : {0.05, 0.3, 1.5}) {
      for (const double resolution_c : {0.5, 1.0}) {
        CAPTURE(board.name);
        CAPTURE(inference_s);
        CAPTURE(resolution_c);
        Line line(board, warmer_c, inference_s, resolution_c);
        line.run(hour / 2);
        CHECK(line.hottest < limit_c);
        CHECK(line.slowest < 1 / Governor::least_effort);
        // In the second half hour nothing is left to settle: it does not swing.
        line.run(hour / 2);
        CHECK(line.hottest < limit_c - 1);
        CHECK(line.hottest > limit_c - 4);
        CHECK(line.most_effort - line.least_effort < 0.12);
        CHECK(line.switches <= 2);
      }
    }
  }
}

TEST_CASE("latency grows as the surroundings do, and step by step") {
  Line line(pi3, 0, 0.3);
  double before = 1;
  for (int i = 0; i < 6; ++i) {
    for (int minute = 0; minute < 10; ++minute) {
      line.warm(i == 0 ? 0 : 0.5);
      line.run(60);
      CHECK(line.hottest < limit_c);
    }
    line.run(hour / 2);
    CHECK(line.hottest < limit_c);
    const double now = 1800 / 0.3 / line.images;  // time of an image, by that of a cool board
    CHECK(now < before * 3);
    CHECK(now < 1 / Governor::least_effort);
    before = now;
  }
  CHECK(before > 2);
}

TEST_CASE("a board that cools gets its speed back") {
  Line line(pi3, 20, 0.3);
  line.run(hour / 2);
  CHECK(line.governor.effort() < 0.5);
  line.warm(-30);
  line.run(300);
  CHECK(line.governor.effort() == 1);
  CHECK(line.governor.pace().threads == cores);
}

TEST_CASE("images that come after a pause meet a board that is below the limit") {
  Line line(pi3, 22, 0.3);
  line.run(hour / 2);
  for (const double pause_s : {5.0, 40.0, 600.0}) {
    line.idle(pause_s);
    line.run(300);
    CHECK(line.hottest < limit_c);
  }
}

TEST_CASE("surroundings that are too hot by themselves cost all speed but the least") {
  Line line(pi3, 40, 0.3);
  line.run(hour / 2);
  CHECK(line.governor.effort() == Governor::least_effort);
  CHECK(line.governor.pace().threads == 1);
  CHECK(line.slowest < 1 / Governor::least_effort);
}

TEST_CASE("a board of one core is paced by pauses alone") {
  Governor governor(limit_c, 1);
  for (int i = 0; i < 100; ++i) governor.sample({double(i), 90}, 1);
  CHECK(governor.pace().threads == 1);
  CHECK(governor.pace().duty == doctest::Approx(Governor::least_effort));
}

TEST_CASE("without a sensor half of the power is what is risked") {
  Line line(pi3, 15, 0.3);
  line.lie = [] { return std::nullopt; };
  line.run(600);
  CHECK(line.governor.trust() == Trust::missing);
  CHECK(line.most_effort == Governor::blind_effort);
  CHECK(line.governor.effort() == Governor::blind_effort);
}

TEST_CASE("a read that fails now and then changes nothing, a sensor that goes is missed") {
  Line line(pi4, 20, 0.3);
  int sample = 0;
  line.lie = [&]() -> std::optional<double> {
    if (++sample % 10 < 2) return std::nullopt;
    return line.sensor();
  };
  line.run(hour);
  CHECK(line.hottest < limit_c);
  line.lie = [&] { return line.sensor(); };
  line.run(600);
  const double effort = line.governor.effort();
  line.lie = [] { return std::nullopt; };
  line.run(60);
  CHECK(line.governor.trust() == Trust::missing);
  CHECK(line.most_effort < effort + 0.05);
  line.lie = nullptr;
  line.run(600);
  CHECK(line.governor.trust() == Trust::good);
  CHECK(line.hottest < limit_c);
}

TEST_CASE("a sensor that is stuck is noticed within five minutes of inference") {
  Line line(pi3, 15, 0.3);
  line.lie = [] { return 45.0; };
  line.run(299);
  CHECK(line.governor.trust() == Trust::good);
  line.run(10);
  CHECK(line.governor.trust() == Trust::stuck);
  CHECK(line.governor.effort() == Governor::blind_effort);
  line.run(600);
  line.run(hour);
  CHECK(line.governor.effort() == Governor::blind_effort);
  CHECK(line.hottest < limit_c);  // 97 °C at full power
  line.lie = nullptr;
  line.run(600);
  CHECK(line.governor.trust() == Trust::good);
}

TEST_CASE("a sensor of whole degrees that rests for long is asked once more, by less work") {
  Line line(pi4, 20, 0.3);
  line.lie = [&] { return std::floor(line.celsius()); };  // without any noise
  line.run(2 * hour);
  CHECK(line.hottest < limit_c);
  CHECK(line.governor.trust() == Trust::good);
  // What that costs: at full speed for no longer, but hardly slower on the whole.
  CHECK(line.images * 0.3 / (2 * hour) > 0.35);
}

TEST_CASE("what cannot be is not believed") {
  for (const double absurd : {-273.0, -41.0, 151.0, 1e9, std::nan("")}) {
    CAPTURE(absurd);
    Line line(pi3, 15, 0.3);
    line.run(600);
    const auto believed = line.governor.celsius();
    line.lie = [&] { return absurd; };
    line.run(60);
    CHECK(line.governor.celsius() == believed);
    CHECK(line.governor.trust() == Trust::missing);
    CHECK(line.governor.doubts() > 10);
    CHECK(line.governor.effort() <= Governor::blind_effort);
  }
}

TEST_CASE("a sudden rise is believed at once, a sudden fall when it stays") {
  Governor governor(limit_c, cores);
  governor.sample({1, 60}, 1);
  CHECK(governor.effort() == 1);
  governor.sample({2, 95}, 1);
  CHECK(governor.celsius() == 95);
  const double slowed = governor.effort();
  CHECK(slowed < 0.9);
  governor.sample({3, 30}, 1);
  governor.sample({4, 31}, 1);
  CHECK(governor.trust() == Trust::doubted);
  CHECK(governor.celsius() == 95);
  CHECK(governor.effort() == slowed);
  CHECK(governor.doubts() == 2);
  governor.sample({5, 30}, 1);
  CHECK(governor.trust() == Trust::good);
  CHECK(governor.celsius() == 30);
}

TEST_CASE("a sensor that jumps to and fro costs speed, not the board") {
  Line line(pi3, 15, 0.3);
  int sample = 0;
  line.lie = [&] { return ++sample % 3 == 0 ? 20.0 : line.sensor(); };
  line.run(hour);
  CHECK(line.hottest < limit_c);
  line.lie = [&] { return ++sample % 7 == 0 ? 120.0 : 40.0; };
  line.run(600);
  CHECK(line.governor.effort() < 1);
  CHECK(line.governor.doubts() > 100);
}

TEST_CASE("where the kernel holds the clock down less is asked of the board") {
  Line line(pi4, 0, 0.3);
  line.run(60);
  CHECK(line.governor.effort() == 1);
  line.capped = [] { return true; };
  line.run(30);
  CHECK(line.governor.effort() < 0.2);
  CHECK(line.slowest < 1 / Governor::least_effort);
  line.capped = [] { return false; };
  line.run(300);
  CHECK(line.governor.effort() > 0.95);
}

TEST_CASE("any readings at any time make a pace that can be kept") {
  uint32_t state = 7;
  const auto random = [&](double below) {
    state = state * 1664525u + 1013904223u;
    return static_cast<double>(state >> 8) / 16777216.0 * below;
  };
  Governor governor(60, 6);
  double now_s = 0;
  for (int i = 0; i < 100000; ++i) {
    now_s += random(40);
    std::optional<double> celsius;
    if (random(4) > 1) celsius = random(300) - 100;
    governor.sample({now_s, celsius, random(9) < 1}, random(5));
    const Pace pace = governor.pace();
    REQUIRE(pace.threads >= 1);
    REQUIRE(pace.threads <= 6);
    REQUIRE(pace.duty > 0);
    REQUIRE(pace.duty <= 1);
    REQUIRE(governor.effort() >= Governor::least_effort);
    REQUIRE(pace.duty * pace.threads / 6 < governor.effort() + 1e-9);
    REQUIRE(pace.duty * pace.threads / 6 > governor.effort() * 0.9);
  }
}
