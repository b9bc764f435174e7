#include "store.hpp"
#include "stream.hpp"
#include "support.hpp"

using namespace edgectl;

namespace {

const std::string no_base(32, '\0');

std::string number(uint64_t value, size_t size) {
  std::string bytes;
  for (size_t i = 0; i < size; ++i) bytes += static_cast<char>(value >> 8 * i & 0xFF);
  return bytes;
}

std::string raw_hash(const std::string& content) {
  const std::string hex = sha256_hex(content);
  std::string bytes;
  for (size_t i = 0; i < hex.size(); i += 2) {
    bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  }
  return bytes;
}

std::string plain(const std::string& content) {
  return "D" + number(content.size(), 4) + content;
}

/// A stream of one object, made by these ops.
std::string stream(const std::string& content, const std::string& ops,
                   const std::string& base = no_base) {
  return "EWR1O" + raw_hash(content) + number(content.size(), 8) + base + ops + "E";
}

struct Upload {
  TemporaryBoard temporary;
  Manifest manifest;

  explicit Upload(const std::string& content) {
    manifest.files = {{"model", sha256_hex(content), content.size(), false}};
  }
  Result<std::vector<Received>> receive(const std::string& bytes) const {
    MemorySource source(bytes);
    return receive_objects(temporary.board, manifest, source);
  }
  bool is_stored() const { return has_object(temporary.board, manifest.files[0].sha256); }
};

}  // namespace

TEST_CASE("an object arrives in pieces and lies in the store") {
  const Upload upload("content");
  const auto received = upload.receive(stream("content", plain("cont") + plain("ent")));
  REQUIRE(code_of(received) == "ok");
  REQUIRE(received->size() == 1);
  CHECK((*received)[0].sent == 7);
  CHECK(upload.is_stored());
}

TEST_CASE("bytes of a base object are copied, not sent") {
  const Upload upload("content two");
  const std::string base = "content one";
  REQUIRE(code_of(write_file(upload.temporary.board.object(sha256_hex(base)), base)) == "ok");
  const std::string copied = "B" + number(0, 8) + number(8, 4);
  const auto received =
      upload.receive(stream("content two", copied + plain("two"), raw_hash(base)));
  REQUIRE(code_of(received) == "ok");
  CHECK((*received)[0].copied == 8);
  CHECK((*received)[0].sent == 3);
  CHECK(upload.is_stored());
}

TEST_CASE("an upload that was cut goes on where it ended") {
  const Upload upload("content");
  const std::string whole = stream("content", plain("cont") + plain("ent"));
  CHECK(code_of(upload.receive(whole.substr(0, whole.size() - 9))) == "end");
  CHECK_FALSE(upload.is_stored());
  const auto received = upload.receive(stream("content", "P" + number(4, 4) + plain("ent")));
  REQUIRE(code_of(received) == "ok");
  CHECK((*received)[0].kept == 4);
  CHECK(upload.is_stored());
}

TEST_CASE("what is wrong with a stream is refused, and nothing of it is stored") {
  const Upload upload("content");
  const std::string good = stream("content", plain("content"));
  CHECK(code_of(upload.receive(stream("content", plain("CONTENT")))) == "object_damaged");
  CHECK(code_of(upload.receive(stream("another", plain("another")))) == "object_foreign");
  CHECK(code_of(upload.receive(replaced(good, "EWR1", "EWR2"))) == "stream_malformed");
  CHECK(code_of(upload.receive(stream("content", plain("content!")))) == "stream_malformed");
  CHECK(code_of(upload.receive(stream("content", plain("")))) == "stream_malformed");
  CHECK(code_of(upload.receive(stream("content", "X" + number(7, 4)))) == "stream_malformed");
  CHECK(code_of(upload.receive(stream("content", "B" + number(0, 8) + number(7, 4)))) ==
        "stream_malformed");
  CHECK(code_of(upload.receive(stream("content", plain("content"), raw_hash("unknown")))) ==
        "stream_malformed");
  CHECK_FALSE(upload.is_stored());
}
