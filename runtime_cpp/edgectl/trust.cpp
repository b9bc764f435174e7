#include "trust.hpp"

#include <fcntl.h>
#include <unistd.h>
#include <yyjson.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "manifest.hpp"
#include "state.hpp"

namespace edgectl {
namespace {

constexpr const char* keys_name = "keys.json";
constexpr const char* id_name = "id";
constexpr const char* reset_name = "keys.reset";  // says that keys are gone on purpose
constexpr size_t max_trusted = 16;                // keys, and boards of one document
constexpr size_t max_names = 16;                  // of one kind of board
constexpr size_t max_name = 128;                  // bytes
constexpr size_t id_digits = 32;
constexpr const char* no_release = "0000000000000000";  // where nothing says which one
constexpr const char* random_path = "/dev/urandom";

Error invalid(const std::string& problem) {
  return {Exit::signature, "keys_invalid", "keys document", problem,
          "sign the keys with edgewright: invoke keys.provision"};
}

bool contains(const std::vector<std::string>& texts, const std::string& text) {
  return std::find(texts.begin(), texts.end(), text) != texts.end();
}

std::string joined(const std::vector<std::string>& texts, const char* separator) {
  std::string line;
  for (const auto& text : texts) line += (line.empty() ? "" : separator) + text;
  return line;
}

std::string number(uint64_t value) {
  return format("%llu", static_cast<unsigned long long>(value));
}

bool is_board_id(const std::string& text) {
  return text.size() == id_digits &&
         text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

Error keys_lost(const Board& board, const std::string& problem) {
  return {Exit::damaged, "keys_lost", board.path(keys_name), problem,
          "look at the board's storage; then, on the board: edgectl reset-keys, and from yours: "
          "invoke keys.provision"};
}

std::string text_of(yyjson_val* value) {
  const char* text = yyjson_get_str(value);
  return text != nullptr && std::strlen(text) == yyjson_get_len(value) ? text : "";
}

/// A whole number from 1; 0 for anything else.
uint64_t number_of(yyjson_val* value) {
  return yyjson_is_uint(value) ? yyjson_get_uint(value) : 0;
}

Fault read_keys(yyjson_val* list, Trust& trust) {
  if (!yyjson_is_arr(list) || yyjson_arr_size(list) > max_trusted) {
    return invalid("keys is not a list of at most 16 keys");
  }
  yyjson_arr_iter iterator = yyjson_arr_iter_with(list);
  while (yyjson_val* item = yyjson_arr_iter_next(&iterator)) {
    auto key = parse_key(text_of(item));
    if (!key) return key.error();
    trust.keys.push_back(*key);
  }
  return std::nullopt;
}

/// {"boards":[…]} or {"compatible":"…"}
Fault read_scope(yyjson_val* scope, Trust& trust) {
  trust.kind = text_of(yyjson_obj_get(scope, "compatible"));
  yyjson_val* boards = yyjson_obj_get(scope, "boards");
  yyjson_arr_iter iterator = yyjson_arr_iter_with(boards);
  while (yyjson_val* item = yyjson_arr_iter_next(&iterator)) {
    trust.boards.push_back(text_of(item));
    if (!is_board_id(trust.boards.back())) return invalid("scope names a board without an id");
  }
  const bool is_one = trust.kind.empty() != trust.boards.empty();
  if (is_one && yyjson_obj_size(scope) == 1 && trust.boards.size() <= max_trusted) {
    return std::nullopt;
  }
  return invalid("scope is neither 1 to 16 boards nor a kind of board");
}

Fault read_previous(yyjson_val* previous, Trust& trust) {
  trust.previous = text_of(previous);
  if (yyjson_is_null(previous) || is_sha256(trust.previous)) return std::nullopt;
  return invalid("previous is neither null nor 64 lower-case hex digits");
}

/// A vendor and a board, as a manifest has it.
bool is_name(const std::string& text) {
  return !text.empty() && text.size() <= max_name &&
         text.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789,.-") == std::string::npos;
}

Fault read_names(yyjson_val* list, Trust& trust) {
  yyjson_arr_iter iterator = yyjson_arr_iter_with(list);
  while (yyjson_val* item = yyjson_arr_iter_next(&iterator)) {
    trust.names.push_back(text_of(item));
    if (!is_name(trust.names.back())) return invalid("names has one that is no kind of board");
  }
  if (!trust.names.empty() && trust.names.size() <= max_names) return std::nullopt;
  return invalid("names is not a list of 1 to 16 kinds of board");
}

/// A key that comes twice would be one too many: each of these is looked up, and no other is there.
Fault read_schema_2(yyjson_val* top, Trust& trust) {
  yyjson_val* floor = yyjson_obj_get(top, "floor");
  yyjson_val* names = yyjson_obj_get(top, "names");
  if (yyjson_obj_size(top) != size_t{5} + (floor != nullptr) + (names != nullptr)) {
    return invalid("has other keys than schema, scope, previous, sequence, keys, floor, names");
  }
  if (names != nullptr) {
    if (auto fault = read_names(names, trust)) return fault;
  }
  trust.floor = number_of(floor);
  if (floor != nullptr && trust.floor == 0) return invalid("floor is not a whole number from 1");
  if (auto fault = read_scope(yyjson_obj_get(top, "scope"), trust)) return fault;
  return read_previous(yyjson_obj_get(top, "previous"), trust);
}

/// The signature of a key that may sign this change, over a comment that says the same.
Fault unauthorised(const Trust& trust, const Trust& fresh, const Signed& input, const char* verb) {
  const auto signature = parse_signature(input.signature);
  if (!signature) return signature.error();
  const auto key = verify(*signature, trust.schema == 0 ? fresh.keys : trust.keys, input.document);
  if (!key) return key.error();
  if (fresh.schema == 1) {
    const auto claim = parse_keys_claim(signature->comment);
    if (!claim) return claim.error();
    if (claim->sequence == fresh.sequence) return std::nullopt;
  } else {
    const std::string expected = fresh.comment(verb);
    // What follows is a note of the signer's.
    if ((signature->comment + " ").compare(0, expected.size() + 1, expected + " ") == 0) {
      return std::nullopt;
    }
  }
  return Error{Exit::signature, "signature_comment", "trusted comment",
               "is not about this keys document: " + signature->comment,
               "sign with edgewright, which writes the comment"};
}

Fault out_of_scope(const Board& board, const Trust& fresh, const std::vector<std::string>& kinds) {
  const std::string id = board_id(board);
  const auto& boards = fresh.boards;
  if (boards.empty() ? contains(kinds, fresh.kind) : contains(boards, id)) return std::nullopt;
  return Error{Exit::refused, "keys_scope", "keys document",
               boards.empty() ? "is for boards of " + fresh.kind + ", this one is " + kinds.front()
                              : "is for other boards, this one is " + (id.empty() ? "none" : id),
               "sign the keys for this board: invoke keys.provision"};
}

/// A kind may get other names, but no board becomes one of another kind.
Fault misnamed(const Trust& fresh, const std::string& kind) {
  if (fresh.names.empty() || contains(fresh.names, kind)) return std::nullopt;
  return Error{Exit::refused, "wrong_board", "the board",
               "is " + kind + ", none of " + joined(fresh.names, ", "),
               "give the profile of this board"};
}

/// Compare and swap: whoever signed knew what is in force now.
Fault conflict(const Trust& trust, const Trust& fresh) {
  const std::string in_force = trust.schema == 0 ? "" : sha256_hex(trust.document);
  if (fresh.previous == in_force && fresh.sequence == trust.sequence + 1) return std::nullopt;
  const auto name = [](const std::string& hash) { return hash.empty() ? "none" : hash; };
  return Error{Exit::signature, "keys_conflict", "keys document",
               "number " + number(fresh.sequence) + " follows document " + name(fresh.previous) +
                   "; in force is number " + number(trust.sequence) + ", document " +
                   name(in_force),
               "somebody changed the keys meanwhile: look at them, then sign again"};
}

/// An old document may follow nothing but an old one.
Fault outdated(const Trust& trust, const Trust& fresh) {
  if (trust.schema == 2) {
    return Error{Exit::signature, "keys_schema", "keys document",
                 "has schema 1, which is bound to no board; the one in force has schema 2",
                 "sign the keys with a newer edgewright"};
  }
  if (fresh.sequence > trust.sequence) return std::nullopt;
  return Error{
      Exit::signature, "keys_older", "keys document",
      "has sequence " + number(fresh.sequence) + ", the board is at " + number(trust.sequence),
      "sign the keys again"};
}

/// Before the document is in force: whoever repeats a change that was cut sets the floor again,
/// whoever sends the document in force again does not.
Fault set_floor(const Board& board, uint64_t sequence) {
  if (sequence == 0) return std::nullopt;
  const std::string current = linked(board, "current");
  const auto floor = floor_of(board);
  const bool is_named = floor && !floor->release.empty();
  const std::string release = !current.empty() ? current : is_named ? floor->release : no_release;
  return write_state(board, "floor", text_of(Floor{sequence, release}));
}

}  // namespace

std::string Trust::comment(const char* verb) const {
  const std::string scope = kind.empty() ? "boards:" + joined(boards, ",") : "compatible:" + kind;
  return std::string("edgewright ") + verb + " sequence=" + number(sequence) +
         " previous=" + (previous.empty() ? "none" : previous) + " scope=" + scope +
         (floor != 0 ? " floor=" + number(floor) : "") +
         (names.empty() ? "" : " names=" + joined(names, "/"));
}

Result<Trust> parse_trust(const std::string& document) {
  std::string copy = document;
  const JsonDocument json(yyjson_read(copy.data(), copy.size(), 0));
  yyjson_val* top = yyjson_doc_get_root(json.get());
  Trust trust;
  trust.document = document;
  trust.schema = number_of(yyjson_obj_get(top, "schema"));
  if (trust.schema != 1 && trust.schema != 2) {
    return invalid("is not a keys document of schema 1 or 2");
  }
  trust.sequence = number_of(yyjson_obj_get(top, "sequence"));
  if (trust.sequence == 0) return invalid("sequence is not a whole number from 1");
  if (auto fault = read_keys(yyjson_obj_get(top, "keys"), trust)) return *fault;
  if (trust.schema == 2) {
    if (auto fault = read_schema_2(top, trust)) return *fault;
  }
  return trust;
}

Result<Trust> trust_of(const Board& board) {
  if (!has_state(board, keys_name)) {
    // What else first contact and a deploy leave behind tells a damaged board from a new one.
    const bool is_new = !has_state(board, "board") && !has_state(board, "floor");
    if (is_new || !is_absent(board.path(reset_name))) return Trust{};
    return keys_lost(board, "is gone, and so is its copy");
  }
  const auto document = read_state(board, keys_name);
  auto trust = document ? parse_trust(*document) : Result<Trust>(document.error());
  if (trust && !trust->keys.empty()) return trust;
  return keys_lost(board, "is damaged, and so is its copy");
}

std::string board_id(const Board& board) {
  const auto text = read_state(board, id_name);
  const std::string id = text ? text->substr(0, text->find('\n')) : "";
  return is_board_id(id) ? id : "";
}

Result<std::string> make_board_id(const Board& board) {
  std::string id = board_id(board);
  if (!id.empty()) return id;
  std::array<uint8_t, id_digits / 2> bytes{};
  const Descriptor random(open(random_path, O_RDONLY | O_CLOEXEC));
  if (!random || read(random.get(), bytes.data(), bytes.size()) != ssize_t{bytes.size()}) {
    return storage_fault(random_path);
  }
  for (const uint8_t byte : bytes) id += format("%02x", byte);
  if (auto fault = write_state(board, id_name, id + "\n")) return *fault;
  return id;
}

Result<bool> accept_keys(const Board& board, const Signed& input, const std::string& kind) {
  const auto fresh = parse_trust(input.document);
  if (!fresh) return fresh.error();
  if (fresh->keys.empty()) return invalid("names no key");
  const auto trust = trust_of(board);
  if (!trust) return trust.error();
  const auto known = kinds(board);
  if (!known.empty() && !contains(known, kind)) {
    return Error{Exit::refused, "wrong_board", "the board", "is " + known.front() + ", not " + kind,
                 "give the profile of this board"};
  }
  const auto present = known.empty() ? std::vector{kind} : known;
  if (auto fault = misnamed(*fresh, present.front())) return *fault;
  const bool changed = fresh->document != trust->document;
  if (changed) {
    if (auto fault = unauthorised(*trust, *fresh, input, "keys")) return *fault;
    if (fresh->schema == 1) {
      if (auto fault = outdated(*trust, *fresh)) return *fault;
    } else {
      if (auto fault = out_of_scope(board, *fresh, present)) return *fault;
      if (auto fault = conflict(*trust, *fresh)) return *fault;
    }
    if (auto fault = set_floor(board, fresh->floor)) return *fault;
    // Durable before `board` is: a board that knows its kind and has no keys is a damaged one.
    if (auto fault = write_state(board, keys_name, input.document)) return *fault;
  }
  // Also where the document is in force already: a power cut may have come in between.
  const auto& names = fresh->names.empty() ? present : fresh->names;
  if (names != known) {
    if (auto fault = write_state(board, "board", joined(names, "\n") + "\n")) return *fault;
  }
  if (auto fault = remove_file(board.path(reset_name))) return *fault;
  if (auto fault = sync_folder(board.root)) return *fault;
  return changed;
}

Fault forget_order_problem(const Board& board, const Signed& input) {
  const auto fresh = parse_trust(input.document);
  if (!fresh) return fresh.error();
  if (fresh->schema != 2 || !fresh->keys.empty() || fresh->boards.empty()) {
    return invalid("is not an order to forget: schema 2, no keys, and boards by their ids");
  }
  const auto trust = trust_of(board);
  if (!trust) return trust.error();
  if (auto fault = unauthorised(*trust, *fresh, input, "forget")) return fault;
  if (auto fault = out_of_scope(board, *fresh, {""})) return fault;
  return conflict(*trust, *fresh);
}

Fault reset_keys(const Board& board) {
  if (auto fault = save(board, reset_name, "")) return fault;
  // A new id, too: no document that was signed for this board before is one for it any more.
  for (const char* name : {keys_name, "board", id_name}) {
    if (auto fault = remove_state(board, name)) return fault;
  }
  return sync_folder(board.root);
}

}  // namespace edgectl
