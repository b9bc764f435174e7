#include "options.hpp"

#include <algorithm>
#include <cstring>

#include "manifest.hpp"
#include "signature.hpp"

namespace edgectl {
namespace {

constexpr size_t max_text = 128;  // bytes of a holder or a reason

/// Options that each command takes beside --root and --proc.
struct Command {
  const char* name;
  const char* options;  // separated by spaces
};
constexpr Command commands[] = {{"probe", ""},
                                {"keys", "compatible"},
                                {"plan", "reserve"},
                                {"begin", "holder reserve take-over"},
                                {"chunks", "object chunk"},
                                {"receive", "fence"},
                                {"seal", "fence"},
                                {"selftest", "fence timeout"},
                                {"switch", "fence tries deadline"},
                                {"commit", "fence"},
                                {"rollback", "fence bad"},
                                {"gc", "fence"},
                                {"status", "verify"},
                                {"verify", ""},
                                {"recover", ""},
                                {"start", ""}};

struct Text {
  const char* name;
  std::string Options::* field;
};
constexpr Text texts[] = {{"root", &Options::root},     {"proc", &Options::proc},
                          {"holder", &Options::holder}, {"compatible", &Options::compatible},
                          {"object", &Options::object}, {"bad", &Options::bad}};

struct Number {
  const char* name;
  uint64_t Options::* field;
  uint64_t low, high;
};
constexpr Number numbers[] = {{"fence", &Options::fence, 1, UINT64_MAX},
                              {"reserve", &Options::reserve, 0, uint64_t{1} << 40},
                              {"chunk", &Options::chunk, 1024, 1 << 20},
                              {"tries", &Options::tries, 1, 100},
                              {"deadline", &Options::deadline_s, 0, 86400},
                              {"timeout", &Options::timeout_s, 1, 3600}};

struct Flag {
  const char* name;
  bool Options::* field;
};
constexpr Flag flags[] = {{"take-over", &Options::take_over}, {"verify", &Options::verify}};

Error wrong(const std::string& subject, const std::string& problem) {
  return {Exit::usage, "usage", subject, problem, "edgectl --help"};
}

const Command* find_command(const std::string& name) {
  const auto* end = std::end(commands);
  const auto* found = std::find_if(std::begin(commands), end,
                                   [&](const Command& command) { return name == command.name; });
  return found != end ? found : nullptr;
}

bool takes(const Command& command, const std::string& name) {
  const std::string all = std::string(" root proc ") + command.options + " ";
  return all.find(" " + name + " ") != std::string::npos;
}

/// Letters of a terminal or of a file's own format have no place in a name.
bool is_plain(const std::string& text) {
  return !text.empty() && text.size() <= max_text &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

Fault set_number(Options& options, const Number& number, const std::string& value) {
  const uint64_t found = parse_sequence(value);
  const bool is_number = found != 0 || value == "0";
  if (is_number && found >= number.low && found <= number.high) {
    options.*number.field = found;
    return std::nullopt;
  }
  return wrong(std::string("--") + number.name,
               format("expected a number from %llu to %llu, found ",
                      static_cast<unsigned long long>(number.low),
                      static_cast<unsigned long long>(number.high)) +
                   value);
}

Fault set_text(Options& options, const Text& text, const std::string& value) {
  const bool is_path = text.field == &Options::root || text.field == &Options::proc;
  if (is_path ? value[0] != '/' : !is_plain(value)) {
    return wrong(std::string("--") + text.name,
                 is_path ? "expected an absolute path" : "expected 1 to 128 printable letters");
  }
  options.*text.field = value;
  return std::nullopt;
}

/// "--name=value" or "--flag".
Fault set_option(Options& options, const Command& command, const std::string& word) {
  const size_t equals = word.find('=');
  const std::string name = word.substr(2, equals == std::string::npos ? equals : equals - 2);
  if (!takes(command, name)) return wrong("--" + name, "is not an option of " + options.command);
  for (const Flag& flag : flags) {
    if (name != flag.name || equals != std::string::npos) continue;
    options.*flag.field = true;
    return std::nullopt;
  }
  if (equals == std::string::npos) return wrong(word, "needs a value: --" + name + "=…");
  const std::string value = word.substr(equals + 1);
  for (const Text& text : texts) {
    if (name == text.name) return set_text(options, text, value);
  }
  for (const Number& number : numbers) {
    if (name == number.name) return set_number(options, number, value);
  }
  return wrong("--" + name, "takes no value");
}

/// What can only be said once everything is read.
Fault check(const Options& options) {
  const Command& command = *find_command(options.command);
  const bool fenced = takes(command, "fence") && options.command != "rollback";
  if (fenced && options.fence == 0) return wrong("--fence", "is not given");
  if (options.command == "begin" && options.holder.empty())
    return wrong("--holder", "is not given");
  if (options.command == "keys" && options.compatible.empty()) {
    return wrong("--compatible", "is not given");
  }
  if (options.command == "chunks" && !is_sha256(options.object)) {
    return wrong("--object", "expected 64 lower-case hex digits");
  }
  const bool starts = options.command == "start";
  if (starts && options.words.empty()) return wrong("start", "no program is given");
  if (!starts && !options.words.empty()) return wrong(options.words[0], "does not belong here");
  return std::nullopt;
}

}  // namespace

const char* usage() {
  return "example: edgectl status --verify\n"
         "\n"
         "edgectl probe | status [--verify] | verify | recover\n"
         "edgectl keys --compatible=C                           < signature, keys document\n"
         "edgectl plan [--reserve=BYTES]                        < signature, manifest\n"
         "edgectl begin --holder=WHO [--reserve=BYTES] [--take-over] < signature, manifest\n"
         "edgectl chunks --object=SHA256 [--chunk=BYTES]\n"
         "edgectl receive --fence=N                             < object stream\n"
         "edgectl seal | commit | gc --fence=N\n"
         "edgectl selftest --fence=N [--timeout=S]\n"
         "edgectl switch --fence=N [--tries=3] [--deadline=120]\n"
         "edgectl rollback [--fence=N] [--bad=REASON]\n"
         "edgectl start PROGRAM [ARGUMENT...]\n"
         "\n"
         "Every command takes --root=DIR (the folder above the program's bin/).\n"
         "One JSON document on standard output, messages on standard error.\n"
         "exit: 0 done, 1 bug, 2 usage, 10 storage, 11 signature, 12 refused, 13 damaged,\n"
         "      14 busy, 15 too early, 16 self-test did not pass, 17 nothing to start\n";
}

Result<Options> parse_options(int argc, char** argv) {
  Options options;
  options.command = argc > 1 ? argv[1] : "";
  if (options.command.empty()) return wrong("edgectl", "no command is given");
  if (options.command == "--help" || options.command == "--version") return options;
  const Command* command = find_command(options.command);
  if (command == nullptr) return wrong(options.command, "is not a command");
  int at = 2;
  for (; at < argc && std::strncmp(argv[at], "--", 2) == 0; ++at) {
    if (auto fault = set_option(options, *command, argv[at])) return *fault;
  }
  options.words.assign(argv + at, argv + argc);
  if (auto fault = check(options)) return *fault;
  options.words.push_back(nullptr);
  return options;
}

}  // namespace edgectl
