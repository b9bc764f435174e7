#include <sys/wait.h>
#include <unistd.h>
#include <yyjson.h>

#include <csignal>

#include "edge/about.hpp"
#include "edge/commands.hpp"
#include "edge/end_request.hpp"
#include "edge/sha256.hpp"
#include "support.hpp"

using namespace edge;

namespace {

/// How a process that listens for the end is ended by these signals; 0: it is not.
int end_after(const std::vector<int>& signals) {
  const pid_t child = fork();
  if (child == 0) {
    listen_for_the_end();
    for (const int signal : signals) raise(signal);
    _exit(is_end_asked_for() ? 0 : 1);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(WEXITSTATUS(status) == 0);
  return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

Outcome execute_with(const std::string& command, const std::string& model) {
  Options options;
  options.command = command;
  options.model = model;
  options.images = {EDGE_CORPUS "/good-gray.png"};
  return execute(options);
}

/// The code in the document, which must be valid JSON.
std::string code_of(const Outcome& outcome) {
  yyjson_doc* document = yyjson_read(outcome.json.data(), outcome.json.size(), 0);
  REQUIRE(document != nullptr);
  const char* code = yyjson_get_str(yyjson_ptr_get(yyjson_doc_get_root(document), "/error/code"));
  const std::string copy = code != nullptr ? code : "";
  yyjson_doc_free(document);
  return copy;
}

/// What becomes of a model file with this content beside a card that expects 1000 bytes.
std::string model_code(const std::string& content) {
  const TemporaryFolder folder;
  const auto* bytes = reinterpret_cast<const uint8_t*>(content.data());
  folder.write("card.json", good_card(sha256(bytes, content.size())));
  const Outcome outcome = execute_with("run", folder.write("model.ort", content));
  CHECK(outcome.exit == Exit::model);
  CHECK(contains(outcome.message, "\nnext: "));
  return code_of(outcome);
}

}  // namespace

TEST_CASE("a model that cannot be used is told before the runtime sees it") {
  const std::string ort = std::string("\x20\0\0\0ORTM", 8);
  CHECK(model_code("") == "model_corrupt");
  CHECK(model_code("short") == "model_corrupt");
  CHECK(model_code(std::string(1000, 'x')) == "model_corrupt");
  CHECK(model_code(ort + std::string(500, '\0')) == "model_truncated");
  CHECK(model_code(ort + std::string(1500, '\0')) == "model_mismatch");
}

TEST_CASE("a model of the right size that is none is refused by the runtime, not a crash") {
  const std::string ort = std::string("\x20\0\0\0ORTM", 8);
  CHECK(model_code(ort + std::string(992, '\0')) == "model_refused");
  CHECK(model_code(ort + std::string(992, '\x7F')) == "model_refused");
}

TEST_CASE("every command tells that the model is missing") {
  for (const char* command : {"run", "selftest", "bench", "info"}) {
    const Outcome outcome = execute_with(command, "/nowhere/model.ort");
    CHECK(outcome.exit == Exit::model);
    CHECK(code_of(outcome) == "model_missing");
    CHECK(outcome.message ==
          "/nowhere/model.ort: no such file or directory\n"
          "next: check the path and the file's permissions\n");
  }
}

TEST_CASE("a model without its card is refused") {
  const TemporaryFolder folder;
  const Outcome outcome =
      execute_with("run", folder.write("m.onnx", "\x08\x08" + std::string(99, ' ')));
  CHECK(outcome.exit == Exit::card);
  CHECK(code_of(outcome) == "card_missing");
}

TEST_CASE("info names program and runtime without a model") {
  const Outcome outcome = execute_with("info", "");
  CHECK(outcome.exit == Exit::done);
  CHECK(contains(outcome.json, "\"edge_infer\":{\"version\":\""));
  CHECK(contains(outcome.json, "\"linkage\":\""));
  CHECK(contains(outcome.json, "\"providers\":[\"cpu\"]"));
  CHECK(build_id().size() == 40);
}

TEST_CASE("a signal asks for the end, the second one of a person's is the end") {
  CHECK(end_after({SIGTERM, SIGTERM, SIGINT}) == 0);
  CHECK(end_after({SIGINT, SIGINT}) == SIGINT);
}
