#include "edge/options.hpp"

#include <getopt.h>

#include <cstdlib>
#include <cstring>

#include "common/text.hpp"

namespace edge {
namespace {

constexpr long max_runs = 1000000;
constexpr long max_keep = 1000000;
constexpr long max_queue = 64;
constexpr long max_seconds = 3600;
constexpr long max_descriptor = 1023;

constexpr option long_options[] = {{"release", required_argument, nullptr, 'R'},
                                   {"model", required_argument, nullptr, 'm'},
                                   {"threads", required_argument, nullptr, 't'},
                                   {"dump-input", required_argument, nullptr, 'd'},
                                   {"dump-outputs", required_argument, nullptr, 'o'},
                                   {"golden", required_argument, nullptr, 'g'},
                                   {"warmup", required_argument, nullptr, 'w'},
                                   {"runs", required_argument, nullptr, 'r'},
                                   {"image", required_argument, nullptr, 'i'},
                                   {"in", required_argument, nullptr, 'I'},
                                   {"out", required_argument, nullptr, 'O'},
                                   {"heartbeat", required_argument, nullptr, 'H'},
                                   {"keep", required_argument, nullptr, 'k'},
                                   {"folder", required_argument, nullptr, 'F'},
                                   {"queue", required_argument, nullptr, 'q'},
                                   {"seconds", required_argument, nullptr, 'S'},
                                   {"user", required_argument, nullptr, 'u'},
                                   {"thermal-limit", required_argument, nullptr, 'l'},
                                   {"sysfs", required_argument, nullptr, 'y'},
                                   {"samples", required_argument, nullptr, 'p'},
                                   {"operator-times", required_argument, nullptr, 'T'},
                                   {"debug", no_argument, nullptr, 'D'},
                                   {"help", no_argument, nullptr, 'h'},
                                   {"version", no_argument, nullptr, 'V'},
                                   {nullptr, 0, nullptr, 0}};

/// Letters of the options that each command takes.
struct Command {
  const char* name;
  const char* options;
};
constexpr Command commands[] = {
    {"run", "RmtdolypTD"},    {"selftest", "RmgtpTD"}, {"bench", "RmwrtilypTD"}, {"info", "RmD"},
    {"watch", "RmIOHkutlyD"}, {"serve", "RmFqHutlyD"}, {"shadow", "RSutlyD"}};

const Command* find_command(const std::string& name) {
  for (const Command& command : commands) {
    if (name == command.name) return &command;
  }
  return nullptr;
}

Error wrong(const std::string& subject, const std::string& problem) {
  return {Exit::usage, "usage", subject, problem, "edge-infer --help"};
}

const char* option_name(int letter) {
  for (const option* candidate = long_options; candidate->name != nullptr; ++candidate) {
    if (candidate->val == letter) return candidate->name;
  }
  return "?";
}

/// Parses `text` into `number`; a fault is told as the option's.
std::optional<Error> read_number(int letter, const char* text, long low, long high, int& number) {
  char* end = nullptr;
  const long value = std::strtol(text, &end, 10);
  if (*text != '\0' && *end == '\0' && value >= low && value <= high) {
    number = static_cast<int>(value);
    return std::nullopt;
  }
  return wrong(std::string("--") + option_name(letter),
               format("expected a number from %ld to %ld, found ", low, high) + text);
}

std::optional<Error> read_thermal_limit(int letter, const char* text, int& limit) {
  limit = 0;
  if (std::strcmp(text, "0") == 0) return std::nullopt;
  return read_number(letter, text, least_thermal_limit, most_thermal_limit, limit);
}

std::optional<Error> set_option(Options& options, int letter, const char* value) {
  switch (letter) {
    case 'R':
      options.release = value;
      break;
    case 'm':
      options.model = value;
      break;
    case 'g':
      options.golden = value;
      break;
    case 'd':
      options.dump_input = value;
      break;
    case 'o':
      options.dump_outputs = value;
      break;
    case 'i':
      options.image = value;
      break;
    case 'I':
      options.in = value;
      break;
    case 'O':
      options.out = value;
      break;
    case 'u':
      options.user = value;
      break;
    case 'H':
      options.heartbeat = value;
      break;
    case 'F':
      options.folder = value;
      break;
    case 'D':
      options.debug = true;
      break;
    case 'y':
      options.sysfs = value;
      break;
    case 'l':
      return read_thermal_limit(letter, value, options.thermal_limit);
    case 'T':
      options.operator_times = value;
      break;
    case 'p':
      return read_number(letter, value, 1, max_descriptor, options.samples);
    case 't':
      return read_number(letter, value, 1, max_threads, options.threads);
    case 'k':
      return read_number(letter, value, 1, max_keep, options.keep);
    case 'q':
      return read_number(letter, value, 1, max_queue, options.queue);
    case 'S':
      return read_number(letter, value, 1, max_seconds, options.seconds);
    case 'w':
      return read_number(letter, value, 0, max_runs, options.warmup);
    case 'r':
      return read_number(letter, value, 1, max_runs, options.runs);
    default:
      break;
  }
  return std::nullopt;
}

std::optional<Error> read_option(Options& options, const Command& command, int letter,
                                 char** argv) {
  const char* given = argv[optind - 1];
  // getopt sets optopt to the letter of a known option that was given a value it does not take.
  if (letter == '?' && optopt == 'D') return wrong(given, "takes no value");
  if (letter == '?') return wrong(given, "is not an option");
  if (letter == ':') return wrong(given, "needs a value");
  if (letter == 'h') options.command = "help";
  if (letter == 'V') options.command = "version";
  if (letter == 'h' || letter == 'V') return std::nullopt;
  if (std::strchr(command.options, letter) == nullptr) {
    return wrong(std::string("--") + option_name(letter),
                 std::string("is not an option of ") + command.name);
  }
  return set_option(options, letter, optarg);
}

/// What can only be said once everything is read.
std::optional<Error> check(const Options& options) {
  const std::string& command = options.command;
  if (find_command(command) == nullptr) return std::nullopt;  // help or version
  if (command == "watch" && options.in.empty()) return wrong("--in", "is not given");
  if (command == "watch" && options.out.empty()) return wrong("--out", "is not given");
  if (command == "serve" && options.folder.empty()) return wrong("--folder", "is not given");
  if (command == "run" && options.images.empty()) return wrong("run", "no image is given");
  if (command != "run" && !options.images.empty()) {
    return wrong(options.images[0], "does not belong after " + command);
  }
  return std::nullopt;
}

}  // namespace

const char* usage() {
  return "example: edge-infer run part-0001.png part-0002.png\n"
         "\n"
         "edge-infer run      [--dump-input F] [--dump-outputs DIR] IMAGE...\n"
         "edge-infer selftest [--golden DIR]\n"
         "edge-infer bench    [--warmup N] [--runs N] [--image I]\n"
         "edge-infer info\n"
         "edge-infer watch    --in DIR --out DIR [--keep N] [--heartbeat F]\n"
         "                    [--user NAME]\n"
         "edge-infer serve    --folder DIR [--queue N] [--heartbeat F] [--user NAME]\n"
         "edge-infer shadow   [--seconds N] [--user NAME]\n"
         "\n"
         "  --release DIR   run.json there says what is run, and how (the folder above the\n"
         "                  program's bin/, if it is a release)\n"
         "  --model M       another network; card.json and golden/ are looked for beside it\n"
         "  --threads N     threads of the runtime (as the release says; 1 without one)\n"
         "  --thermal-limit C  infer no faster than keeps the board below that, °C; 0: no limit\n"
         "                  (as the release says; none without one)\n"
         "  --sysfs DIR     stands for the / above sys/class/thermal\n"
         "  --dump-input F  write the last image's input values there, float32 little endian\n"
         "  --dump-outputs DIR  write the last image's outputs there, 0.npy and so on\n"
         "  --golden DIR    golden set (the release's, or golden/ beside the model)\n"
         "  --warmup N      inferences before the timed ones (3)\n"
         "  --runs N        timed inferences (30)\n"
         "  --image I       image to time with (made-up values)\n"
         "  --in DIR        images to classify come here, best by rename, and go\n"
         "  --out DIR       results go here, NAME.json each\n"
         "  --keep N        results that may lie there before images have to wait (1000)\n"
         "  --folder DIR    infer.sock, metrics.sock and metrics.prom are made here\n"
         "  --queue N       requests that may wait before others are refused (4)\n"
         "  --seconds N     how long it runs beside the service of the current release (600)\n"
         "  --heartbeat F   written every 5 s while all is well\n"
         "  --user NAME     user of this board that the service is once it has read its release\n"
         "  --samples FD    write where the CPU time goes to this file descriptor\n"
         "  --operator-times P  write each operator's time to a file whose name starts so\n"
         "  --debug         show the runtime's log, and let a crash leave a core\n"
         "\n"
         "One JSON document on standard output, messages on standard error.\n"
         "exit: 0 done, 1 bug, 2 usage, 3 image, 4 model, 5 card, golden set or run.json,\n"
         "      6 self-test did not pass\n";
}

Result<Options> parse_options(int argc, char** argv) {
  Options options;
  const std::string word = argc > 1 ? argv[1] : "";
  if (word.empty()) return wrong("edge-infer", "no command is given");
  if (word == "--help" || word == "-h") options.command = "help";
  if (word == "--version") options.command = "version";
  if (!options.command.empty()) return options;
  const Command* command = find_command(word);
  if (command == nullptr) return wrong(word, "is not a command");
  options.command = word;

  opterr = 0;
  optind = 0;                     // anew: a former call may have ended in the middle of a word
  char** const words = argv + 1;  // the first of which is no option for getopt
  int letter = 0;
  while ((letter = getopt_long(argc - 1, words, ":h", long_options, nullptr)) != -1) {
    if (auto error = read_option(options, *command, letter, words)) return *error;
  }
  options.images.assign(words + optind, argv + argc);
  if (auto error = check(options)) return *error;
  return options;
}

}  // namespace edge
