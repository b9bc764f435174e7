#include "edge/card.hpp"
#include "edge/golden.hpp"
#include "support.hpp"

using namespace edge;

namespace {

/// What the user is told of a card in which `from` stands as `to`.
std::string told(const std::string& from, const std::string& to) {
  const TemporaryFolder folder;
  const auto card = load_card(folder.write("card.json", replaced(good_card(), from, to)));
  if (card) return "no defect";
  CHECK(card.error().exit == Exit::card);
  CHECK(card.error().code == std::string("card_invalid"));
  return card.error().problem;
}

Card good() {
  const TemporaryFolder folder;
  return *load_card(folder.write("card.json", good_card()));
}

std::string golden_told(const std::string& content) {
  const TemporaryFolder folder;
  folder.write("expected.json", content);
  const auto golden = load_golden(folder.path("."), good());
  if (golden) return "no defect";
  CHECK(golden.error().exit == Exit::card);
  return golden.error().problem;
}

}  // namespace

TEST_CASE("a good card is read, and what is for people is ignored") {
  const Card card = good();
  CHECK(card.name == "toy");
  CHECK(card.labels == std::vector<std::string>{"ok", "bad"});
  CHECK(card.height() == 4);
  CHECK(card.preprocess.normalize.per_image);
  CHECK(card.preprocess.normalize.epsilon == 1e-5);
  CHECK(card.file_bytes == 1000);
}

TEST_CASE("schema 2 may tell how many bits of a sample are significant") {
  const std::string field = "\"color\": \"gray\", \"significant_bits\": 12";
  const TemporaryFolder folder;
  std::string card = replaced(good_card(), "\"schema\": 1", "\"schema\": 2");
  card = replaced(card, "\"shape\": [1, 2]", "\"shape\": [1, 2], \"activation\": \"none\"");
  CHECK(load_card(folder.write("card.json", card))->preprocess.significant_bits == 0);
  card = replaced(card, "\"color\": \"gray\"", field);
  CHECK(load_card(folder.write("card.json", card))->preprocess.significant_bits == 12);
  CHECK(
      contains(told("\"color\": \"gray\"", field), "preprocess.significant_bits: needs schema 2"));
}

TEST_CASE("schema 2 may allow that a JPEG is decoded at a part of its size") {
  const std::string gray = "\"color\": \"gray\"";
  const std::string scaled = gray + ", \"jpeg\": \"scaled\"";
  const std::string roi = R"(, "roi": {"x": 0, "y": 0, "width": 8, "height": 8})";
  const TemporaryFolder folder;
  std::string card = replaced(good_card(), "\"schema\": 1", "\"schema\": 2");
  card = replaced(card, "\"shape\": [1, 2]", "\"shape\": [1, 2], \"activation\": \"none\"");
  CHECK_FALSE(load_card(folder.write("card.json", card))->preprocess.is_jpeg_scaled);
  const auto with = [&](const std::string& fields) {
    return load_card(folder.write("card.json", replaced(card, gray, fields)));
  };
  CHECK(with(scaled)->preprocess.is_jpeg_scaled);
  CHECK_FALSE(with(gray + ", \"jpeg\": \"full\"")->preprocess.is_jpeg_scaled);
  CHECK(contains(with(scaled + roi).error().message(), "preprocess.jpeg: scaled is for images"));
  CHECK(contains(with(gray + ", \"jpeg\": \"half\"").error().message(), "full or scaled"));
  CHECK(contains(told(gray, scaled), "preprocess.jpeg: needs schema 2"));
}

TEST_CASE("schema 2 tells how the picture is fitted, coloured, filtered and scaled") {
  const TemporaryFolder folder;
  std::string card = replaced(good_card(), "\"schema\": 1", "\"schema\": 2");
  card = replaced(card, "\"shape\": [1, 2]", "\"shape\": [1, 2], \"activation\": \"none\"");
  card = replaced(card, "[1, 1, 4, 4]", "[1, 3, 4, 4]");
  card = replaced(card, "\"gray\"", "\"bgr\"");
  card = replaced(card, "triangle", "bilinear");
  card =
      replaced(card, R"({"kind": "per_image", "epsilon": 1e-05})",
               R"({"kind": "scale", "factor": 0.5}, "fit": {"kind": "letterbox", "pad_value": 7})");
  const auto read = [&] { return load_card(folder.write("card.json", card)); };
  const auto problem_with = [&](const std::string& fit) {
    const std::string other = replaced(card, R"({"kind": "letterbox", "pad_value": 7})", fit);
    return load_card(folder.write("card.json", other)).error().problem;
  };

  const Preprocess preprocess = read()->preprocess;
  CHECK(preprocess.color == Color::bgr);
  CHECK(preprocess.filter == Filter::bilinear);
  CHECK(preprocess.fit.kind == Fit::Kind::letterbox);
  CHECK(preprocess.fit.pad_value == 7);
  CHECK(preprocess.normalize.mean == std::vector<double>{0, 0, 0});
  CHECK(preprocess.normalize.std[0] == doctest::Approx(2 / 255.0));
  CHECK(contains(problem_with(R"({"kind": "letterbox", "pad_value": 256})"),
                 "preprocess.fit.pad_value: expected a whole number from 0 to 255"));
  CHECK(contains(problem_with(R"({"kind": "center_crop", "resize_shorter": 3})"),
                 "preprocess.fit.resize_shorter: expected a whole number from 4 to 4096"));
  CHECK(contains(problem_with(R"({"kind": "stretch", "size": [3, 4]})"), "preprocess.fit.size: "));
  CHECK(contains(problem_with(R"({"kind": "pad"})"),
                 "preprocess.fit.kind: expected stretch, center_crop or letterbox, found pad"));
  card = replaced(card, "\"fit\":", R"("roi": {"x": 1, "y": 2, "width": 3, "height": 4}, "fit":)");
  CHECK(read()->preprocess.roi->height == 4);
  card = replaced(card, "\"schema\": 2", "\"schema\": 1");
  for (const char* key :
       {"roi: ", "fit: ", "color: bgr ", "resize: bilinear ", "normalize.kind: scale "}) {
    CHECK(contains(read().error().problem, std::string("preprocess.") + key + "needs schema 2"));
  }
}

TEST_CASE("each defect of a card is told with its place") {
  CHECK(told("\"schema\": 1", "\"schema\": 3") == "1 defect\n  schema: expected 1 to 2, found 3");
  CHECK(told("\"name\": \"toy\", ", "") == "1 defect\n  name: is missing");
  CHECK(told("NCHW", "NHWC") == "1 defect\n  input.layout: expected NCHW, found NHWC");
  CHECK(told("triangle", "cubic") ==
        "1 defect\n  preprocess.resize: expected triangle, bicubic or bilinear, found cubic");
  CHECK(told("\"gray\"", "\"rgb\"") == "1 defect\n  preprocess.color: rgb does not fit 1 channels");
  CHECK(told("[1, 2]", "[1, 3]") ==
        "1 defect\n  output.shape: expected [1, 2], one for each label");
  CHECK(told("1e-05", "0") == "1 defect\n  preprocess.normalize.epsilon: expected more than 0");
  CHECK(told("1e-05", "\"x\"").find("epsilon: is not a number") != std::string::npos);
  CHECK(contains(told("[\"ok\", \"bad\"]", "[\"ok\", 2]"), "labels: item 1 is not a text"));
}

TEST_CASE("a card of schema 2 tells what makes probabilities of the outputs") {
  const auto card_with = [](const std::string& activation) {
    const std::string output = "\"shape\": [1, 2], \"activation\": \"" + activation + "\"";
    const std::string second = replaced(good_card(), "\"schema\": 1", "\"schema\": 2");
    const TemporaryFolder folder;
    return load_card(folder.write("card.json", replaced(second, "\"shape\": [1, 2]", output)));
  };
  CHECK(good().outputs[0].activation == Activation::softmax);
  CHECK(card_with("softmax")->outputs[0].activation == Activation::softmax);
  CHECK(card_with("sigmoid")->outputs[0].activation == Activation::sigmoid);
  CHECK(card_with("none")->outputs[0].activation == Activation::none);
  CHECK(card_with("relu").error().problem ==
        "1 defect\n  output.activation: expected softmax, sigmoid or none, found relu");
  CHECK(told("\"schema\": 1", "\"schema\": 2") == "1 defect\n  output.activation: is missing");
}

TEST_CASE("a shape that could exhaust memory is refused") {
  const char* problem = "1 defect\n  input.shape: expected [1, 1 or 3, height, width]";
  CHECK(told("[1, 1, 4, 4]", "[1, 1, 99999, 99999]") == problem);
  CHECK(told("[1, 1, 4, 4]", "[1, 1, -4, 4]") == problem);
  CHECK(told("[1, 1, 4, 4]", "[1, 1, 4.5, 4]") == problem);
  CHECK(told("[1, 1, 4, 4]", "[1, 1, 1e300, 4]") == problem);
  CHECK(told("[1, 1, 4, 4]", "[8, 1, 4, 4]") == problem);
  CHECK(told("[1, 1, 4, 4]", "[]") == problem);
}

TEST_CASE("all defects are told at once") {
  const TemporaryFolder folder;
  const auto card = load_card(folder.write("card.json", "{\"schema\": 1}"));
  for (const char* field : {"name", "labels", "input", "output", "preprocess", "file"}) {
    CHECK(contains(card.error().problem, std::string("\n  ") + field + ": is missing"));
  }
}

TEST_CASE("what is no card is told as such") {
  const TemporaryFolder folder;
  CHECK(load_card(folder.path("card.json")).error().code == std::string("card_missing"));
  for (const char* content : {"", "{\"schema\": 1", "[]", "\xFF\xFE", "nonsense"}) {
    const auto card = load_card(folder.write("card.json", content));
    CHECK(card.error().code == std::string("card_invalid"));
  }
}

TEST_CASE("a golden set is checked against the card") {
  const std::string set = R"({"schema": 1, "tolerance": 0.01, "cases":
      [{"image": "a.png", "class": "ok", "probabilities": [0.9, 0.1]}]})";
  CHECK(golden_told(set) == "no defect");
  CHECK(contains(golden_told(replaced(set, "\"ok\"", "\"fine\"")),
                 "cases[0].class: is no label of the card: fine"));
  CHECK(contains(golden_told(replaced(set, "0.9, 0.1", "0.9")),
                 "cases[0].probabilities: expected 2, one for each label"));
  CHECK(contains(golden_told(replaced(set, "0.01", "-1")), "tolerance: expected 0 up to 1"));
}

TEST_CASE("a golden set without cases cannot pass") {
  const char* empty = R"({"schema": 1, "tolerance": 0.01, "cases": []})";
  CHECK(golden_told(empty) == "1 defect\n  cases: expected at least one");
}
