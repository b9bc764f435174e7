#include "edge/about.hpp"

#include <elf.h>
#include <link.h>

#include <cstring>

#include "common/text.hpp"

namespace edge {
namespace {

/// Rounds up to the alignment of ELF notes, in bytes.
size_t padded(size_t size) {
  return (size + 3) & ~size_t{3};
}

std::string hex(const unsigned char* bytes, size_t size) {
  std::string text;
  for (size_t i = 0; i < size; ++i) text += format("%02x", bytes[i]);
  return text;
}

/// The build id among the notes of one segment, or nothing.
std::string find_build_id(const unsigned char* notes, size_t size) {
  for (size_t at = 0; at + sizeof(ElfW(Nhdr)) <= size;) {
    ElfW(Nhdr) note;
    std::memcpy(&note, notes + at, sizeof note);
    const size_t name = at + sizeof note;
    const size_t content = name + padded(note.n_namesz);
    if (note.n_type == NT_GNU_BUILD_ID && std::memcmp(notes + name, "GNU", 4) == 0) {
      return hex(notes + content, note.n_descsz);
    }
    at = content + padded(note.n_descsz);
  }
  return "";
}

/// The first object that is visited is the program itself: stop after it.
int visit(dl_phdr_info* object, size_t, void* found) {
  for (int i = 0; i < object->dlpi_phnum; ++i) {
    const auto& segment = object->dlpi_phdr[i];
    if (segment.p_type != PT_NOTE) continue;
    const auto address = object->dlpi_addr + segment.p_vaddr;
    auto& id = *static_cast<std::string*>(found);
    if (id.empty()) {
      id = find_build_id(reinterpret_cast<const unsigned char*>(address), segment.p_memsz);
    }
  }
  return 1;
}

}  // namespace

const char* version() {
  return EDGE_VERSION;
}

const char* linkage() {
  return EDGE_LINKAGE;
}

std::vector<std::string> providers() {
#ifdef EDGE_XNNPACK
  return {"xnnpack", "cpu"};
#else
  return {"cpu"};
#endif
}

std::string build_id() {
  std::string id;
  dl_iterate_phdr(visit, &id);
  return id;
}

}  // namespace edge
