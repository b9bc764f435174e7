#include <csignal>
#include <cstdio>
#include <string>

#include "commands.hpp"
#include "ends.hpp"

namespace {

int finish(const edge::Outcome& outcome) {
  std::fputs(outcome.message.c_str(), stderr);
  const bool written = std::fputs(outcome.json.c_str(), stdout) >= 0 && std::fflush(stdout) == 0;
  return static_cast<int>(written ? outcome.exit : edge::Exit::bug);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string word = argc > 1 ? argv[1] : "";
  if (word == "--help") return std::fputs(edgectl::usage(), stdout) < 0;
  if (word == "--version") return std::printf("edgectl %s\n", EDGECTL_VERSION) < 0;
  const auto options = edgectl::parse_options(argc, argv);
  if (!options) return finish(edge::failed(word, options.error()));
  // A closed pipe is told as a fault, not died of; but what `start` becomes would inherit that.
  if (options->command->run != edgectl::start) std::signal(SIGPIPE, SIG_IGN);
  return finish(edgectl::execute(*options));
}
