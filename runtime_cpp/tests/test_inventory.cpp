#include "edge/commands.hpp"
#include "edge/inventory.hpp"
#include "edge/sha256.hpp"
#include "support.hpp"

using namespace edge;

namespace {

std::string hash_of(const std::string& content) {
  return sha256(reinterpret_cast<const uint8_t*>(content.data()), content.size());
}

}  // namespace

TEST_CASE("SHA-256 of the standard's examples, and of every length around a block") {
  CHECK(hash_of("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(hash_of("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(hash_of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq") ==
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  CHECK(hash_of(std::string(1000000, 'a')) ==
        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  std::string chain;  // each length's hash goes into the next text's
  for (size_t length = 0; length < 130; ++length) chain = hash_of(chain + std::string(length, 'x'));
  CHECK(chain == "c506047759ecc50e9885f406bdd8841379debb0dd0958b99b912717ef2974d56");
}

TEST_CASE("a file of the release with one bit flipped is told, others are as they were") {
  const TemporaryFolder folder;
  const std::string content = "{\"tolerance\": 0.01}";
  folder.write("manifest.json",
               R"({"files": [{"path": "a.json", "sha256": ")" + hash_of(content) + R"("}]})");
  std::string root = folder.path("");
  root.pop_back();
  const auto inventory = Inventory::load(root);
  REQUIRE(inventory);
  const std::string file = folder.write("a.json", content);
  CHECK_FALSE(inventory->check(file));
  CHECK_FALSE(inventory->check(folder.write("other.json", content)));

  std::string flipped = content;
  flipped[15] = static_cast<char>(flipped[15] ^ 1);
  folder.write("a.json", flipped);
  const auto error = inventory->check(file);
  REQUIRE(error);
  CHECK(error->exit == Exit::card);
  CHECK(std::string(error->code) == "release_damaged");
  CHECK(contains(error->message(), file + ": is damaged, or of another release\n  expected: "));
  CHECK(contains(error->next, "invoke deploy"));
}

TEST_CASE("a checksum is that of zlib, and sees one bit") {
  const TemporaryFolder folder;
  const std::string file = folder.write("model.ort", "123456789");
  CHECK_FALSE(check_crc32(file, 0xcbf43926, Exit::model, "model_damaged"));  // its check value

  folder.write("model.ort", "123456788");
  const auto error = check_crc32(file, 0xcbf43926, Exit::model, "model_damaged");
  REQUIRE(error);
  CHECK(contains(error->message(), "expected: CRC-32 cbf43926\n  found: CRC-32 "));
}

TEST_CASE("a release without a manifest is refused") {
  const TemporaryFolder folder;
  const auto inventory = Inventory::load(folder.path("none"));
  REQUIRE_FALSE(inventory);
  CHECK(std::string(inventory.error().code) == "manifest_missing");
}
