#include "manifest.hpp"
#include "support.hpp"

using namespace edgectl;

TEST_CASE("what the board needs of a manifest is read") {
  const auto manifest = parse_manifest(manifest_text({{"bin/edge-infer", "program"}, {"a", ""}}));
  REQUIRE(code_of(manifest) == "ok");
  CHECK(manifest->compatible == "acme,board");
  CHECK(manifest->threads == 3);
  REQUIRE(manifest->files.size() == 2);
  CHECK(manifest->files[0].path == "a");
  CHECK_FALSE(manifest->files[0].executable);
  CHECK(manifest->files[1].executable);
  CHECK(manifest->files[1].bytes == 7);
  CHECK(manifest->has("a"));
  CHECK_FALSE(manifest->has("bin"));
}

TEST_CASE("every manifest of the corpus is taken or refused by its word") {
  const auto entries = corpus(EDGECTL_CORPUS "/edgectl/manifests/expected.txt");
  REQUIRE(entries.size() > 50);
  for (const auto& [name, code] : entries) {
    CAPTURE(name);
    const auto manifest = parse_manifest(content_of(EDGECTL_CORPUS "/edgectl/manifests/" + name));
    CHECK(code_of(manifest) == code);
    CHECK((manifest || manifest.error().exit == Exit::refused));
  }
}

TEST_CASE("a manifest that was changed after it was made does not have its id") {
  const std::string text = manifest_text({{"a", "content"}});
  const auto manifest = parse_manifest(replaced(text, "acme,board", "acme,other"));
  CHECK(code_of(manifest) == "manifest_changed");
}
