#include "admission.hpp"
#include "signature.hpp"
#include "support.hpp"

using namespace edgectl;

namespace {

const std::string folder = EDGECTL_CORPUS "/signatures/";

/// The second line of a minisign public key file.
PublicKey key_in(const std::string& name) {
  const std::string text = content_of(folder + name);
  const size_t start = text.find('\n') + 1;
  const auto key = parse_key(text.substr(start, text.find('\n', start) - start));
  REQUIRE(code_of(key) == "ok");
  return *key;
}

std::string verdict(const std::string& signature_text, const std::vector<PublicKey>& trusted,
                    const std::string& document) {
  const auto signature = parse_signature(signature_text);
  return signature ? code_of(verify(*signature, trusted, document)) : code_of(signature);
}

}  // namespace

TEST_CASE("a signature of minisign is verified, a changed byte anywhere is not") {
  const std::string document = content_of(folder + "signed.txt");
  const std::string text = content_of(folder + "signed.txt.minisig");
  const std::vector<PublicKey> trusted{key_in("stock-locked.pub"), key_in("stock.pub")};
  const auto signature = parse_signature(text);
  REQUIRE(code_of(signature) == "ok");
  const auto key = verify(*signature, trusted, document);
  REQUIRE(code_of(key) == "ok");
  CHECK(key->name() == "3949899FC99EF949");
  CHECK(signature->comment == "x y");

  CHECK(verdict(text, trusted, document + "x") == "signature_wrong");
  CHECK(verdict(replaced(text, "x y", "x z"), trusted, document) == "signature_wrong");
  CHECK(verdict(text, {key_in("stock-locked.pub")}, document) == "signature_unknown_key");
  CHECK(verdict(text, {}, document) == "signature_unknown_key");
}

TEST_CASE("no signature file of the corpus of broken ones is accepted") {
  const std::string document = content_of(folder + "signed.txt");
  const auto entries = corpus(folder + "bad/expected.txt");
  REQUIRE(entries.size() > 10);
  for (const auto& [name, reason] : entries) {
    CAPTURE(name);
    const std::string file = name.substr(0, name.find(':')) + ".minisig";
    CHECK(verdict(content_of(folder + "bad/" + file), {key_in("stock.pub")}, document) != "ok");
  }
}

TEST_CASE("sequence numbers are whole, from 1, and without ornament") {
  CHECK(parse_sequence("1") == 1);
  CHECK(parse_sequence("18446744073709551615") == UINT64_MAX);
  for (const char* text :
       {"", "0", "01", "-1", "+1", "1 ", "1x", "18446744073709551616", "100000000000000000000"}) {
    CAPTURE(text);
    CHECK(parse_sequence(text) == 0);
  }
}

TEST_CASE("a trusted comment claims a release, a board and a sequence") {
  const auto claim = parse_release_claim("edgewright sequence=7 release=ab compatible=acme,board");
  REQUIRE(code_of(claim) == "ok");
  CHECK(claim->sequence == 7);
  CHECK(claim->release == "ab");
  CHECK(claim->compatible == "acme,board");
  for (const char* comment :
       {"", "x y", "edgewright", "edgewright release=ab sequence=7",
        "edgewright sequence=0 release=ab compatible=acme,board",
        "edgewright sequence=7 release= compatible=acme,board", "edgewright keys sequence=7"}) {
    CAPTURE(comment);
    CHECK(code_of(parse_release_claim(comment)) == "signature_comment");
  }
}

TEST_CASE("standard input is four lines of signature, then the document") {
  const Signed input = split_signed("1\n2\n3\n4\n{}\n5\n");
  CHECK(input.signature == "1\n2\n3\n4\n");
  CHECK(input.document == "{}\n5\n");
  CHECK(split_signed("1\n2\n").document.empty());
}
