// libstdc++'s locales format dates by these two functions of glibc, which are 13 KB of a static
// program. This program formats none, and the runtime writes the times of its log by itself.
#include <cstddef>
#include <ctime>
#include <cwchar>

extern "C" {

size_t __strftime_l(char*, size_t, const char*, const tm*, locale_t);
size_t __wcsftime_l(wchar_t*, size_t, const wchar_t*, const tm*, locale_t);

/// Writes nothing, as strftime does where there is no room.
size_t __strftime_l(char*, size_t, const char*, const tm*, locale_t) {
  return 0;
}

size_t __wcsftime_l(wchar_t*, size_t, const wchar_t*, const tm*, locale_t) {
  return 0;
}

}  // extern "C"
