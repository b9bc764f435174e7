#include "state.hpp"
#include "support.hpp"
#include "transaction.hpp"

using namespace edgectl;

namespace {

/// A board with a former release in force and a new one on trial.
struct Trial {
  TemporaryBoard temporary;
  const Board& board = temporary.board;
  std::string former = temporary.install({{"model", "former"}});
  std::string fresh = temporary.install({{"model", "fresh"}});

  Trial() { REQUIRE(code_of(replace_link(board, "current", former)) == "ok"); }

  Transaction transaction(uint64_t tries = 2) const {
    Transaction trial;
    trial.fresh = fresh;
    trial.old = former;
    trial.sequence = 7;
    trial.tries = tries;
    trial.fence = 1;
    trial.boot = boot_id(board);
    trial.armed_ms = uptime_ms();
    return trial;
  }
  void open(const Transaction& trial) const {
    REQUIRE(code_of(open_trial(board, trial)) == "ok");
    REQUIRE(current() == fresh);
  }
  std::string current() const { return linked(board, "current"); }
  std::string start() const {
    std::string notices;
    const auto release = choose_release(board, notices);
    return release ? *release : std::string(release.error().code);
  }
};

}  // namespace

TEST_CASE("a trial is read back as it was written") {
  const Trial trial;
  Transaction written = trial.transaction();
  written.deadline_ms = 120000;
  trial.open(written);
  const Transaction read = transaction_of(trial.board);
  CHECK(read.open);
  CHECK_FALSE(read.committed);
  CHECK(read.fresh == trial.fresh);
  CHECK(read.old == trial.former);
  CHECK(read.sequence == 7);
  CHECK(read.tries == 2);
  CHECK(read.deadline_ms == 120000);
  CHECK(read.is_armed(trial.board));
  CHECK(read.remaining_ms() <= 120000);
  CHECK_FALSE(read.is_late());
}

TEST_CASE("a transaction file that makes no sense is a trial that is lost") {
  const Trial trial;
  for (const char* text : {"", "trial", "trial ../../etc - 1 1 1 b 0 0\n", "1 2 3 4 5 6 7 8 9\n"}) {
    trial.open(trial.transaction());
    REQUIRE(code_of(remove_file(trial.board.path("txn.copy"))) == "ok");
    REQUIRE(code_of(write_file(trial.board.path("txn"), text)) == "ok");
    CHECK(transaction_of(trial.board).damaged);
    CHECK(trial.start() == trial.former);
    CHECK(trial.current() == trial.former);
    CHECK_FALSE(transaction_of(trial.board).open);
  }
}

TEST_CASE("a bit that flips in one copy of a trial changes nothing, in both it ends the trial") {
  const Trial trial;
  trial.open(trial.transaction());
  const std::string text = content_of(trial.board.path("txn"));
  for (size_t at = 0; at < text.size(); ++at) {
    std::string flipped = text;
    flipped[at] = static_cast<char>(flipped[at] ^ 4);
    for (const char* copy : {"txn", "txn.copy"}) {
      REQUIRE(code_of(write_file(trial.board.path(copy), flipped)) == "ok");
      const Transaction read = transaction_of(trial.board);
      CHECK(read.open);
      CHECK_FALSE(read.damaged);
      CHECK(read.tries == 2);
      REQUIRE(code_of(write_file(trial.board.path(copy), text)) == "ok");
    }
    for (const char* copy : {"txn", "txn.copy"}) {
      REQUIRE(code_of(write_file(trial.board.path(copy), flipped)) == "ok");
    }
    CHECK(transaction_of(trial.board).damaged);
    CHECK(transaction_of(trial.board).old == trial.former);
    for (const char* copy : {"txn", "txn.copy"}) {
      REQUIRE(code_of(write_file(trial.board.path(copy), text)) == "ok");
    }
  }
}

TEST_CASE("a trial of 0.1.0, nine words and no checksum, goes on") {
  const Trial trial;
  REQUIRE(code_of(replace_link(trial.board, "current", trial.fresh)) == "ok");
  const std::string line =
      "trial " + trial.fresh + " " + trial.former + " 7 2 1 " + boot_id(trial.board) + " 0 0\n";
  REQUIRE(code_of(write_file(trial.board.path("txn"), line)) == "ok");
  CHECK(trial.start() == trial.fresh);
  CHECK(transaction_of(trial.board).tries == 1);
  REQUIRE(code_of(revert(trial.board, transaction_of(trial.board), "")) == "ok");
  CHECK(trial.current() == trial.former);
}

TEST_CASE("each start uses up a try, then the former release runs and the new one is kept out") {
  const Trial trial;
  trial.open(trial.transaction(2));
  CHECK(trial.start() == trial.fresh);
  CHECK(trial.start() == trial.fresh);
  CHECK(trial.start() == trial.former);
  CHECK(trial.current() == trial.former);
  CHECK(quarantine_of(trial.board, trial.fresh).sequence == 7);
  CHECK(quarantine_of(trial.board, trial.fresh).reason == "did not stay up");
}

TEST_CASE("a commit is durable: floor, previous and no trial") {
  const Trial trial;
  trial.open(trial.transaction());
  REQUIRE(code_of(commit(trial.board, transaction_of(trial.board))) == "ok");
  CHECK_FALSE(transaction_of(trial.board).open);
  CHECK(trial.current() == trial.fresh);
  CHECK(linked(trial.board, "previous") == trial.former);
  CHECK(floor_of(trial.board)->sequence == 7);
  CHECK(trial.start() == trial.fresh);
}

TEST_CASE("a commit that a crash cut short is carried through by whoever comes next") {
  const Trial trial;
  trial.open(trial.transaction());
  const auto text = read_state(trial.board, "txn");
  REQUIRE(code_of(text) == "ok");
  REQUIRE(code_of(write_state(trial.board, "txn", replaced(*text, "trial", "committed"))) == "ok");
  const auto settled = settle(trial.board);
  REQUIRE(code_of(settled) == "ok");
  CHECK_FALSE(settled->open);
  CHECK(floor_of(trial.board)->release == trial.fresh);
  CHECK(linked(trial.board, "previous") == trial.former);
}

TEST_CASE("a trial whose switch never happened is forgotten") {
  const Trial trial;
  trial.open(trial.transaction());
  REQUIRE(code_of(replace_link(trial.board, "current", trial.former)) == "ok");
  CHECK_FALSE(settle(trial.board)->open);
  CHECK_FALSE(transaction_of(trial.board).open);
}

TEST_CASE("without a reason a reverted release is not quarantined, and may be the first") {
  const Trial trial;
  Transaction first = trial.transaction();
  first.old = "";
  trial.open(first);
  REQUIRE(code_of(revert(trial.board, transaction_of(trial.board), "")) == "ok");
  CHECK(trial.current().empty());
  CHECK(quarantine_of(trial.board, trial.fresh).sequence == 0);
}

TEST_CASE("the space of a quarantine note is reserved for as long as the trial is open") {
  const Trial trial;
  const auto notes = [&] { return names_in(trial.board.path("quarantine")); };
  trial.open(trial.transaction());
  CHECK(notes() == std::vector<std::string>{trial.fresh + ".new"});
  CHECK(quarantine_of(trial.board, trial.fresh).sequence == 0);
  REQUIRE(code_of(revert(trial.board, transaction_of(trial.board), "")) == "ok");
  CHECK(notes().empty());

  trial.open(trial.transaction());
  REQUIRE(code_of(commit(trial.board, transaction_of(trial.board))) == "ok");
  CHECK(notes().empty());
}

TEST_CASE("a deadline that passed undoes the trial at the next start, without blame") {
  const Trial trial;
  Transaction late = trial.transaction();
  late.deadline_ms = 1;
  late.armed_ms = uptime_ms() - 10;
  trial.open(late);
  CHECK(trial.start() == trial.former);
  CHECK(quarantine_of(trial.board, trial.fresh).sequence == 0);
}

TEST_CASE("a deadline counts anew in another boot") {
  const Trial trial;
  Transaction late = trial.transaction();
  late.armed_ms = -10;
  trial.open(late);
  trial.temporary.reboot();
  CHECK_FALSE(transaction_of(trial.board).is_armed(trial.board));
  CHECK(trial.start() == trial.fresh);
  CHECK(transaction_of(trial.board).is_armed(trial.board));
}

TEST_CASE("a damaged current release is left for a sound previous one") {
  const Trial trial;
  trial.open(trial.transaction());
  REQUIRE(code_of(commit(trial.board, transaction_of(trial.board))) == "ok");
  REQUIRE(code_of(write_file(trial.board.release(trial.fresh) + "/model", "wrong")) == "ok");
  CHECK(trial.start() == trial.former);
  CHECK(trial.current() == trial.former);
}

TEST_CASE("nothing starts where nothing is installed") {
  const TemporaryBoard temporary;
  std::string notices;
  const auto release = choose_release(temporary.board, notices);
  REQUIRE_FALSE(release);
  CHECK(release.error().exit == Exit::nothing);
}
