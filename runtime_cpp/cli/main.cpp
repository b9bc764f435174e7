#include <csignal>
#include <cstdio>

#include "edge/about.hpp"
#include "edge/commands.hpp"
#include "edge/crash_guard.hpp"
#include "edge/options.hpp"
#include "edge/sampler.hpp"

namespace {

/// Writes the document and the message; a document that cannot be written is a fault of its own.
int finish(const edge::Outcome& outcome) {
  if (!outcome.message.empty()) edge::tell(outcome.message);
  const bool written = std::fputs(outcome.json.c_str(), stdout) >= 0 && std::fflush(stdout) == 0;
  if (written) return static_cast<int>(outcome.exit);
  edge::tell("standard output: cannot be written\nnext: check the pipe or the free space\n");
  return static_cast<int>(edge::Exit::bug);
}

}  // namespace

int main(int argc, char** argv) {
  edge::mark_main();
  std::signal(SIGPIPE, SIG_IGN);  // a closed pipe is told as a fault, not died of
  const auto options = edge::parse_options(argc, argv);
  if (!options) return finish(edge::failed(argc > 1 ? argv[1] : "", options.error()));
  if (options->command == "help") return std::fputs(edge::usage(), stdout) < 0;
  if (options->command == "version") return std::printf("edge-infer %s\n", edge::version()) < 0;
  if (!options->debug) edge::install_crash_guard(options->command);
  if (options->samples != 0) {
    if (const auto error = edge::start_samples(options->samples, options->command)) {
      return finish(edge::failed(options->command, *error));
    }
  }
  const auto outcome = edge::execute(*options);
  edge::end_samples();
  return finish(outcome);
}
