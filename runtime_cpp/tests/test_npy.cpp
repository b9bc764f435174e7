#include <doctest/doctest.h>

#include "edge/npy.hpp"
#include "support.hpp"

using namespace edge;

namespace {

Card tensor_card() {
  Card card;
  card.task = TaskKind::tensor;
  card.inputs = {{"a", {2, 3}, "", Activation::none}, {"b", {4}, "", Activation::none}};
  return card;
}

std::string code_of(const Result<Input>& input) {
  return input ? "" : input.error().code;
}

}  // namespace

TEST_CASE("what is written as .npy is read again, one file for each input") {
  const TemporaryFolder folder;
  const std::string a = folder.write("a.npy", ""), b = folder.write("b.npy", "");
  REQUIRE(write_npy(a, {{2, 3}, {1, 2, 3, 4, 5, 6}}));
  REQUIRE(write_npy(b, {{4}, {7, 8, 9, 10}}));
  const auto input = load_tensors(a + "," + b, tensor_card(), Links::follow);
  REQUIRE(input);
  CHECK(input->values == std::vector<float>{1, 2, 3, 4, 5, 6, 7, 8, 9, 10});
}

TEST_CASE("files that are not what the card says are refused") {
  const TemporaryFolder folder;
  const std::string a = folder.write("a.npy", ""), b = folder.write("b.npy", "");
  REQUIRE(write_npy(a, {{2, 3}, {1, 2, 3, 4, 5, 6}}));
  REQUIRE(write_npy(b, {{5}, {7, 8, 9, 10, 11}}));
  const Card card = tensor_card();
  CHECK(code_of(load_tensors(a + "," + b, card, Links::follow)) == "tensor_invalid");
  CHECK(code_of(load_tensors(a, card, Links::follow)) == "tensor_invalid");
  CHECK(code_of(load_tensors("/nowhere.npy," + b, card, Links::follow)) == "image_missing");
  const std::string header = std::string("\x93NUMPY\x01\x00", 8);
  for (const std::string& content :
       {std::string(), std::string("\x93NUMPY"), header, header + "\xFF\xFF{",
        std::string("\x93NUMPY\x02\x00\xFF\xFF\xFF\xFF", 12), std::string(100, 'x')}) {
    const std::string broken = folder.write("broken.npy", content);
    CHECK(code_of(load_tensors(broken + "," + b, card, Links::follow)) == "tensor_invalid");
  }
}
