#include <cstring>

#include "commands.hpp"
#include "options.hpp"
#include "support.hpp"

using namespace edgectl;

namespace {

Result<Options> parse(std::vector<std::string> words) {
  static std::vector<std::string> storage;  // options.words point into it
  storage = std::move(words);
  storage.insert(storage.begin(), "edgectl");
  std::vector<char*> argv;
  for (std::string& word : storage) argv.push_back(word.data());
  return parse_options(static_cast<int>(argv.size()), argv.data());
}

std::string fault_of(const std::vector<std::string>& words) {
  const auto options = parse(words);
  if (options) return "no fault";
  CHECK(options.error().exit == Exit::usage);
  return options.error().message();
}

}  // namespace

TEST_CASE("options of a command are read, others keep their defaults") {
  const auto options = parse({"switch", "--root=/opt/x", "--fence=7", "--tries=5"});
  REQUIRE(code_of(options) == "ok");
  CHECK(std::string(options->command->name) == "switch");
  CHECK(options->root == "/opt/x");
  CHECK(options->fence == 7);
  CHECK(options->tries == 5);
  CHECK(options->deadline_s == 120);
}

TEST_CASE("each wrong usage is told with the word that is wrong") {
  CHECK(fault_of({}) == "edgectl: no command is given");
  CHECK(fault_of({"install"}) == "install: is not a command");
  CHECK(fault_of({"plan", "--holder=me"}) == "--holder: is not an option of plan");
  CHECK(fault_of({"plan", "--reserve"}) == "--reserve: needs a value: --reserve=…");
  CHECK(fault_of({"status", "--verify=yes"}) == "--verify: takes no value");
  CHECK(fault_of({"status", "--root=here"}) == "--root: expected an absolute path");
  CHECK(fault_of({"begin", "--holder=\n"}) == "--holder: expected 1 to 128 printable letters");
  CHECK(fault_of({"status", "more"}) == "more: does not belong here");
  CHECK(fault_of({"start"}) == "start: nothing to run is given");
  CHECK(fault_of({"infer", "--fence=7"}) == "infer: nothing to run is given");
  for (const char* value : {"0", "101", "-1", "3x", ""}) {
    CHECK(fault_of({"switch", "--fence=1", std::string("--tries=") + value}) ==
          std::string("--tries: expected a number from 1 to 100, found ") + value);
  }
}

TEST_CASE("a command without what it must have is refused") {
  for (const char* command : {"receive", "seal", "selftest", "switch", "commit", "gc"}) {
    CHECK(fault_of({command}) == "--fence: is not given");
  }
  CHECK(fault_of({"begin", "--take-over"}) == "--holder: is not given");
  CHECK(fault_of({"keys"}) == "--compatible: is not given");
  CHECK(fault_of({"chunks"}) == "--object: is not given");
  CHECK(fault_of({"chunks", "--object=abc"}) == "--object: expected 64 lower-case hex digits");
  CHECK(fault_of({"rollback"}) == "no fault");
}

TEST_CASE("what start becomes keeps its own options") {
  const auto options = parse({"start", "--root=/opt/x", "bin/edge-infer", "watch", "--in", "/in"});
  REQUIRE(code_of(options) == "ok");
  REQUIRE(options->words.size() == 5);
  CHECK(std::string(options->words[3]) == "/in");
  CHECK(options->words[4] == nullptr);
}

TEST_CASE("usage names every command of the table") {
  for (const char* name :
       {"probe", "keys", "plan", "begin", "chunks", "receive", "seal", "selftest", "infer",
        "switch", "commit", "rollback", "gc", "status", "verify", "recover", "start"}) {
    CAPTURE(name);
    CHECK(find_command(name) != nullptr);
    CHECK(std::strstr(usage(), name) != nullptr);
  }
}
