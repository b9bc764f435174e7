#include "edge/end_request.hpp"

#include <csignal>

namespace edge {
namespace {

volatile std::sig_atomic_t is_asked_for = 0;

void note(int) {
  is_asked_for = 1;
}

}  // namespace

void listen_for_the_end() {
  struct sigaction action{};
  action.sa_handler = note;  // without SA_RESTART: a poll ends at once
  sigaction(SIGTERM, &action, nullptr);
  action.sa_flags = SA_RESETHAND;
  sigaction(SIGINT, &action, nullptr);
}

bool is_end_asked_for() {
  return is_asked_for != 0;
}

}  // namespace edge
