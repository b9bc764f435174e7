/* A camera's program in C: frames go to `edge-infer serve` without a copy.
 *
 *   cc -O2 -I runtime_cpp/include runtime_cpp/examples/camera.c -o camera
 *   camera /run/edgewright/serve/infer.sock 300 300 10
 *
 * Two frames take turns: while one is inferred the camera fills the other.
 */
/* clang-format off */
#include "edge/client.h" /* before all others: it asks for what GNU's C library adds */
#include <stdio.h>
/* clang-format on */

/* In place of a camera: a grey ramp that moves by one row a frame. */
static void capture(struct edge_frame* frame, unsigned number) {
  for (uint32_t y = 0; y < frame->height; ++y) {
    memset(frame->pixels + y * frame->stride, (int)((y + number) % 256), frame->width);
  }
}

static int fault(const char* what) {
  perror(what);
  return 1;
}

int main(int argc, char** argv) {
  if (argc != 5) {
    fprintf(stderr, "camera SOCKET WIDTH HEIGHT FRAMES\n");
    return 2;
  }
  const int service = edge_connect(argv[1]);
  if (service < 0) return fault(argv[1]);
  struct edge_frame frames[2];
  for (int i = 0; i < 2; ++i) {
    const uint32_t width = (uint32_t)atoi(argv[2]), height = (uint32_t)atoi(argv[3]);
    if (edge_frame_open(&frames[i], width, height, EDGE_GRAY) != 0) return fault("frame");
  }
  const unsigned count = (unsigned)atoi(argv[4]);
  capture(&frames[0], 0);
  for (unsigned number = 0; number < count; ++number) {
    if (edge_send_frame(service, number, &frames[number % 2]) != 0) return fault("send");
    if (number + 1 < count) capture(&frames[(number + 1) % 2], number + 1);
    struct edge_answer answer;
    char* json = edge_receive(service, &answer);
    if (json == NULL) return fault("receive");
    printf("%u %s %s", answer.id, answer.status == EDGE_DONE ? "done" : "not done", json);
    free(json);
  }
  for (int i = 0; i < 2; ++i) edge_frame_close(&frames[i]);
  close(service);
  return 0;
}
