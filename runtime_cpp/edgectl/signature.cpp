// The format is that of https://jedisct1.github.io/minisign/, section "Signature format".
#include "signature.hpp"

#include <sodium.h>

#include <algorithm>
#include <cstring>

namespace edgectl {
namespace {

constexpr size_t max_comment = 1024;  // bytes
constexpr const char* untrusted_label = "untrusted comment: ";
constexpr const char* trusted_label = "trusted comment: ";

Error malformed(const std::string& problem) {
  return {Exit::signature, "signature_malformed", "signature", problem,
          "sign again with edgewright or minisign"};
}

Error wrong_comment(const std::string& problem) {
  return {Exit::signature, "signature_comment", "trusted comment", problem,
          "sign with edgewright, which writes the comment"};
}

constexpr const char* base64_alphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=";

template <size_t size>
bool decode(const std::string& text, std::array<uint8_t, size>& bytes) {
  // libsodium's decoder takes some bytes above 127 for letters.
  if (text.find_first_not_of(base64_alphabet) != std::string::npos) return false;
  size_t length = 0;
  const char* end = nullptr;
  const int broken = sodium_base642bin(bytes.data(), size, text.data(), text.size(), nullptr,
                                       &length, &end, sodium_base64_VARIANT_ORIGINAL);
  return broken == 0 && length == size && end == text.data() + text.size();
}

bool starts_with(const std::string& text, const char* start) {
  return text.compare(0, std::strlen(start), start) == 0;
}

/// The lines of a text in which every line ends in a newline; empty if the last does not.
std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  size_t start = 0;
  for (size_t end; (end = text.find('\n', start)) != std::string::npos; start = end + 1) {
    lines.push_back(text.substr(start, end - start));
  }
  if (start != text.size()) lines.clear();
  return lines;
}

std::vector<std::string> words_of(const std::string& text) {
  std::vector<std::string> words;
  size_t start = 0;
  while (start < text.size()) {
    const size_t end = std::min(text.find(' ', start), text.size());
    words.push_back(text.substr(start, end - start));
    start = end + 1;
  }
  return words;
}

/// The value of "key=value" if that is what the word is.
std::string value_of(const std::vector<std::string>& words, size_t index, const char* key) {
  const std::string start = std::string(key) + "=";
  if (index >= words.size() || !starts_with(words[index], start.c_str())) return "";
  return words[index].substr(start.size());
}

bool signed_by(const std::array<uint8_t, 64>& signature, const PublicKey& key,
               const std::string& bytes) {
  return crypto_sign_ed25519_verify_detached(signature.data(),
                                             reinterpret_cast<const uint8_t*>(bytes.data()),
                                             bytes.size(), key.point.data()) == 0;
}

std::string blake2b(const std::string& document) {
  std::string digest(crypto_generichash_blake2b_BYTES_MAX, '\0');
  crypto_generichash_blake2b(reinterpret_cast<uint8_t*>(digest.data()), digest.size(),
                             reinterpret_cast<const uint8_t*>(document.data()), document.size(),
                             nullptr, 0);
  return digest;
}

std::string name_of_key(const std::array<uint8_t, 8>& id) {
  std::string name;
  for (size_t i = id.size(); i > 0; --i) name += format("%02X", id[i - 1]);
  return name;
}

}  // namespace

std::string PublicKey::name() const {
  return name_of_key(id);
}

Result<PublicKey> parse_key(const std::string& text) {
  std::array<uint8_t, 42> raw{};
  if (!decode(text, raw) || raw[0] != 'E' || raw[1] != 'd') {
    return Error{Exit::signature, "keys_invalid", "public key",
                 "is not the second line of a minisign .pub file", "invoke keys.generate"};
  }
  PublicKey key;
  key.text = text;
  std::copy_n(raw.begin() + 2, key.id.size(), key.id.begin());
  std::copy_n(raw.begin() + 10, key.point.size(), key.point.begin());
  return key;
}

Result<Signature> parse_signature(const std::string& text) {
  const auto lines = lines_of(text);
  if (lines.size() != 4) return malformed("expected four lines, each with its end");
  if (!starts_with(lines[0], untrusted_label)) return malformed("line 1 is no untrusted comment");
  if (!starts_with(lines[2], trusted_label)) return malformed("line 3 is no trusted comment");
  Signature signature;
  signature.comment = lines[2].substr(std::strlen(trusted_label));
  if (signature.comment.size() > max_comment) return malformed("the trusted comment is too long");
  std::array<uint8_t, 74> raw{};
  if (!decode(lines[1], raw)) return malformed("line 2 is not base64 of 74 bytes");
  if (raw[0] != 'E' || raw[1] != 'D') return malformed("expected algorithm ED (prehashed)");
  std::copy_n(raw.begin() + 2, signature.key_id.size(), signature.key_id.begin());
  std::copy_n(raw.begin() + 10, signature.of_document.size(), signature.of_document.begin());
  if (!decode(lines[3], signature.of_comment)) return malformed("line 4 is not base64 of 64 bytes");
  return signature;
}

Result<PublicKey> verify(const Signature& signature, const std::vector<PublicKey>& trusted,
                         const std::string& document) {
  const std::string name = name_of_key(signature.key_id);
  const auto key = std::find_if(trusted.begin(), trusted.end(), [&](const PublicKey& candidate) {
    return candidate.id == signature.key_id;
  });
  if (key == trusted.end()) {
    return Error{Exit::signature, "signature_unknown_key", "key " + name,
                 "is not trusted by this board",
                 "sign with a trusted key, or invoke keys.provision"};
  }
  if (!signed_by(signature.of_document, *key, blake2b(document))) {
    return Error{Exit::signature, "signature_wrong", "signature of key " + name,
                 "is not one of this document", "sign the document again"};
  }
  const std::string bound(signature.of_document.begin(), signature.of_document.end());
  if (!signed_by(signature.of_comment, *key, bound + signature.comment)) {
    return Error{Exit::signature, "signature_wrong", "trusted comment of key " + name,
                 "was changed after signing", "sign the document again"};
  }
  return *key;
}

uint64_t parse_sequence(const std::string& text) {
  if (text.empty() || text.size() > 20 || text[0] == '0') return 0;
  uint64_t number = 0;
  for (const char digit : text) {
    if (digit < '0' || digit > '9') return 0;
    const auto value = static_cast<uint64_t>(digit - '0');
    if (number > (UINT64_MAX - value) / 10) return 0;
    number = 10 * number + value;
  }
  return number;
}

Result<Claim> parse_release_claim(const std::string& comment) {
  const auto words = words_of(comment);
  if (words.empty() || words[0] != "edgewright") return wrong_comment("is not edgewright's");
  Claim claim;
  claim.sequence = parse_sequence(value_of(words, 1, "sequence"));
  claim.release = value_of(words, 2, "release");
  claim.compatible = value_of(words, 3, "compatible");
  if (claim.sequence == 0) return wrong_comment("expected sequence=<1 to 2^64-1> second");
  if (claim.release.empty()) return wrong_comment("expected release=<id> third");
  if (claim.compatible.empty()) return wrong_comment("expected compatible=<board> fourth");
  return claim;
}

Result<Claim> parse_keys_claim(const std::string& comment) {
  const auto words = words_of(comment);
  if (words.size() < 2 || words[0] != "edgewright" || words[1] != "keys") {
    return wrong_comment("is not that of a keys document");
  }
  Claim claim;
  claim.sequence = parse_sequence(value_of(words, 2, "sequence"));
  if (claim.sequence == 0) return wrong_comment("expected sequence=<1 to 2^64-1> third");
  return claim;
}

}  // namespace edgectl
