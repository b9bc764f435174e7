#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "board.hpp"
#include "manifest.hpp"

namespace edgectl {

/// Where the object stream comes from.
class Source {
 public:
  virtual ~Source() = default;
  /// Fills `bytes` wholly, or says why not.
  virtual Fault read(uint8_t* bytes, size_t size) = 0;
};

/// A pipe or socket that is given up after a time without data.
class PatientSource : public Source {
 public:
  PatientSource(int fd, int patience_ms) : fd_(fd), patience_ms_(patience_ms) {}
  Fault read(uint8_t* bytes, size_t size) override;

 private:
  int fd_;
  int patience_ms_;
};

/// Everything up to the end of input, at most `limit` bytes.
Result<std::string> read_input(int fd, size_t limit);

/// One object that arrived, by where its bytes came from.
struct Received {
  std::string sha256;
  uint64_t bytes = 0;
  uint64_t sent = 0;
  uint64_t copied = 0;  // out of the base object
  uint64_t kept = 0;    // from an earlier upload
};

/// Takes the object stream of docs/protocol.md: each object that is right goes into the store.
/// Only objects of the manifest are taken.
Result<std::vector<Received>> receive_objects(const Board& board, const Manifest& manifest,
                                              Source& source);

}  // namespace edgectl
