#include "commands.hpp"

#include <limits.h>
#include <unistd.h>

#include <algorithm>

#include "ends.hpp"
#include "facts.hpp"
#include "plan.hpp"
#include "steps.hpp"

#ifndef EDGECTL_VERSION
#error "EDGECTL_VERSION is set by CMake"
#endif

namespace edgectl {
namespace {

// The last line of the usage text has it, too: deployers read it in the bytes of a program that
// they cannot run.
#define EDGECTL_PROTOCOL "3"
constexpr int64_t protocol = EDGECTL_PROTOCOL[0] - '0';

constexpr Command commands[] = {
    {"probe", "", probe},
    {"identify", "", identify},
    {"keys", "compatible!", keys},
    {"forget", "", forget},
    {"reset-keys", "board-id!", reset},
    {"plan", "reserve", plan},
    {"begin", "holder! reserve take-over fence", begin},
    {"chunks", "object! chunk", chunks},
    {"receive", "fence!", in_session<receive>},
    {"seal", "fence!", in_session<seal>},
    {"selftest", "fence! timeout", in_session<selftest>},
    {"infer", "fence holder timeout program memory", infer},
    {"switch", "fence! tries deadline service", in_session<switch_over>},
    {"commit", "fence!", in_session<commit_trial>},
    {"rollback", "fence bad", rollback},
    {"gc", "fence!", gc},
    {"status", "verify", status},
    {"verify", "", verify_releases},
    {"recover", "", recover},
    {"start", "", start},
};

std::string program_path() {
  char path[PATH_MAX];
  const ssize_t size = readlink("/proc/self/exe", path, sizeof path);
  return {path, size > 0 ? static_cast<size_t>(size) : 0};
}

Board board_of(const Options& options) {
  const std::string own = edge::folder_of(edge::folder_of(program_path()));
  return {options.root.empty() ? own : options.root, options.proc};
}

void describe_helper(Json top) {
  Json helper = top.object("helper");
  helper.set("version", EDGECTL_VERSION);
  helper.set("protocol", protocol);
  const auto own = hash_file(program_path(), From::cache);
  helper.set("sha256", own ? *own : "");
  helper.set("encodings", std::vector<std::string>{"zstd"});
}

}  // namespace

const Command* find_command(const std::string& name) {
  const auto* end = std::end(commands);
  const auto* command = std::find_if(
      std::begin(commands), end, [&](const Command& candidate) { return name == candidate.name; });
  return command != end ? command : nullptr;
}

const char* usage() {
  return "example: edgectl status --verify\n"
         "\n"
         "edgectl probe | status [--verify] | verify | recover\n"
         "edgectl identify\n"
         "edgectl keys --compatible=C                           < signature, keys document\n"
         "edgectl forget                                        < signature, keys document\n"
         "edgectl reset-keys --board-id=ID\n"
         "edgectl plan [--reserve=BYTES]                        < signature, manifest\n"
         "edgectl begin --holder=WHO [--fence=N] [--reserve=BYTES] [--take-over]\n"
         "                                                      < signature, manifest\n"
         "edgectl chunks --object=SHA256 [--chunk=BYTES]\n"
         "edgectl receive --fence=N                             < object stream\n"
         "edgectl seal | commit | gc --fence=N\n"
         "edgectl selftest --fence=N [--timeout=S]\n"
         "edgectl infer --fence=N|--holder=WHO [--timeout=S] [--memory=MIB]\n"
         "              bench|run|selftest|shadow [ARGUMENT...]\n"
         "edgectl infer --fence=N|--holder=WHO [--timeout=S] --program=NAME selftest\n"
         "edgectl switch --fence=N [--tries=3] [--deadline=120] [--service]\n"
         "edgectl rollback [--fence=N] [--bad=REASON]\n"
         "edgectl start PROGRAM [ARGUMENT...]\n"
         "\n"
         "Every command takes --root=DIR (the folder above the program's bin/).\n"
         "One JSON document on standard output, messages on standard error.\n"
         "exit: 0 done, 1 bug, 2 usage, 10 storage, 11 signature, 12 refused, 13 damaged,\n"
         "      14 busy, 15 too early, 16 self-test did not pass, 17 nothing to start\n"
         "edgectl protocol " EDGECTL_PROTOCOL "\n";
}

edge::Outcome execute(const Options& options) {
  const Board board = board_of(options);
  edge::Document document(options.command->name);
  const Fault fault = options.command->run(board, options, document.top());
  describe_helper(document.top());
  if (fault) return failed(document, *fault);
  return {Exit::done, document.text(), ""};
}

}  // namespace edgectl
