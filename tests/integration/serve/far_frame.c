/* Sends a frame whose second row lies beyond 4 GiB, in memory that has it;
 * prints the answer. */
#define _FILE_OFFSET_BITS 64
/* clang-format off */
#include "edge/client.h" /* before all others: it asks for what GNU's C library adds */
#include <stdio.h>
/* clang-format on */

int main(int argc, char **argv) {
  const int memory = memfd_create("far", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  const struct edge_frame frame = {NULL,      8, 2,     UINT32_MAX,
                                   EDGE_GRAY, 0, 0, memory};
  const int service = argc == 2 ? edge_connect(argv[1]) : -1;
  struct edge_answer answer;
  char *json = NULL;
  if (ftruncate(memory, (off_t)UINT32_MAX + 8) == 0 &&
      fcntl(memory, F_ADD_SEALS, F_SEAL_SHRINK) == 0 &&
      edge_send_frame(service, 1, &frame) == 0) {
    json = edge_receive(service, &answer);
  }
  if (json == NULL) {
    perror("far_frame");
    return 1;
  }
  printf("%u %s", answer.status, json);
  free(json);
  return 0;
}
