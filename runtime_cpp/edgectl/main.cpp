#include <csignal>
#include <cstdio>

#include "commands.hpp"

namespace {

int finish(const edgectl::Outcome& outcome) {
  std::fputs(outcome.message.c_str(), stderr);
  const bool written = std::fputs(outcome.json.c_str(), stdout) >= 0 && std::fflush(stdout) == 0;
  return static_cast<int>(written ? outcome.exit : edge::Exit::bug);
}

}  // namespace

int main(int argc, char** argv) {
  const auto options = edgectl::parse_options(argc, argv);
  if (!options) return finish(edge::failed(argc > 1 ? argv[1] : "", options.error()));
  if (options->command == "--help") return std::fputs(edgectl::usage(), stdout) < 0;
  if (options->command == "--version") return std::printf("edgectl %s\n", EDGECTL_VERSION) < 0;
  if (options->command == "start") return finish(edgectl::start(*options));
  std::signal(SIGPIPE, SIG_IGN);  // a closed pipe is told as a fault, not died of
  return finish(edgectl::execute(*options));
}
