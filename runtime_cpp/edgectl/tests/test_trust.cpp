#include <sodium.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "state.hpp"
#include "store.hpp"
#include "support.hpp"
#include "trust.hpp"

using namespace edgectl;

namespace {

constexpr const char* kind = "acme,board";

std::string base64(const std::string& bytes) {
  std::string text(sodium_base64_ENCODED_LEN(bytes.size(), sodium_base64_VARIANT_ORIGINAL), '\0');
  sodium_bin2base64(text.data(), text.size(), reinterpret_cast<const uint8_t*>(bytes.data()),
                    bytes.size(), sodium_base64_VARIANT_ORIGINAL);
  text.pop_back();
  return text;
}

/// A key that signs as minisign does: its id and its seed are one letter, repeated. edgectl's
/// libsodium makes no keys, so the public half is given.
class Signer {
 public:
  Signer(char letter, const char* point) : id_(8, letter) {
    size_t size = 0;
    REQUIRE(sodium_hex2bin(public_.data(), public_.size(), point, std::strlen(point), nullptr,
                           &size, nullptr) == 0);
    std::fill_n(secret_.begin(), 32, static_cast<uint8_t>(letter));
    std::copy(public_.begin(), public_.end(), secret_.begin() + 32);
  }
  std::string line() const {
    return base64("Ed" + id_ + std::string(public_.begin(), public_.end()));
  }
  Signed sign(const std::string& document, const std::string& comment) const {
    std::string digest(64, '\0');
    crypto_generichash_blake2b(reinterpret_cast<uint8_t*>(digest.data()), digest.size(),
                               reinterpret_cast<const uint8_t*>(document.data()), document.size(),
                               nullptr, 0);
    const std::string first = over(digest);
    return {"untrusted comment: test\n" + base64("ED" + id_ + first) +
                "\ntrusted comment: " + comment + "\n" + base64(over(first + comment)) + "\n",
            document};
  }

 private:
  std::string over(const std::string& bytes) const {
    std::string signature(64, '\0');
    crypto_sign_ed25519_detached(reinterpret_cast<uint8_t*>(signature.data()), nullptr,
                                 reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(),
                                 secret_.data());
    return signature;
  }

  std::string id_;
  std::array<uint8_t, crypto_sign_ed25519_PUBLICKEYBYTES> public_{};
  std::array<uint8_t, crypto_sign_ed25519_SECRETKEYBYTES> secret_{};
};

std::string listed(const std::vector<const Signer*>& keys) {
  std::string list;
  for (const Signer* key : keys) list += (list.empty() ? "\"" : ",\"") + key->line() + "\"";
  return "[" + list + "]";
}

std::string old_document(uint64_t sequence, const std::vector<const Signer*>& keys) {
  return format("{\"schema\":1,\"sequence\":%d,\"keys\":", static_cast<int>(sequence)) +
         listed(keys) + "}\n";
}

/// A board at first contact, and who may sign for it.
struct Provisioned {
  TemporaryBoard temporary;
  const Board& board = temporary.board;
  Signer mine{'a', "af06a3e3291714e4f356c19c9b15cd1951ec6e6662aa77be07547f289383341d"};
  Signer colleague{'b', "2df04125f0015afb47ce853aef8772094ff9498c14cb1b9e12973c2927da0fa6"};
  Signer stranger{'c', "a7f6dfaf8f38b89ba8ce649b594f91e4d01fdc57f9c9493df43b5e50a9987367"};
  std::string id = *make_board_id(board);

  std::string in_force() const { return *read_state(board, "keys.json"); }

  /// The document after the one in force.
  std::string next(const std::vector<const Signer*>& keys, const std::string& scope = "",
                   const std::string& more = "") const {
    const auto trust = trust_of(board);
    REQUIRE(code_of(trust) == "ok");
    const std::string previous =
        trust->schema == 0 ? "null" : "\"" + sha256_hex(trust->document) + "\"";
    const std::string mine_alone = "{\"boards\":[\"" + id + "\"]}";
    return "{" + more + "\"keys\":" + listed(keys) + ",\"previous\":" + previous +
           ",\"schema\":2,\"scope\":" + (scope.empty() ? mine_alone : scope) +
           format(",\"sequence\":%d}\n", static_cast<int>(trust->sequence + 1));
  }
  static Signed by(const Signer& signer, const std::string& document, const char* verb = "keys") {
    const auto parsed = parse_trust(document);
    REQUIRE(code_of(parsed) == "ok");
    const std::string old =
        format("edgewright keys sequence=%d", static_cast<int>(parsed->sequence));
    return signer.sign(document, parsed->schema == 1 ? old : parsed->comment(verb));
  }
  std::string take(const Signed& input) const { return code_of(accept_keys(board, input, kind)); }
  std::string take(const Signer& signer, const std::string& document) const {
    return take(by(signer, document));
  }
};

}  // namespace

TEST_CASE_FIXTURE(Provisioned, "keys change link by link, each signed by a key before it") {
  const std::string first = next({&mine});
  CHECK(take(stranger, first) == "signature_unknown_key");
  CHECK(take(mine, first) == "ok");
  CHECK(take(mine, first) == "ok");  // again: nothing to do

  const std::string second = next({&mine, &colleague});
  CHECK(take(stranger, second) == "signature_unknown_key");
  CHECK(take(mine, second) == "ok");
  CHECK(take(mine, first) == "keys_conflict");
  CHECK(in_force() == second);
}

TEST_CASE_FIXTURE(Provisioned, "of two changes at once one is refused, and revives nobody") {
  REQUIRE(take(mine, next({&mine, &colleague, &stranger})) == "ok");
  const std::string revokes = next({&mine, &colleague});
  const std::string adds = next({&mine, &colleague, &stranger});

  CHECK(take(mine, revokes) == "ok");
  CHECK(take(colleague, adds) == "keys_conflict");
  CHECK(in_force() == revokes);
}

TEST_CASE_FIXTURE(Provisioned, "a document for one board is refused by every other") {
  const Provisioned other;
  CHECK(other.take(mine, next({&mine})) == "keys_scope");
  CHECK(take(mine, next({&mine}, R"({"compatible":"acme,other"})")) == "keys_scope");
  CHECK(take(mine, next({&mine}, R"({"compatible":"acme,board"})")) == "ok");
}

TEST_CASE_FIXTURE(Provisioned,
                  "a kind of board gets new names by a signed document, never another kind's") {
  const auto called = [&](const std::string& name) {
    return code_of(accept_keys(board, by(mine, in_force()), name));
  };
  REQUIRE(take(mine, next({&mine})) == "ok");
  CHECK(kinds(board) == std::vector<std::string>{kind});

  const std::string foreign = next({&mine}, "", R"("names":["acme,other","acme,third"],)");
  CHECK(take(mine, foreign) == "wrong_board");
  const std::string renames = next({&mine}, "", R"("names":["acme,new","acme,board"],)");
  CHECK(take(stranger, renames) == "signature_unknown_key");
  CHECK(take(mine.sign(renames, "edgewright keys sequence=2")) == "signature_comment");
  CHECK(take(mine, renames) == "ok");
  CHECK(kinds(board) == std::vector<std::string>{"acme,new", kind});
  CHECK(called("acme,new") == "ok");
  CHECK(called("acme,other") == "wrong_board");

  // A power cut after the document, before the names: the same order again goes on.
  REQUIRE(code_of(write_state(board, "board", "acme,board\n")) == "ok");
  CHECK(take(mine, renames) == "ok");
  CHECK(kinds(board) == std::vector<std::string>{"acme,new", kind});
}

TEST_CASE_FIXTURE(Provisioned, "a board may have several names from its first contact") {
  CHECK(take(mine, next({&mine}, "", R"("names":["acme,new"],)")) == "wrong_board");
  const std::string first =
      next({&mine}, R"({"compatible":"acme,board"})", R"("names":["acme,board","acme,old"],)");
  REQUIRE(take(mine, first) == "ok");
  CHECK(kinds(board) == std::vector<std::string>{kind, "acme,old"});
  CHECK(parse_trust(first)->comment("keys") ==
        "edgewright keys sequence=1 previous=none scope=compatible:acme,board "
        "names=acme,board/acme,old");
  CHECK(take(mine, next({&mine}, R"({"compatible":"acme,old"})")) == "ok");
  CHECK(take(mine, next({&mine}, R"({"compatible":"acme,other"})")) == "keys_scope");
}

TEST_CASE_FIXTURE(Provisioned, "the trusted comment says what the document says") {
  const std::string document = next({&mine});
  const std::string comment = parse_trust(document)->comment("keys");
  CHECK(comment == "edgewright keys sequence=1 previous=none scope=boards:" + id);
  for (const std::string& wrong :
       {std::string("edgewright keys sequence=1"), comment + "0",
        parse_trust(document)->comment("forget"), replaced(comment, "sequence=1", "sequence=2"),
        replaced(comment, "none", "nobody")}) {
    CAPTURE(wrong);
    CHECK(take(mine.sign(document, wrong)) == "signature_comment");
  }
  CHECK(take(mine.sign(document, comment + " a note")) == "ok");
}

TEST_CASE_FIXTURE(Provisioned, "documents of schema 1 count until one of schema 2 is in force") {
  CHECK(take(mine, old_document(10, {&mine, &stranger})) == "ok");
  CHECK(take(mine, old_document(9, {&mine})) == "keys_older");
  CHECK(take(mine, old_document(20, {&mine, &colleague})) == "ok");

  const std::string bound = next({&mine});
  CHECK(take(mine, bound) == "ok");
  CHECK(parse_trust(bound)->sequence == 21);
  CHECK(take(mine, old_document(99, {&mine, &colleague})) == "keys_schema");
  CHECK(in_force() == bound);
}

TEST_CASE_FIXTURE(Provisioned, "what is no keys document of schema 2 is refused") {
  const std::string good = next({&mine});
  REQUIRE(code_of(parse_trust(good)) == "ok");
  const std::string hash(64, '0');
  for (const auto& [from, to] : std::vector<std::pair<std::string, std::string>>{
           {"\"schema\":2", "\"schema\":3"},
           {"\"schema\":2", "\"schema\":2,\"schema\":2"},
           {"\"schema\":2", "\"schema\":2,\"other\":1"},
           {"\"schema\":2", "\"schema\":2,\"floor\":0"},
           {"\"schema\":2", "\"schema\":2,\"names\":[]"},
           {"\"schema\":2", "\"schema\":2,\"names\":\"acme,board\""},
           {"\"schema\":2", "\"schema\":2,\"names\":[\"acme,board\\n\"]"},
           {"\"schema\":2", "\"schema\":2,\"names\":[\"acme,board/b\"]"},
           {"\"previous\":null,", ""},
           {"null", "\"none\""},
           {"null", "\"" + hash + "0\""},
           {"\"sequence\":1", "\"sequence\":0"},
           {"\"sequence\":1", "\"sequence\":-1"},
           {"{\"boards\"", "{\"compatible\":\"a,b\",\"boards\""},
           {"\"boards\":[\"", "\"boards\":[\"0"},
           {"\"boards\":[\"", "\"boards\":[7,\""},
           {"\"boards\"", "\"board\""},
           {"\"keys\":[", "\"keys\":[\"RW\","}}) {
    CAPTURE(to);
    CHECK(code_of(parse_trust(replaced(good, from, to))) == "keys_invalid");
  }
  CHECK(code_of(accept_keys(board, mine.sign(next({}), ""), kind)) == "keys_invalid");
}

TEST_CASE_FIXTURE(Provisioned, "keys that are lost or damaged are no first contact") {
  REQUIRE(take(mine, next({&mine})) == "ok");
  const std::string document = in_force();
  const std::string first = Provisioned().next({&stranger}, R"({"compatible":"acme,board"})");

  for (const char* copy : {"keys.json", "keys.json.copy"}) {
    CHECK(trust_of(board)->document == document);  // one is whole
    REQUIRE(code_of(write_file(board.path(copy), document.substr(0, 50))) == "ok");
  }
  CHECK(code_of(trust_of(board)) == "keys_lost");
  REQUIRE(code_of(remove_file(board.path("keys.json"))) == "ok");
  CHECK(code_of(trust_of(board)) == "keys_lost");
  REQUIRE(code_of(remove_file(board.path("keys.json.copy"))) == "ok");
  CHECK(code_of(trust_of(board)) == "keys_lost");
  CHECK(take(stranger, first) == "keys_lost");

  REQUIRE(code_of(reset_keys(board)) == "ok");
  CHECK(board_id(board).empty());
  CHECK(take(stranger, first) == "ok");
  REQUIRE(code_of(remove_state(board, "keys.json")) == "ok");
  CHECK(code_of(trust_of(board)) == "keys_lost");
}

TEST_CASE_FIXTURE(Provisioned, "a floor in the future is lowered once, by a signed document") {
  const std::string release = temporary.install({{"model", "x"}});
  REQUIRE(code_of(replace_link(board, "current", release)) == "ok");
  REQUIRE(code_of(write_state(board, "floor", text_of(Floor{9000, release}))) == "ok");
  REQUIRE(code_of(remove_state(board, "floor")) == "ok");
  REQUIRE(take(mine, next({&mine})) == "ok");
  REQUIRE(code_of(write_state(board, "floor", text_of(Floor{9000, release}))) == "ok");

  const std::string lowers = next({&mine}, "", "\"floor\":70,");
  CHECK(take(mine, lowers) == "ok");
  CHECK(floor_of(board)->sequence == 70);
  CHECK(floor_of(board)->release == release);

  REQUIRE(code_of(write_state(board, "floor", text_of(Floor{80, release}))) == "ok");
  CHECK(take(mine, lowers) == "ok");  // in force already: it lowers nothing any more
  CHECK(floor_of(board)->sequence == 80);
}

TEST_CASE_FIXTURE(Provisioned,
                  "a floor that is lost is no new board, and a signed document mends it") {
  REQUIRE(take(mine, next({&mine})) == "ok");
  CHECK(floor_of(board)->sequence == 0);
  const std::string release = temporary.install({{"model", "x"}});
  REQUIRE(code_of(replace_link(board, "current", release)) == "ok");
  REQUIRE(code_of(write_file(board.path("txn"), "trial")) == "ok");
  CHECK(floor_of(board)->sequence == 0);  // on trial, it is the first one

  REQUIRE(code_of(remove_file(board.path("txn"))) == "ok");
  CHECK(code_of(floor_of(board)) == "floor_lost");
  CHECK(take(mine, next({&mine, &colleague})) == "ok");
  CHECK(code_of(floor_of(board)) == "floor_lost");
  CHECK(take(mine, next({&mine}, "", "\"floor\":70,")) == "ok");
  CHECK(floor_of(board)->sequence == 70);

  REQUIRE(code_of(remove_file(board.path("current"))) == "ok");
  for (const char* copy : {"floor", "floor.copy"}) {
    REQUIRE(code_of(write_file(board.path(copy), "7")) == "ok");
  }
  CHECK(code_of(floor_of(board)) == "floor_lost");
  CHECK(take(mine, next({&mine}, "", "\"floor\":71,")) == "ok");
  CHECK(floor_of(board)->sequence == 71);
}

TEST_CASE_FIXTURE(Provisioned,
                  "an order to forget is for one board, and leaves nothing but edgectl") {
  REQUIRE(take(mine, next({&mine})) == "ok");
  const std::string release = temporary.install({{"model", "x"}});
  REQUIRE(code_of(replace_link(board, "current", release)) == "ok");
  REQUIRE(code_of(write_state(board, "floor", text_of(Floor{7, release}))) == "ok");
  REQUIRE(code_of(make_folder(board.path("bin"))) == "ok");

  const auto verdict = [&](const Signed& input) {
    return code_of(forget_order_problem(board, input));
  };
  const std::string order = next({});
  CHECK(verdict(by(mine, order)) == "signature_comment");
  CHECK(verdict(by(stranger, order, "forget")) == "signature_unknown_key");
  CHECK(verdict(by(mine, next({&mine}), "forget")) == "keys_invalid");
  CHECK(verdict(by(mine, next({}, R"({"compatible":"acme,board"})"), "forget")) == "keys_invalid");
  CHECK(verdict(by(mine, order, "forget")) == "ok");
  for (const char* name : {"current", "floor", "board"}) {  // a power cut in the middle of it
    REQUIRE(code_of(remove_file(board.path(name))) == "ok");
  }
  CHECK(verdict(by(mine, order, "forget")) == "ok");

  const auto wiped = wipe(board);
  REQUIRE(code_of(wiped) == "ok");
  CHECK(wiped->releases == std::vector<std::string>{release});
  CHECK(wiped->objects == 1);
  CHECK(names_in(board.root) == std::vector<std::string>{"bin", "locks"});
  CHECK(trust_of(board)->schema == 0);
}

TEST_CASE_FIXTURE(Provisioned, "a fence may be given, above the last one alone") {
  CHECK(*next_fence(board) == 1);
  CHECK(*next_fence(board, 70) == 70);
  CHECK(code_of(next_fence(board, 70)) == "fence_lost");
  CHECK(code_of(next_fence(board, 7)) == "fence_lost");
  CHECK(fence_of(board) == 70);
  CHECK(*next_fence(board) == 71);
}
