#include <cmath>

#include "common/document.hpp"
#include "common/text.hpp"
#include "support.hpp"

using namespace edge;

TEST_CASE("a document is one line of JSON with version and command first") {
  Document document("run");
  document.top().set("threads", int64_t{2});
  CHECK(document.text() == "{\"version\":1,\"command\":\"run\",\"threads\":2}\n");
}

TEST_CASE("names that are no UTF-8 still give valid JSON") {
  Document document("run");
  document.top().set("image", "bad\xFFname\"\n");
  CHECK(contains(document.text(), "\"bad\xEF\xBF\xBDname\\\"\\n\""));
}

TEST_CASE("bytes that are no UTF-8 are replaced one by one, all else is kept") {
  const std::string replacement = "\xEF\xBF\xBD";
  CHECK(utf8("gr\xC3\xBC\xC3\x9F \xE2\x82\xAC \xF0\x9F\x98\x80") ==
        "gr\xC3\xBC\xC3\x9F \xE2\x82\xAC \xF0\x9F\x98\x80");
  CHECK(utf8("a\xC3") == "a" + replacement);
  CHECK(utf8("\xC0\xAF") == replacement + replacement);
  CHECK(utf8("\xED\xA0\x80") == replacement + replacement + replacement);
}

TEST_CASE("a number that is none becomes null") {
  Document document("bench");
  document.top().set("ms", std::nan(""));
  CHECK(contains(document.text(), "\"ms\":null"));
}

TEST_CASE("times and probabilities carry no digits without meaning") {
  Document document("run");
  document.top().set("ms", round_ms(12.3456789));
  document.top().set("p", round_probabilities({1.0 / 3}));
  CHECK(contains(document.text(), "\"ms\":12.346,\"p\":[0.333333]"));
}

TEST_CASE("an error carries code, message and the next step") {
  Document document("run");
  set_error(document.top(), {Exit::image, "image_missing", "a.png", "is a folder", "look again"});
  CHECK(contains(document.text(),
                 "\"error\":{\"code\":\"image_missing\","
                 "\"message\":\"a.png: is a folder\",\"next\":\"look again\"}"));
}

TEST_CASE("folder and name of a path") {
  CHECK(folder_of("models/x/model.ort") == "models/x");
  CHECK(folder_of("model.ort") == ".");
  CHECK(folder_of("/model.ort") == "/");
  CHECK(name_of("models/x/model.ort") == "model.ort");
  CHECK(name_of("model.ort") == "model.ort");
}
