// The object stream, into a store in memory that holds a base object; nothing but the objects of
// the manifest may appear there, each with its own hash.
#include "stream.hpp"

#include <cstdlib>
#include <cstring>

#include "store.hpp"

namespace {

class Memory : public edgectl::Source {
 public:
  Memory(const uint8_t* data, size_t size) : data_(data), size_(size) {}
  edgectl::Fault read(uint8_t* bytes, size_t size) override {
    if (size > size_) return edgectl::Error{edgectl::Exit::damaged, "end", "input", "ended", ""};
    std::memcpy(bytes, data_, size);
    data_ += size;
    size_ -= size;
    return std::nullopt;
  }

 private:
  const uint8_t* data_;
  size_t size_;
};

const std::string base(100, 'b');
const std::string fresh(100, 'f');

edgectl::Board make_board() {
  char folder[] = "/dev/shm/edgectl-fuzz-XXXXXX";
  edgectl::Board board{mkdtemp(folder)};
  edgectl::make_folders(board);
  edgectl::write_file(board.object(edgectl::sha256_hex(base)), base);
  return board;
}

edgectl::Manifest make_manifest() {
  edgectl::Manifest manifest;
  manifest.files = {{"bin/edge-infer", edgectl::sha256_hex(fresh), fresh.size(), true},
                    {"empty", edgectl::sha256_hex(""), 0, false}};
  return manifest;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const edgectl::Board board = make_board();
  static const edgectl::Manifest manifest = make_manifest();
  Memory source(data, size);
  (void)edgectl::receive_objects(board, manifest, source).error();
  for (const auto& name : edgectl::names_in(board.path("store/sha256"))) {
    if (!edgectl::has_object(board, name)) std::abort();
    if (name != edgectl::sha256_hex(base)) edgectl::remove_file(board.object(name));
  }
  for (const auto& file : manifest.files) edgectl::remove_file(board.part(file.sha256));
  return 0;
}
