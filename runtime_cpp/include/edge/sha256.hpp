#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace edge {

/// SHA-256 (FIPS 180-4) of `size` bytes, as 64 lower-case hexadecimal digits.
std::string sha256(const uint8_t* data, size_t size);

}  // namespace edge
