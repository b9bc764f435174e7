#include "edge/commands.hpp"
#include "edge/settings.hpp"
#include "support.hpp"

using namespace edge;

namespace {

const char* const good = R"({"schema": 1, "model": "model/model.ort", "card": "model/card.json",
    "golden": "model/golden", "threads": 3, "execution_providers": ["cpu"],
    "limits": {"image_bytes": 1000, "image_pixels": 64, "image_side": 8,
               "image_memory": 4096}})";

/// A release that holds nothing but its run file, and a manifest that names no file.
struct Release {
  TemporaryFolder folder;
  Options options;

  explicit Release(const std::string& run_file) {
    folder.write("run.json", run_file);
    folder.write("manifest.json", R"({"files": []})");
    options.command = "bench";
    options.release = folder.path("");
    options.release.pop_back();
  }
};

std::string problem_of(const std::string& run_file) {
  const Release release(run_file);
  const auto settings = read_settings(release.options);
  if (settings) return "none";
  CHECK(settings.error().exit == Exit::card);
  CHECK(std::string(settings.error().code) == "run_file_invalid");
  return settings.error().problem;
}

std::string problem_with(const std::string& from, const std::string& to) {
  return problem_of(replaced(good, from, to));
}

}  // namespace

TEST_CASE("what the release says is in force") {
  const Release release(good);
  const auto settings = read_settings(release.options);
  REQUIRE(settings);
  const std::string& folder = release.options.release;
  CHECK(settings->release == folder);
  CHECK(settings->model == folder + "/model/model.ort");
  CHECK(settings->card == folder + "/model/card.json");
  CHECK(settings->golden == folder + "/model/golden");
  CHECK(settings->threads == 3);
  CHECK(settings->providers == std::vector<std::string>{"cpu"});
  CHECK(settings->limits.bytes == 1000);
  CHECK(settings->limits.pixels == 64);
  CHECK(settings->limits.side == 8);
  CHECK(settings->limits.memory == 4096);
  CHECK(settings->overridden.empty());
}

TEST_CASE("an option takes the release's place, and that is told") {
  Release release(good);
  release.options.threads = 1;
  release.options.model = "elsewhere/other.ort";
  const auto settings = read_settings(release.options);
  REQUIRE(settings);
  CHECK(settings->threads == 1);
  CHECK(settings->model == "elsewhere/other.ort");
  CHECK(settings->card == "elsewhere/card.json");
  CHECK(settings->golden == "elsewhere/golden");
  CHECK(settings->overridden == std::vector<std::string>{"model", "threads"});
  Document document("bench");
  set_settings(document.top(), *settings);
  CHECK(contains(document.text(), R"("threads":1,"execution_providers":["cpu"])"));
  CHECK(contains(document.text(), R"("overridden":["model","threads"])"));
}

TEST_CASE("a release may say how hot its board may become, and an option otherwise") {
  Release release(replaced(good, "\"threads\": 3", "\"threads\": 3, \"thermal_limit_c\": 80"));
  CHECK(read_settings(release.options)->thermal_limit_c == 80);
  release.options.thermal_limit = 0;
  const auto settings = read_settings(release.options);
  CHECK(settings->thermal_limit_c == 0);
  CHECK(settings->overridden == std::vector<std::string>{"thermal-limit"});
  Document document("bench");
  set_settings(document.top(), *settings);
  CHECK(contains(document.text(), R"("thermal_limit_c":null)"));
}

TEST_CASE("without a release the program's own values hold, and a model must be given") {
  Options options;
  options.command = "bench";
  const auto nothing = read_settings(options);
  REQUIRE_FALSE(nothing);
  CHECK(nothing.error().exit == Exit::usage);
  CHECK(nothing.error().message() == "--model: is not given, nor is --release");
  CHECK_FALSE(has_model(options));
  options.model = "model.ort";
  const auto settings = read_settings(options);
  REQUIRE(settings);
  CHECK(settings->release.empty());
  CHECK(settings->threads == 1);
  CHECK(settings->golden == "./golden");
  CHECK(settings->limits.side == 16384);
  CHECK(settings->overridden.empty());
}

TEST_CASE("each defect of a run file is told") {
  CHECK(problem_of(good) == "none");
  CHECK(contains(problem_of("{"), "is not JSON"));
  CHECK(contains(problem_of("{}"), "threads: is missing"));
  CHECK(contains(problem_with("\"schema\": 1", "\"schema\": 2"), "schema: expected 1, found 2"));
  CHECK(contains(problem_with("\"threads\"", "\"thread\""), "thread: is not known"));
  CHECK(contains(problem_with("\"threads\"", "\"model_crc32\": 4294967296, \"threads\""),
                 "model_crc32: expected a whole number from 0 to 4294967295"));
  CHECK(contains(problem_with("\"threads\": 3", "\"threads\": 3, \"threads\": 4"),
                 "threads: comes twice"));
  for (const char* threads : {"0", "65", "-1", "1.5", "1e2"}) {
    CHECK(contains(problem_with("\"threads\": 3", std::string("\"threads\": ") + threads),
                   "threads: expected a whole number from 1 to 64"));
  }
  CHECK(contains(problem_with("\"threads\"", "\"thermal_limit_c\": 39, \"threads\""),
                 "thermal_limit_c: expected a whole number from 40 to 110"));
  for (const char* path : {"", "/etc/model.ort", "../model.ort", "model/../../model.ort", ".."}) {
    CHECK(contains(problem_with("model/model.ort", path),
                   "model: is not a path inside of the release"));
  }
  CHECK(contains(problem_with("[\"cpu\"]", "[]"), "execution_providers: expected cpu last"));
  CHECK(contains(problem_with("[\"cpu\"]", "[\"cuda\", \"cpu\"]"), "this runtime has no cuda"));
  CHECK(
      contains(problem_with("[\"cpu\"]", "[\"cpu\", \"cpu\"]"), "this runtime has no cpu at that"));
  CHECK(contains(problem_with("\"image_side\": 8", "\"image_side\": 16385"),
                 "limits.image_side: expected a whole number from 1 to 16384"));
}

TEST_CASE("a release without a run file is refused where it is named") {
  Options options;
  options.command = "selftest";
  options.release = "/nowhere";
  const Outcome outcome = execute(options);
  CHECK(outcome.exit == Exit::card);
  CHECK(contains(outcome.json, "\"run_file_missing\""));
  CHECK(contains(outcome.message, "/nowhere/run.json: no such file or directory"));
}

TEST_CASE("the release's limits hold for images") {
  const auto small = load_image(EDGE_CORPUS "/good-gray.png", {1u << 20, 1, 16384, 1u << 20});
  REQUIRE_FALSE(small);
  CHECK(std::string(small.error().code) == "image_too_large");
  CHECK(contains(small.error().problem, "the limit is 16384 a side and 1 in all"));
  CHECK_FALSE(load_image(EDGE_CORPUS "/good-gray.png", {10, 1u << 20, 16384, 1u << 20}));
  CHECK_FALSE(load_image(EDGE_CORPUS "/good-gray.png", {1u << 20, 1u << 20, 1, 1u << 20}));
  CHECK(load_image(EDGE_CORPUS "/good-gray.png"));
}
