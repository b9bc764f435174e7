/* Client of `edge-infer serve` for C and C++, in one header; docs/serve.md is the contract.
 *
 *   int service = edge_connect("/run/edgewright/serve/infer.sock");
 *   struct edge_frame frame;
 *   edge_frame_open(&frame, 640, 480, EDGE_GRAY);
 *   ... the camera writes into frame.pixels, frame.stride bytes a row ...
 *   edge_send_frame(service, 1, &frame);
 *   struct edge_answer answer;
 *   char *json = edge_receive(service, &answer);   // free() it
 *
 * Include it before any other header, or compile with -D_GNU_SOURCE.
 *
 * Each function returns -1 or NULL with errno set where it cannot be done. One thread at a time may
 * use a connection. Requests may be sent before the answers of former ones have come: answers may
 * come in another order (one that is refused for lack of room overtakes), and carry the request's
 * id. A connection that ends without an answer says that there is none: ask again on a new one.
 */
#ifndef EDGE_CLIENT_H
#define EDGE_CLIENT_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* memfd_create and file seals */
#endif

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#ifdef __cplusplus
extern "C" {
#endif

enum edge_kind {
  EDGE_IMAGE = 1,  /* an encoded image follows the request */
  EDGE_FILE = 2,   /* an encoded image, in the file whose descriptor comes with the request */
  EDGE_FRAME = 3,  /* pixels, in the sealed memory whose descriptor comes with the request */
  EDGE_STATUS = 4, /* what is served, and how it does */
  EDGE_RELOAD = 5  /* the model is to be read anew */
};

/* 8 bits a channel; docs/formats.md has what each is converted by. */
enum edge_format {
  EDGE_GRAY = 1,
  EDGE_RGB = 2,
  EDGE_BGR = 3,
  EDGE_NV12 = 4,      /* BT.601, luma from 16 to 235; a plane of luma and one of chroma */
  EDGE_YUYV = 5,      /* likewise, luma and chroma by turns */
  EDGE_NV12_FULL = 6, /* luma from 0 to 255, as in a JPEG */
  EDGE_YUYV_FULL = 7,
  EDGE_BAYER_RGGB = 8, /* named by the first two pixels of the first two rows */
  EDGE_BAYER_GRBG = 9,
  EDGE_BAYER_GBRG = 10,
  EDGE_BAYER_BGGR = 11
};

enum edge_status {
  EDGE_DONE = 0,
  EDGE_ERROR = 1,  /* of this image, or of the reload: "error" in the document */
  EDGE_BUSY = 2,   /* as many requests wait as may: this one was not taken */
  EDGE_REFUSED = 3 /* no request that this service knows; it ends the connection */
};

/* Little endian, as all boards of edgewright are. */
struct edge_request {
  uint32_t length; /* bytes that follow this field: 32, and those of EDGE_IMAGE's image */
  uint32_t id;     /* the client's own: it comes back in the answer */
  uint32_t kind;
  uint32_t format; /* of EDGE_FRAME; this and what follows is 0 for all other kinds */
  uint32_t width;  /* pixels */
  uint32_t height; /* pixels */
  uint32_t stride; /* bytes from one row to the next */
  uint32_t offset; /* bytes before the first pixel */
  uint32_t chroma; /* of NV12: bytes from the first pixel to the first row of chroma, else 0 */
};

/* A document follows: JSON of `length` - 8 bytes, which ends in a newline. */
struct edge_answer {
  uint32_t length; /* bytes that follow this field */
  uint32_t id;     /* of the request; 0 where it was none */
  uint32_t status;
};

#define EDGE_REQUEST_REST ((uint32_t)(sizeof(struct edge_request) - sizeof(uint32_t)))
#define EDGE_ANSWER_REST ((uint32_t)(sizeof(struct edge_answer) - sizeof(uint32_t)))
#define EDGE_MAX_ANSWER (64u << 20) /* bytes; no answer is as long */

/* Memory that a camera writes into and the service reads from: nothing is copied in between. */
struct edge_frame {
  uint8_t* pixels;
  uint32_t width;
  uint32_t height;
  uint32_t stride; /* bytes from one row to the next */
  uint32_t format;
  uint32_t chroma; /* of NV12: bytes from `pixels` to the first row of chroma, else 0 */
  size_t size;     /* bytes of the memory */
  int fd;
};

static inline int edge_connect(const char* path) {
  struct sockaddr_un address;
  memset(&address, 0, sizeof address);
  address.sun_family = AF_UNIX;
  if (strlen(path) >= sizeof address.sun_path) {
    errno = ENAMETOOLONG;
    return -1;
  }
  strcpy(address.sun_path, path);
  const int service = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (service < 0) return -1;
  if (connect(service, (const struct sockaddr*)&address, sizeof address) == 0) return service;
  const int fault = errno;
  close(service);
  errno = fault;
  return -1;
}

static inline int edge_send_bytes(int service, const void* data, size_t size) {
  const char* at = (const char*)data;
  while (size > 0) {
    const ssize_t sent = send(service, at, size, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return -1;
    at += sent;
    size -= (size_t)sent;
  }
  return 0;
}

/* Sends a request, with the descriptor `fd` unless that is -1. */
static inline int edge_send(int service, const struct edge_request* request, int fd) {
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int))];
  } control;
  struct iovec part = {(void*)(uintptr_t)request, sizeof *request};
  struct msghdr message;
  memset(&message, 0, sizeof message);
  memset(&control, 0, sizeof control);
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (fd >= 0) {
    message.msg_control = control.bytes;
    message.msg_controllen = sizeof control.bytes;
    struct cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &fd, sizeof fd);
  }
  ssize_t sent;
  do {
    sent = sendmsg(service, &message, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) return -1;
  return edge_send_bytes(service, (const char*)request + sent, sizeof *request - (size_t)sent);
}

/* Requests without a descriptor: EDGE_STATUS and EDGE_RELOAD. */
static inline int edge_ask(int service, uint32_t id, enum edge_kind kind) {
  const struct edge_request request = {EDGE_REQUEST_REST, id, (uint32_t)kind, 0, 0, 0, 0, 0, 0};
  return edge_send(service, &request, -1);
}

/* An encoded image (PNG, JPEG, PGM, PPM) of this process's memory. */
static inline int edge_send_image(int service, uint32_t id, const void* image, uint32_t size) {
  const struct edge_request request = {EDGE_REQUEST_REST + size, id, EDGE_IMAGE, 0, 0, 0, 0, 0, 0};
  if (edge_send(service, &request, -1) != 0) return -1;
  return edge_send_bytes(service, image, size);
}

/* An encoded image in an open file. */
static inline int edge_send_file(int service, uint32_t id, int fd) {
  const struct edge_request request = {EDGE_REQUEST_REST, id, EDGE_FILE, 0, 0, 0, 0, 0, 0};
  return edge_send(service, &request, fd);
}

/* Bytes of a row; luma and chroma are of pairs of pixels. */
static inline uint64_t edge_row_bytes(uint32_t width, enum edge_format format) {
  const uint64_t even = (uint64_t)width + width % 2;
  if (format == EDGE_NV12 || format == EDGE_NV12_FULL) return even;
  if (format == EDGE_YUYV || format == EDGE_YUYV_FULL) return 2 * even;
  return (uint64_t)width * (format == EDGE_RGB || format == EDGE_BGR ? 3u : 1u);
}

/* Takes memory for frames of one size. It must not be written to between `edge_send_frame` and the
 * answer; several frames may be in use at once. Where a camera pads its pictures (V4L2 gives 1080
 * rows as 1088), open the padded size and set `width` and `height` to the picture's then: rows and
 * chroma stay where the camera puts them. */
static inline int edge_frame_open(struct edge_frame* frame, uint32_t width, uint32_t height,
                                  enum edge_format format) {
  const uint64_t row = edge_row_bytes(width, format);
  const int has_plane_of_chroma = format == EDGE_NV12 || format == EDGE_NV12_FULL;
  const uint64_t rows = (uint64_t)height + (has_plane_of_chroma ? (height + 1ull) / 2 : 0);
  const uint64_t chroma = has_plane_of_chroma ? row * height : 0;
  if (row > UINT32_MAX || chroma > UINT32_MAX || (rows > 0 && row > SIZE_MAX / rows)) {
    errno = EOVERFLOW;
    return -1;
  }
  const uint32_t stride = (uint32_t)row;
  const size_t size = (size_t)(stride * rows);
  const int fd = memfd_create("edge-frame", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return -1;
  /* The service reads no memory that could become shorter under its hands. */
  if (ftruncate(fd, (off_t)size) == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0) {
    void* memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory != MAP_FAILED) {
      memset(memory, 0, size); /* nor any that it would have to pay for, as nobody wrote to it */
      const struct edge_frame opened = {(uint8_t*)memory, width, height, stride, (uint32_t)format,
                                        (uint32_t)chroma, size,  fd};
      *frame = opened;
      return 0;
    }
  }
  const int fault = errno;
  close(fd);
  errno = fault;
  return -1;
}

static inline void edge_frame_close(struct edge_frame* frame) {
  munmap(frame->pixels, frame->size);
  close(frame->fd);
}

static inline int edge_send_frame(int service, uint32_t id, const struct edge_frame* frame) {
  const struct edge_request request = {
      EDGE_REQUEST_REST, id, EDGE_FRAME,   frame->format, frame->width, frame->height,
      frame->stride,     0,  frame->chroma};
  return edge_send(service, &request, frame->fd);
}

static inline int edge_receive_bytes(int service, void* data, size_t size) {
  char* at = (char*)data;
  while (size > 0) {
    const ssize_t received = recv(service, at, size, 0);
    if (received < 0 && errno == EINTR) continue;
    if (received == 0) errno = ECONNRESET;
    if (received <= 0) return -1;
    at += received;
    size -= (size_t)received;
  }
  return 0;
}

/* Waits for an answer; its document, which ends in a zero byte and is the caller's to free(). */
static inline char* edge_receive(int service, struct edge_answer* answer) {
  if (edge_receive_bytes(service, answer, sizeof *answer) != 0) return NULL;
  if (answer->length < EDGE_ANSWER_REST || answer->length > EDGE_MAX_ANSWER) {
    errno = EPROTO;
    return NULL;
  }
  const size_t size = answer->length - EDGE_ANSWER_REST;
  char* json = (char*)malloc(size + 1);
  if (json == NULL || edge_receive_bytes(service, json, size) != 0) {
    free(json);
    return NULL;
  }
  json[size] = '\0';
  return json;
}

#ifdef __cplusplus
}
#endif

#endif
