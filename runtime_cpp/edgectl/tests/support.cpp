#include "support.hpp"

#include <algorithm>
#include <cstring>

#include "store.hpp"

using namespace edgectl;

namespace {

int boots = 0;

std::string entry(const std::string& path, const std::string& content) {
  const char* mode = path.compare(0, 4, "bin/") == 0 ? "0755" : "0644";
  return format(R"({"bytes":%zu,"mode":"%s","path":"%s","sha256":"%s"})", content.size(), mode,
                path.c_str(), sha256_hex(content).c_str());
}

}  // namespace

TemporaryBoard::TemporaryBoard() : board{folder_.path("root"), folder_.path("proc")} {
  reboot();
  REQUIRE(code_of(make_folders(board)) == "ok");
}

void TemporaryBoard::reboot() const {
  folder_.write("proc/sys/kernel/random/boot_id", format("boot-%d\n", ++boots));
}

std::string TemporaryBoard::install(
    const std::vector<std::pair<std::string, std::string>>& files) const {
  for (const auto& [path, content] : files) {
    REQUIRE(code_of(write_file(board.object(sha256_hex(content)), content)) == "ok");
  }
  const std::string text = manifest_text(files);
  const auto manifest = parse_manifest(text);
  REQUIRE(code_of(manifest) == "ok");
  REQUIRE(code_of(seal_release(board, *manifest, text, "signature")) == "ok");
  return manifest->id;
}

std::string manifest_text(const std::vector<std::pair<std::string, std::string>>& files) {
  auto sorted = files;
  std::sort(sorted.begin(), sorted.end());
  std::string entries;
  for (const auto& [path, content] : sorted) {
    entries += (entries.empty() ? "" : ",") + entry(path, content);
  }
  const std::string head = R"({"compatible":"acme,board","files":[)" + entries + "]";
  const std::string tail = R"(,"runtime":{"threads":3},"schema":1})"
                           "\n";
  return head + ",\"id\":\"" + sha256_hex(head + tail).substr(0, 16) + "\"" + tail;
}

Fault MemorySource::read(uint8_t* bytes, size_t size) {
  if (bytes_.size() - at_ < size) return Error{Exit::damaged, "end", "input", "ended", ""};
  std::memcpy(bytes, bytes_.data() + at_, size);
  at_ += size;
  return std::nullopt;
}

std::vector<std::pair<std::string, std::string>> corpus(const std::string& list) {
  std::vector<std::pair<std::string, std::string>> entries;
  std::ifstream lines(list);
  std::string name, code, rest;
  while (lines >> name >> code && std::getline(lines, rest)) entries.emplace_back(name, code);
  return entries;
}
