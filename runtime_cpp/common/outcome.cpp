#include "common/outcome.hpp"

#include "common/text.hpp"

namespace edge {

std::string message_lines(const Error& error) {
  return printable(error.subject) + ": " + utf8(error.problem) + "\nnext: " + error.next + "\n";
}

Outcome failed(Document& document, const Error& error) {
  set_error(document.top(), error);
  return {error.exit, document.text(), message_lines(error)};
}

Outcome failed(const std::string& command, const Error& error) {
  Document document(command);
  return failed(document, error);
}

}  // namespace edge
