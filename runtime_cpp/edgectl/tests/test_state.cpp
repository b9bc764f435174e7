#include <sys/stat.h>

#include "state.hpp"
#include "support.hpp"

using namespace edgectl;

TEST_CASE("a state is read back, from its copy too, and is gone once it is removed") {
  const TemporaryBoard temporary;
  const Board& board = temporary.board;
  CHECK(*read_state(board, "floor") == "");
  for (const char* content : {"1 0123456789abcdef\n", "22 0123456789abcdef\n", "3\n"}) {
    REQUIRE(code_of(write_state(board, "floor", content)) == "ok");
    CHECK(*read_state(board, "floor") == content);
    REQUIRE(code_of(write_file(board.path("floor"), "")) == "ok");
    CHECK(*read_state(board, "floor") == content);
  }
  REQUIRE(code_of(remove_state(board, "floor")) == "ok");
  CHECK(*read_state(board, "floor") == "");
}

TEST_CASE("a state of 0.1.0 has neither a checksum nor a copy") {
  const TemporaryBoard temporary;
  const Board& board = temporary.board;
  REQUIRE(code_of(write_file(board.path("fence"), "7\n")) == "ok");
  CHECK(fence_of(board) == 7);
  REQUIRE(code_of(write_file(board.path("floor"), "12 0123456789abcdef\n")) == "ok");
  CHECK(floor_of(board)->sequence == 12);
}

TEST_CASE("a state without a whole copy is damaged, and a write mends it") {
  const TemporaryBoard temporary;
  const Board& board = temporary.board;
  REQUIRE(code_of(write_state(board, "floor", "12 0123456789abcdef\n")) == "ok");
  for (const char* copy : {"floor", "floor.copy"}) {
    REQUIRE(code_of(write_file(board.path(copy), "12 0123456789abcdef\n")) == "ok");
  }
  CHECK(code_of(read_state(board, "floor")) == "state_damaged");
  CHECK(code_of(floor_of(board)) == "floor_lost");
  REQUIRE(code_of(write_state(board, "floor", "13 0123456789abcdef\n")) == "ok");
  CHECK(floor_of(board)->sequence == 13);
}

TEST_CASE("a state is there as long as one of its copies is") {
  const TemporaryBoard temporary;
  const Board& board = temporary.board;
  CHECK(!has_state(board, "txn"));
  REQUIRE(code_of(write_state(board, "txn", "trial\n")) == "ok");
  for (const char* copy : {"txn", "txn.copy"}) {
    CHECK(has_state(board, "txn"));
    REQUIRE(code_of(remove_file(board.path(copy))) == "ok");
  }
  CHECK(!has_state(board, "txn"));
}

TEST_CASE("states get their other copy back, and those of 0.1.0 their first") {
  const TemporaryBoard temporary;
  const Board& board = temporary.board;
  mend_states(board);
  for (const char* name : {"keys.json", "board", "id", "floor", "fence", "txn"}) {
    CAPTURE(name);
    CHECK(!has_state(board, name));
    REQUIRE(code_of(write_file(board.path(name), "of 0.1.0\n")) == "ok");
    for (const char* rotten : {"", ".copy"}) {
      mend_states(board);
      CHECK(*read_state(board, name) == "of 0.1.0\n");
      REQUIRE(code_of(write_file(board.path(name + std::string(rotten)), "x")) == "ok");
      CHECK(*read_state(board, name) == "of 0.1.0\n");
    }
  }
}

TEST_CASE("a copy that a power cut left older becomes what the first is") {
  const TemporaryBoard temporary;
  const Board& board = temporary.board;
  REQUIRE(code_of(write_state(board, "floor", "70 0123456789abcdef\n")) == "ok");
  const auto older = read_text(board.path("floor.copy"), 4096);
  REQUIRE(code_of(write_state(board, "floor", "80 0123456789abcdef\n")) == "ok");
  REQUIRE(code_of(write_file(board.path("floor.copy"), *older)) == "ok");

  mend_states(board);

  REQUIRE(code_of(write_file(board.path("floor"), "x")) == "ok");
  CHECK(floor_of(board)->sequence == 80);
}

TEST_CASE("a fence that is lost goes on above every number that was counted up") {
  const TemporaryBoard temporary;
  const Board& board = temporary.board;
  REQUIRE(code_of(write_state(board, "floor", "1763847600 0123456789abcdef\n")) == "ok");
  REQUIRE(code_of(write_state(board, "fence", "7\n")) == "ok");
  CHECK(fence_of(board) == 7);
  for (const char* copy : {"fence", "fence.copy"}) {
    REQUIRE(code_of(write_file(board.path(copy), "?")) == "ok");
  }
  CHECK(*next_fence(board, 0) == 1763847601);
}

TEST_CASE("nobody else comes near the locks") {
  const TemporaryBoard temporary;
  REQUIRE(chmod(temporary.board.root.c_str(), 0755) == 0);  // as 0.1.0 left it
  REQUIRE(code_of(make_folders(temporary.board)) == "ok");
  for (const char* name : {"", "locks"}) {
    struct stat status{};
    REQUIRE(stat(temporary.board.path(name).c_str(), &status) == 0);
    CHECK((status.st_mode & 0777) == 0700);
  }
}
