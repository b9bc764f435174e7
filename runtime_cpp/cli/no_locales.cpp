// A static program takes libstdc++'s locales whole, as soon as it writes a number into a stream:
// dates, money, numbers of wide characters and sorting by alphabet too, which neither this program
// nor the runtime asks for. What those need most of is defined here, so that the linker leaves the
// library's out; docs/performance.md has the bytes.
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <ctime>
#include <cwchar>

extern "C" {

[[noreturn]] void edge_unused_facet() noexcept;
size_t __strftime_l(char*, size_t, const char*, const tm*, locale_t);
size_t __wcsftime_l(wchar_t*, size_t, const wchar_t*, const tm*, locale_t);
size_t __strxfrm_l(char*, const char*, size_t, locale_t);
size_t __wcsxfrm_l(wchar_t*, const wchar_t*, size_t, locale_t);

/// A later runtime may ask for one of them: the log is to say what it misses.
void edge_unused_facet() noexcept {
  constexpr char words[] = "edge-infer: was linked without this part of locales (no_locales.cpp)\n";
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, words, sizeof words - 1);
  std::abort();
}

/// Writes nothing, as where there is no room, and goes on: strftime is this one too, with which the
/// runtime writes the time into the names of profiles.
size_t __strftime_l(char*, size_t, const char*, const tm*, locale_t) {
  return 0;
}

size_t __wcsftime_l(wchar_t*, size_t, const wchar_t*, const tm*, locale_t) {
  return 0;
}

size_t __strxfrm_l(char*, const char*, size_t, locale_t) {
  edge_unused_facet();
}

size_t __wcsxfrm_l(wchar_t*, const wchar_t*, size_t, locale_t) {
  edge_unused_facet();
}

}  // extern "C"

// Members of facets by their mangled names: the library's headers declare them as instantiated, so
// they cannot be specialized. Of each there is one for std::string and one for the string before
// C++11. Where a later library has another name its own comes back: test_runtime_units.py compares.
#define EDGE_READS(C) "I" C "St19istreambuf_iteratorI" C "St11char_traitsI" C "EEE"
#define EDGE_WRITES(C) "I" C "St19ostreambuf_iteratorI" C "St11char_traitsI" C "EEE"
#define EDGE_UNUSED(name, symbol)                                            \
  extern "C" [[noreturn]] void edge_unused_##name() noexcept __asm__(symbol) \
      __attribute__((alias("edge_unused_facet")))

#define EDGE_TIME(name, C, facet, iterator)                                                        \
  EDGE_UNUSED(name,                                                                                \
              "_ZNKSt" facet "time_get" EDGE_READS(C) "21_M_extract_via_formatE" iterator iterator \
                                                      "RSt8ios_baseRSt12_Ios_IostateP2tmPK" C      \
                                                      "RSt16__time_get_state")
EDGE_TIME(time_c, "c", "7__cxx118", "S4_");
EDGE_TIME(time_w, "w", "7__cxx118", "S4_");
EDGE_TIME(old_time_c, "c", "8", "S3_");
EDGE_TIME(old_time_w, "w", "8", "S3_");

#define EDGE_MONEY_IN(name, C, facet, iterator, digits)          \
  EDGE_MONEY_GET(name##_local, C, facet, iterator, digits, "0"); \
  EDGE_MONEY_GET(name##_international, C, facet, iterator, digits, "1")
#define EDGE_MONEY_GET(name, C, facet, iterator, digits, international)                 \
  EDGE_UNUSED(name,                                                                     \
              "_ZNKSt" facet "money_get" EDGE_READS(C) "10_M_extractILb" international  \
                                                       "EEE" iterator iterator iterator \
                                                       "RSt8ios_baseRSt12_Ios_IostateR" digits)
EDGE_MONEY_IN(money_in_c, "c", "7__cxx119", "S4_", "NS_12basic_stringIcS3_SaIcEEE");
EDGE_MONEY_IN(money_in_w, "w", "7__cxx119", "S4_", "NS_12basic_stringIcS2_IcESaIcEEE");
EDGE_MONEY_IN(old_money_in_c, "c", "9", "S3_", "Ss");
EDGE_MONEY_IN(old_money_in_w, "w", "9", "S3_", "Ss");

#define EDGE_MONEY_OUT(name, C, facet, iterator, digits)         \
  EDGE_MONEY_PUT(name##_local, C, facet, iterator, digits, "0"); \
  EDGE_MONEY_PUT(name##_international, C, facet, iterator, digits, "1")
#define EDGE_MONEY_PUT(name, C, facet, iterator, digits, international)                     \
  EDGE_UNUSED(name, "_ZNKSt" facet "money_put" EDGE_WRITES(C) "9_M_insertILb" international \
                                                              "EEE" iterator iterator       \
                                                              "RSt8ios_base" C "RK" digits)
EDGE_MONEY_OUT(money_out_c, "c", "7__cxx119", "S4_", "NS_12basic_stringIcS3_SaIcEEE");
EDGE_MONEY_OUT(money_out_w, "w", "7__cxx119", "S4_", "NS_12basic_stringIwS3_SaIwEEE");
EDGE_MONEY_OUT(old_money_out_c, "c", "9", "S3_", "Ss");
EDGE_MONEY_OUT(old_money_out_w, "w", "9", "S3_", "SbIwS2_SaIwEE");

EDGE_UNUSED(wide_float, "_ZNKSt7num_get" EDGE_READS(
                            "w") "16_M_extract_floatES3_S3_RSt8ios_baseRSt12_Ios_IostateRSs");
#define EDGE_WIDE_INTEGER(type)                                          \
  EDGE_UNUSED(wide_##type,                                               \
              "_ZNKSt7num_get" EDGE_READS("w") "14_M_extract_intI" #type \
                                               "EES3_S3_S3_RSt8ios_baseRSt12_Ios_IostateRT_")
EDGE_WIDE_INTEGER(j);
EDGE_WIDE_INTEGER(l);
EDGE_WIDE_INTEGER(m);
EDGE_WIDE_INTEGER(t);
EDGE_WIDE_INTEGER(x);
EDGE_WIDE_INTEGER(y);
