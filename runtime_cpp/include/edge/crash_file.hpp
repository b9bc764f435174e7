#pragma once

#include <csignal>
#include <string>

namespace edge {

/// From here on a fatal signal leaves a file (docs/formats.md, "Crash files") in `crashes/` of the
/// deploy root that `release` lies in. Nothing is kept elsewhere, nor where that folder cannot be
/// made. The folder is opened here: a service that has changed its user cannot reach it by name.
void keep_crashes(const std::string& release);

/// The folder of the crash files, for handing over to a service's user; -1 where none are kept.
int crash_folder();

/// Writes the file, at most `most_files` of which are kept. Only for the handler of a fatal signal,
/// once it has said what it has to say: nothing here allocates, but memory may be in any state.
/// `log` is a file whose end tells what libraries printed last, or -1.
void write_crash_file(const char* command, int signal, const siginfo_t& info, const void* context,
                      int log);

}  // namespace edge
