#pragma once

#include <string>
#include <string_view>

namespace edge {

/// printf into a string.
__attribute__((format(printf, 1, 2))) std::string format(const char* pattern, ...);

/// The same text with every byte that is not part of valid UTF-8 replaced by U+FFFD.
std::string utf8(std::string_view text);

/// The same text, valid UTF-8, with control characters as JSON writes them (\\u001b): a line of a
/// log stays a line, and a terminal is told nothing.
std::string printable(std::string_view text);

/// errno in words, in the style of our messages: "no such file or directory".
std::string system_fault();

/// Part of a path before and after its last '/'; the folder of a bare name is ".".
std::string folder_of(const std::string& path);
std::string name_of(const std::string& path);

}  // namespace edge
