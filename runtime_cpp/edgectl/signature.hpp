#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "base.hpp"

namespace edgectl {

/// A minisign public key: the second line of a `.pub` file.
struct PublicKey {
  std::string text;             // base64, as it came
  std::array<uint8_t, 8> id{};  // chosen at random by minisign
  std::array<uint8_t, 32> point{};

  std::string name() const;  // 16 upper-case hex digits, as minisign prints an id
};

/// A minisign signature file.
struct Signature {
  std::array<uint8_t, 8> key_id{};
  std::array<uint8_t, 64> of_document{};  // over the BLAKE2b-512 of the document
  std::array<uint8_t, 64> of_comment{};   // over `of_document` and the trusted comment
  std::string comment;                    // the trusted one, without its label
};

Result<PublicKey> parse_key(const std::string& text);
Result<Signature> parse_signature(const std::string& text);

/// The key that signed this document, of those given. Both of minisign's signatures are checked.
Result<PublicKey> verify(const Signature& signature, const std::vector<PublicKey>& trusted,
                         const std::string& document);

/// What the trusted comment of a manifest claims.
struct Claim {
  uint64_t sequence = 0;
  std::string release;     // empty for a keys document
  std::string compatible;  // likewise
};

Result<Claim> parse_release_claim(const std::string& comment);
/// Of a keys document of schema 1; schema 2 has `Trust::comment`.
Result<Claim> parse_keys_claim(const std::string& comment);

/// A decimal number from 1 to 2^64-1 without sign or leading zero; 0 for anything else.
uint64_t parse_sequence(const std::string& text);

}  // namespace edgectl
