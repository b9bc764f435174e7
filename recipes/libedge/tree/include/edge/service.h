/* A program of yours as the service of a board, in C and C++, in one header; docs/programs.md is
 * the contract.
 *
 *   struct edge_service service;
 *   ... open the camera, which may need root ...
 *   if (edge_service_start(&service) != 0) return fail("user");
 *   for (;;) {
 *     ... an image, and its answer ...
 *     edge_service_beat(&service, images, failed);   // the first one says that it is ready
 *   }
 *
 * Without a service, as when somebody starts the program by hand, both do nothing. Include it
 * before any other header, or compile with -D_GNU_SOURCE.
 */
#ifndef EDGE_SERVICE_H
#define EDGE_SERVICE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* setgroups */
#endif

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#ifdef __cplusplus
extern "C" {
#endif

struct edge_service {
  int heartbeat; /* file that the board's supervisor looks at; -1: none does */
  int is_ready;
};

/* Numbers of a user of /etc/passwd. Read here: a static program's getpwnam would load libraries. */
static inline int edge_service_find_user(const char* name, uid_t* uid, gid_t* gid) {
  FILE* file = fopen("/etc/passwd", "re");
  char line[1024];
  int is_user = 0;
  while (file != NULL && !is_user && fgets(line, sizeof line, file) != NULL) {
    const size_t length = strlen(name);
    char* at = strncmp(line, name, length) == 0 && line[length] == ':'
                   ? strchr(line + length + 1, ':')
                   : NULL;
    if (at == NULL) continue;
    *uid = (uid_t)strtoul(at + 1, &at, 10);
    if (*at == ':') *gid = (gid_t)strtoul(at + 1, &at, 10);
    is_user = *at == ':';
  }
  if (file != NULL) fclose(file);
  if (!is_user) errno = ENOENT;
  return is_user ? 0 : -1;
}

/* Opens the heartbeat, and goes on as the user of the board's service, for good: what only root may
 * open is to be open before. Returns -1 with errno set where it cannot. */
static inline int edge_service_start(struct edge_service* service) {
  const char* path = getenv("EDGEWRIGHT_HEARTBEAT");
  const char* name = getenv("EDGEWRIGHT_USER");
  uid_t uid = 0;
  gid_t gid = 0;
  service->is_ready = 0;
  service->heartbeat =
      path == NULL ? -1 : open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644);
  if (name == NULL || geteuid() != 0) return 0;
  if (edge_service_find_user(name, &uid, &gid) != 0) return -1;
  if (setgroups(0, NULL) != 0 || setgid(gid) != 0 || setuid(uid) != 0) return -1;
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

/* Tells systemd, where it is the service's manager. */
static inline void edge_service_notify(const char* state) {
  const char* path = getenv("NOTIFY_SOCKET");
  struct sockaddr_un address;
  int fd;
  if (path == NULL || strlen(path) >= sizeof address.sun_path) return;
  memset(&address, 0, sizeof address);
  address.sun_family = AF_UNIX;
  memcpy(address.sun_path, path, strlen(path));
  if (path[0] == '@') address.sun_path[0] = '\0'; /* an abstract one */
  fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return;
  sendto(fd, state, strlen(state), MSG_NOSIGNAL, (const struct sockaddr*)&address,
         (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path)));
  close(fd);
}

/* Says that the service works, with how many images it has seen and how many of these failed. To be
 * called when the first image has its answer, and every few seconds from then on. */
static inline void edge_service_beat(struct edge_service* service, long images, long failed) {
  struct timespec up;
  char text[256];
  if (!service->is_ready) {
    /* edgectl waits for this before it ends the trial of a release. The descriptor stays open. */
    const char* fd = getenv("EDGECTL_READY_FD");
    service->is_ready = fd == NULL || write(atoi(fd), "ready\n", 6) == 6;
    edge_service_notify("READY=1");
  }
  edge_service_notify("WATCHDOG=1");
  if (service->heartbeat < 0) return;
  /* Since power-on: a board's wall clock may be wrong, and may jump. */
  clock_gettime(CLOCK_BOOTTIME, &up);
  snprintf(text, sizeof text,
           "{\"version\":1,\"command\":\"service\",\"pid\":%ld,\"uptime_s\":%ld,\"images\":%ld,"
           "\"failed\":%ld}",
           (long)getpid(), (long)up.tv_sec, images, failed);
  /* One write of one length: a reader finds a whole beat. One that fails is noticed as late. */
  memset(text + strlen(text), ' ', sizeof text - strlen(text));
  text[sizeof text - 1] = '\n';
  if (pwrite(service->heartbeat, text, sizeof text, 0) < 0) return;
}

#ifdef __cplusplus
}
#endif

#endif
