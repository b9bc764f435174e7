// Whatever the bytes, parse_manifest gives a manifest that keeps its own rules, or refuses.
#include "manifest.hpp"

#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto manifest =
      edgectl::parse_manifest(std::string(reinterpret_cast<const char*>(data), size));
  if (!manifest) return 0;
  for (const auto& file : manifest->files) {
    const bool leaves =
        file.path[0] == '/' || ("/" + file.path + "/").find("/../") != std::string::npos;
    if (leaves || !edgectl::is_sha256(file.sha256)) std::abort();
  }
  for (const auto& program : manifest->programs) {
    if (!manifest->has("bin/" + program.name) || program.arguments.empty()) std::abort();
  }
  return 0;
}
