#include "library/handles.hpp"

/// Its texts live elsewhere: in constants, or in the whole of it.
struct edge_error {
  edge_code code;
  const char* word;
  const char* message;
  const char* next;
};

namespace edge {
namespace {

struct HeldError : edge_error {
  std::string message_text;
  std::string next_text;
};

// That there is no memory must be told without any.
constexpr edge_error memory_error{EDGE_CODE_MEMORY, "no_memory", "there is no memory left",
                                  "free some, or take a smaller image"};
constexpr edge_error bug_error{EDGE_CODE_BUG, "bug", "libedge met what it does not expect",
                               "report this, with the input that led to it"};

/// Callers only read an error and hand it back.
edge_error* constant(const edge_error& error) {
  return const_cast<edge_error*>(&error);
}

/// Faults of edge-infer's own files and options are none of a library.
edge_code code_of(Exit exit) {
  switch (exit) {
    case Exit::usage:
      return EDGE_CODE_ARGUMENT;
    case Exit::image:
      return EDGE_CODE_IMAGE;
    case Exit::model:
      return EDGE_CODE_MODEL;
    case Exit::card:
      return EDGE_CODE_CARD;
    default:
      return EDGE_CODE_BUG;
  }
}

}  // namespace

edge_error* handed(const Error& error) {
  auto held = std::make_unique<HeldError>();
  held->code = code_of(error.exit);
  held->word = error.code;
  held->message_text = error.message();
  held->next_text = error.next;
  held->message = held->message_text.c_str();
  held->next = held->next_text.c_str();
  return held.release();
}

edge_error* argument_error(const char* subject, const std::string& problem) {
  return handed({Exit::usage, "argument", subject, problem, "see edge/edge.h for what it takes"});
}

edge_error* no_memory() {
  return constant(memory_error);
}

edge_error* unexpected() {
  return constant(bug_error);
}

}  // namespace edge

using namespace edge;

const char* edge_version(void) {
  return EDGE_LIBRARY_VERSION;
}

edge_code edge_error_code(const edge_error* error) {
  return error != nullptr ? error->code : EDGE_CODE_OK;
}

const char* edge_error_word(const edge_error* error) {
  return error != nullptr ? error->word : "";
}

const char* edge_error_message(const edge_error* error) {
  return error != nullptr ? error->message : "";
}

const char* edge_error_next(const edge_error* error) {
  return error != nullptr ? error->next : "";
}

void edge_error_free(edge_error* error) {
  if (error == &memory_error || error == &bug_error) return;
  delete static_cast<HeldError*>(error);
}
