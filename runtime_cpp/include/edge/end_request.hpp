#pragma once

namespace edge {

/// From here on SIGTERM and SIGINT end nothing: who works looks whether the end is asked for.
void listen_for_the_end();

bool is_end_asked_for();

}  // namespace edge
