/* Says whether getauxval answers as the kernel told the process, where no file can be opened. */
#define _GNU_SOURCE
#include <errno.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/resource.h>
#include <unistd.h>

/* They lie behind the environment. */
static const ElfW(auxv_t)* kernel_values(void) {
  char** word = environ;
  while (*word != NULL) {
    ++word;
  }
  return (const ElfW(auxv_t)*)(word + 1);
}

int main(void) {
  const struct rlimit none = {0, 0};
  int is_same = setrlimit(RLIMIT_NOFILE, &none) == 0;
  errno = 7;
  for (const ElfW(auxv_t)* entry = kernel_values(); entry->a_type != AT_NULL; ++entry) {
    is_same = is_same && getauxval(entry->a_type) == entry->a_un.a_val;
  }
  is_same = is_same && getauxval(12345) == 0 && errno == 7;
  printf("%s %s\n", is_same ? "same" : "other", secure_getenv("EDGE_TEST"));
}
