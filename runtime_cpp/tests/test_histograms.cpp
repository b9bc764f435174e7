#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <fstream>

#include "edge/histograms.hpp"
#include "edge/image_statistics.hpp"
#include "support.hpp"

using namespace edge;

namespace {

/// A deploy root with one release in it.
struct Deployed {
  Deployed() { folder.write("releases/0123456789abcdef/run.json", "{}"); }

  std::string release() const { return folder.path("releases/0123456789abcdef"); }
  std::vector<std::string> lines() const {
    std::ifstream file(folder.path("drift/histograms.jsonl"));
    std::vector<std::string> lines;
    for (std::string line; std::getline(file, line);) lines.push_back(line);
    return lines;
  }

  TemporaryFolder folder;
};

Observation with_brightness(double brightness) {
  Observation observation;
  observation.fill(std::nan(""));
  observation[0] = brightness;
  return observation;
}

ImageStatistics of_gray(const std::vector<float>& values, size_t width) {
  return measure({values.data(), 1, values.size(), width, values.size() / width, width});
}

}  // namespace

TEST_CASE("statistics of an image are those of docs/formats.md") {
  const auto stripes = of_gray({0, 100, 0, 100, 0, 100, 0, 100, 0}, 3);  // 0 100 0 / 100 0 100 / …
  CHECK(stripes[0] == doctest::Approx(50));
  CHECK(stripes[1] == doctest::Approx(50));
  CHECK(stripes[2] == doctest::Approx(std::sqrt(2)));
  CHECK(stripes[3] == doctest::Approx(0.5));
  CHECK(std::isnan(stripes[4]));
  CHECK(of_gray({10, 20, 30, 10, 20, 30, 10, 20, 30}, 3)[3] == 1);
  CHECK(of_gray({10, 10, 10, 20, 20, 20, 30, 30, 30}, 3)[3] == 0);
  const auto flat = of_gray({7, 7, 7, 7}, 2);
  CHECK(flat[0] == 7);
  CHECK(flat[1] == 0);
  CHECK(std::isnan(flat[2]));
  CHECK(std::isnan(flat[3]));
  CHECK(of_gray({5}, 1)[0] == 5);
}

TEST_CASE("saturation is that of colours, and brightness the mean of channels") {
  const std::vector<float> red_and_black{200, 0, 100, 0, 0, 0};  // planes of 1 × 2
  const auto statistics = measure({red_and_black.data(), 3, 2, 2, 1, 2});
  CHECK(statistics[0] == doctest::Approx(100));  // the last column has no neighbour
  CHECK(statistics[4] == doctest::Approx(1));
}

TEST_CASE("windows are of one hour and one run of the program, and survive it") {
  const Deployed deployed;
  {
    Histograms histograms(deployed.release(), "watch");
    histograms.add(with_brightness(9), 3600);
    histograms.add(with_brightness(300), 7199);
    histograms.add(with_brightness(-1), 7200);
    histograms.save();
    histograms.save();  // nothing new
    histograms.add(with_brightness(4), 7201);
    histograms.save();
  }
  Histograms again(deployed.release(), "watch");
  again.add(with_brightness(4), 7300);
  again.save();
  const auto lines = deployed.lines();
  REQUIRE(lines.size() == 3);
  CHECK(contains(lines[0],
                 "\"release\":\"0123456789abcdef\",\"start\":3600,\"end\":7199,"
                 "\"images\":2,\"statistics\":{\"brightness\":{\"sum\":309,"
                 "\"squares\":90081,\"counts\":[0,0,1,0"));
  CHECK(contains(lines[0], ",0,1]}}}"));
  CHECK(contains(lines[1], "\"start\":7200,\"end\":7201,\"images\":2"));
  CHECK(contains(lines[1], "\"counts\":[1,1,0"));
  CHECK(contains(lines[2], "\"images\":1,"));
}

TEST_CASE("no more windows are kept than the file has room for, the oldest go") {
  const Deployed deployed;
  Histograms histograms(deployed.release(), "watch");
  for (int64_t hour = 0; hour < 100; ++hour) histograms.add(with_brightness(1), hour * 3600);
  histograms.save();
  const auto lines = deployed.lines();
  CHECK(lines.size() == 72);
  CHECK(contains(lines.front(), "\"start\":100800,"));  // hour 28
}

TEST_CASE("half a line of a damaged file is left out") {
  const Deployed deployed;
  deployed.folder.write("drift/histograms.jsonl", "{\"a\":1}\n{\"b\"");
  Histograms histograms(deployed.release(), "watch");
  histograms.add(with_brightness(1), 0);
  histograms.save();
  const auto lines = deployed.lines();
  REQUIRE(lines.size() == 2);
  CHECK(lines[0] == "{\"a\":1}");
}

TEST_CASE("on a full disk the former file stays, and what came meanwhile is written later") {
  const Deployed deployed;
  const pid_t child = fork();
  if (child == 0) {
    std::signal(SIGXFSZ, SIG_IGN);
    Histograms histograms(deployed.release(), "watch");
    histograms.add(with_brightness(9), 3600);
    histograms.save();
    const rlimit full{16, RLIM_INFINITY}, empty{RLIM_INFINITY, RLIM_INFINITY};
    setrlimit(RLIMIT_FSIZE, &full);
    histograms.add(with_brightness(9), 3601);
    histograms.save();
    const bool is_former = contains(content_of(deployed.folder.path("drift/histograms.jsonl")),
                                    "\"end\":3600,\"images\":1,");
    setrlimit(RLIMIT_FSIZE, &empty);
    histograms.save();
    _exit(is_former ? 0 : 1);
  }
  int status = -1;
  waitpid(child, &status, 0);
  CHECK(status == 0);
  REQUIRE(deployed.lines().size() == 1);
  CHECK(contains(deployed.lines()[0], "\"end\":3601,\"images\":2,"));
  const auto files = std::filesystem::directory_iterator(deployed.folder.path("drift"));
  CHECK(std::distance(begin(files), end(files)) == 1);  // nothing half written
}

TEST_CASE("outside of a deploy root nothing is kept") {
  const TemporaryFolder folder;
  Histograms histograms(folder.path(""), "watch");
  histograms.add(with_brightness(1), 1);
  histograms.save();
  CHECK(histograms.folder() == -1);
}

TEST_CASE("an answer is least sure where it is nearest to another one") {
  Card card;
  CHECK(margin_of(ClassAnswer{0, {0.7, 0.2, 0.1}}, card) == doctest::Approx(0.5));
  card.decision = Decision{1, 0.2};
  CHECK(margin_of(ClassAnswer{1, {0.7, 0.2, 0.1}}, card) == doctest::Approx(0));
  card.anomaly.threshold = 10;
  AnomalyAnswer anomaly;
  anomaly.score = 10;
  CHECK(margin_of(anomaly, card) == doctest::Approx(0));
  anomaly.score = 1e9;
  CHECK(margin_of(anomaly, card) == doctest::Approx(1).epsilon(1e-3));
  card.detect.score_threshold = 0.5;
  CHECK(margin_of(DetectAnswer{}, card) == 1);
  CHECK(margin_of(DetectAnswer{{{0, 0.9}, {0, 0.6}}}, card) == doctest::Approx(0.2));
}

TEST_CASE("what is observed of an answer is its task's") {
  Card card;
  const Inferred classified{{}, {}, ClassAnswer{1, {0.25, 0.75}}, 0};
  const Observation classes = observe(classified, card);
  CHECK(std::isnan(classes[0]));
  CHECK(classes[5] == 0.75);
  CHECK(classes[6] == 1);
  CHECK(std::isnan(classes[7]));
  const Inferred detected{{}, {}, DetectAnswer{{{0, 0.9}, {0, 0.6}}}, 0};
  CHECK(observe(detected, card)[5] == 0.9);
  CHECK(observe(detected, card)[7] == 2);
  SegmentAnswer segments;
  segments.height = segments.width = 10;
  segments.segments.resize(2);
  segments.segments[0].mask.area = 20;
  segments.segments[1].mask.area = 5;
  CHECK(observe({{}, {}, segments, 0}, card)[8] == 0.25);
}
