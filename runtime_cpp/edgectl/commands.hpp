#pragma once

#include <string>

#include "board.hpp"
#include "common/outcome.hpp"
#include "options.hpp"

namespace edgectl {

/// A command of the command line.
struct Command {
  const char* name;
  const char* options;  // beside --root and --proc, by spaces; "!" ends one that must be given
  Fault (*run)(const Board& board, const Options& options, edge::Json top);  // fills the document
};

/// Null for a word that is no command.
const Command* find_command(const std::string& name);

/// The usage text, an example first.
const char* usage();

edge::Outcome execute(const Options& options);

}  // namespace edgectl
