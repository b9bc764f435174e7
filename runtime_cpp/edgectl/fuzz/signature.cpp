// Signature files, trusted comments, keys documents and the framing of standard input.
#include "signature.hpp"

#include <cstdlib>

#include "admission.hpp"
#include "trust.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string input(reinterpret_cast<const char*>(data), size);
  const auto parts = edgectl::split_signed(input);
  if (parts.signature + parts.document != input) std::abort();
  const auto trust = edgectl::parse_trust(parts.document);
  const auto signature = edgectl::parse_signature(parts.signature);
  if (!signature) return 0;
  const auto claim = edgectl::parse_release_claim(signature->comment);
  const auto keys_claim = edgectl::parse_keys_claim(signature->comment);
  if ((claim && claim->sequence == 0) || (keys_claim && keys_claim->sequence == 0)) std::abort();
  // Nobody can guess a signature, and no seed is near a genuine one.
  if (trust && trust->schema == 2 && trust->boards.empty() == trust->kind.empty()) std::abort();
  if (trust && edgectl::verify(*signature, trust->keys, parts.document)) std::abort();
  return 0;
}
