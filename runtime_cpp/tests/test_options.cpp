#include "edge/options.hpp"
#include "support.hpp"

using namespace edge;

namespace {

Result<Options> parse(std::vector<std::string> words) {
  words.insert(words.begin(), "edge-infer");
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  return parse_options(static_cast<int>(words.size()), argv.data());
}

std::string fault_of(const std::vector<std::string>& words) {
  const auto options = parse(words);
  if (options) return "no fault";
  CHECK(options.error().exit == Exit::usage);
  return options.error().message();
}

}  // namespace

TEST_CASE("options and images are read in any order") {
  const auto options = parse({"run", "a.png", "--threads", "4", "b.png", "--model=m.ort"});
  REQUIRE(options);
  CHECK(options->images == std::vector<std::string>{"a.png", "b.png"});
  CHECK(options->threads == 4);
  CHECK(options->model == "m.ort");
}

TEST_CASE("after -- all words are images") {
  const auto options = parse({"run", "--model", "m.ort", "--", "--odd.png"});
  REQUIRE(options);
  CHECK(options->images == std::vector<std::string>{"--odd.png"});
}

TEST_CASE("each wrong usage is told with the word that is wrong") {
  CHECK(fault_of({}) == "edge-infer: no command is given");
  CHECK(fault_of({"classify"}) == "classify: is not a command");
  CHECK(fault_of({"run", "--model", "m.ort"}) == "run: no image is given");
  CHECK(fault_of({"bench", "--modle", "m.ort"}) == "--modle: is not an option");
  CHECK(fault_of({"bench", "--model"}) == "--model: needs a value");
  CHECK(fault_of({"bench", "--model", "m", "x"}) == "x: does not belong after bench");
  CHECK(fault_of({"info", "--runs", "3"}) == "--runs: is not an option of info");
  CHECK(fault_of({"selftest", "--model", "m", "--debug=1"}) == "--debug=1: takes no value");
  CHECK(fault_of({"run", "-x"}) == "-x: is not an option");
}

TEST_CASE("numbers out of range, or no numbers, are refused") {
  const std::string range = "--threads: expected a number from 1 to 64, found ";
  for (const char* text : {"0", "65", "-1", "two", "2x", "", "99999999999999999999"}) {
    CHECK(fault_of({"bench", "--model", "m", "--threads", text}) == range + text);
  }
}

TEST_CASE("a thermal limit is one that a board can keep, or none") {
  const auto limit_of = [](const char* text) {
    const auto options = parse({"bench", "--thermal-limit", text, "--sysfs", "/tree"});
    REQUIRE(options);
    CHECK(options->sysfs == "/tree");
    return options->thermal_limit;
  };
  CHECK(limit_of("80") == 80);
  CHECK(limit_of("0") == 0);
  CHECK(parse({"bench"})->thermal_limit == -1);
  for (const char* text : {"39", "111", "-1", "hot", ""}) {
    CHECK(fault_of({"watch", "--thermal-limit", text}) ==
          "--thermal-limit: expected a number from 40 to 110, found " + std::string(text));
  }
  CHECK(contains(fault_of({"selftest", "--thermal-limit", "80"}), "is not an option of selftest"));
}

TEST_CASE("usage starts with an example") {
  CHECK(std::string(usage()).rfind("example: edge-infer run", 0) == 0);
}
