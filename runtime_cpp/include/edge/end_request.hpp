#pragma once

namespace edge {

/// From here on SIGTERM and SIGINT end nothing: who works looks whether the end is asked for.
/// The second SIGINT ends the program at once: it is a person's, who does not want to wait.
void listen_for_the_end();

bool is_end_asked_for();

}  // namespace edge
