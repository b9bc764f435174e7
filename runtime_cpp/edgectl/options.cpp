#include "options.hpp"

#include <algorithm>
#include <cstring>

#include "commands.hpp"
#include "ends.hpp"
#include "manifest.hpp"
#include "signature.hpp"
#include "steps.hpp"

namespace edgectl {
namespace {

constexpr size_t max_text = 128;  // bytes of a holder or a reason

/// How a value has to look.
enum class Form { name, path, sha256 };

struct Text {
  const char* name;
  std::string Options::* field;
  Form form;
};
constexpr Text texts[] = {
    {"root", &Options::root, Form::path},       {"proc", &Options::proc, Form::path},
    {"holder", &Options::holder, Form::name},   {"compatible", &Options::compatible, Form::name},
    {"bad", &Options::bad, Form::name},         {"program", &Options::program, Form::name},
    {"object", &Options::object, Form::sha256}, {"board-id", &Options::board_id, Form::name}};

struct Number {
  const char* name;
  uint64_t Options::* field;
  uint64_t low, high;
};
constexpr Number numbers[] = {{"fence", &Options::fence, 1, INT64_MAX},
                              {"reserve", &Options::reserve, 0, uint64_t{1} << 40},
                              {"chunk", &Options::chunk, 1024, 1 << 20},
                              {"tries", &Options::tries, 1, 100},
                              {"deadline", &Options::deadline_s, 0, 86400},
                              {"timeout", &Options::timeout_s, 1, 3600},
                              {"memory", &Options::memory_mb, 1, 1 << 20}};

struct Flag {
  const char* name;
  bool Options::* field;
};
constexpr Flag flags[] = {{"take-over", &Options::take_over},
                          {"verify", &Options::verify},
                          {"service", &Options::service}};

Error wrong(const std::string& subject, const std::string& problem) {
  return {Exit::usage, "usage", subject, problem, "edgectl --help"};
}

bool is_listed(const Command& command, const std::string& word) {
  return (" " + std::string(command.options) + " ").find(" " + word + " ") != std::string::npos;
}

bool takes(const Command& command, const std::string& name) {
  if (name == "root" || name == "proc") return true;
  return is_listed(command, name) || is_listed(command, name + "!");
}

/// Letters of a terminal or of a file's own format have no place in a name.
bool is_plain(const std::string& text) {
  return !text.empty() && text.size() <= max_text &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

Fault set_number(Options& options, const Number& number, const std::string& value) {
  const uint64_t parsed = parse_sequence(value);
  const bool is_number = parsed != 0 || value == "0";
  if (is_number && parsed >= number.low && parsed <= number.high) {
    options.*number.field = parsed;
    return std::nullopt;
  }
  return wrong(std::string("--") + number.name,
               format("expected a number from %llu to %llu, found ",
                      static_cast<unsigned long long>(number.low),
                      static_cast<unsigned long long>(number.high)) +
                   value);
}

/// What the value ought to have been, or null.
const char* form_problem(Form form, const std::string& value) {
  switch (form) {
    case Form::path:
      return value[0] == '/' ? nullptr : "expected an absolute path";
    case Form::sha256:
      return is_sha256(value) ? nullptr : "expected 64 lower-case hex digits";
    default:
      return is_plain(value) ? nullptr : "expected 1 to 128 printable letters";
  }
}

Fault set_text(Options& options, const Text& text, const std::string& value) {
  if (const char* problem = form_problem(text.form, value)) {
    return wrong(std::string("--") + text.name, problem);
  }
  options.*text.field = value;
  return std::nullopt;
}

/// "--name=value" or "--flag".
Fault set_option(Options& options, const std::string& word) {
  const size_t equals = word.find('=');
  const std::string name = word.substr(2, equals == std::string::npos ? equals : equals - 2);
  if (!takes(*options.command, name)) {
    return wrong("--" + name, std::string("is not an option of ") + options.command->name);
  }
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

bool must_be_given(const Options& options, const char* name) {
  return is_listed(*options.command, std::string(name) + "!");
}

/// The first option that the command must have and was not given, or null.
const char* missing_option(const Options& options) {
  for (const Text& text : texts) {
    if ((options.*text.field).empty() && must_be_given(options, text.name)) return text.name;
  }
  for (const Number& number : numbers) {  // none of those that must be given may be 0
    if (options.*number.field == 0 && must_be_given(options, number.name)) return number.name;
  }
  return nullptr;
}

}  // namespace

Result<Options> parse_options(int argc, char** argv) {
  Options options;
  const std::string name = argc > 1 ? argv[1] : "";
  if (name.empty()) return wrong("edgectl", "no command is given");
  options.command = find_command(name);
  if (options.command == nullptr) return wrong(name, "is not a command");
  int at = 2;
  for (; at < argc && std::strncmp(argv[at], "--", 2) == 0; ++at) {
    if (auto fault = set_option(options, argv[at])) return *fault;
  }
  if (const char* missing = missing_option(options)) {
    return wrong(std::string("--") + missing, "is not given");
  }
  options.words.assign(argv + at, argv + argc);
  const bool runs = options.command->run == start || options.command->run == infer;
  if (runs && options.words.empty()) return wrong(name, "nothing to run is given");
  if (!runs && !options.words.empty()) return wrong(options.words[0], "does not belong here");
  options.words.push_back(nullptr);
  return options;
}

}  // namespace edgectl
