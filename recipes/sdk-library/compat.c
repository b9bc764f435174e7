/* What the builder's glibc has and older ones lack, for the objects that call it. All of it is
 * hidden: a program that links the runtime finds nothing of it among its symbols. GLIBC_FLOOR is N
 * where the oldest glibc is 2.N.
 *
 * Debian compiles for 32-bit ARM with 64-bit times: its headers rename clock_gettime to
 * __clock_gettime64, which came with glibc 2.34. So the functions below define those new names, by
 * the old ones that every glibc has. Those end in 2038; the runtime takes the time of day for lines
 * of its log alone.
 */
#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <link.h>
#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* crtbegin.o defines it, where GCC links; other linkers may not. The archive shows it, so that a
 * plugin has a single one: by it the objects of the archive are destroyed at the plugin's dlclose.
 */
__attribute__((weak)) void* __dso_handle = &__dso_handle;

/* glibc 2.32: libstdc++ asks whether it may count references without atomics. It may not. */
char __libc_single_threaded = 0;

/* glibc 2.38: strtol that takes 0b too, under a name that C23's headers put in its place. */
#define BEFORE_C23(type, name)                                             \
  type before_##name(const char*, char**, int) __asm__(#name);             \
  type __isoc23_##name(const char* text, char** end, int base);            \
  type __isoc23_##name(const char* text, char** end, int base) {           \
    return before_##name(text, end, base);                                 \
  }
BEFORE_C23(long, strtol)
BEFORE_C23(unsigned long, strtoul)
BEFORE_C23(long long, strtoll)
BEFORE_C23(unsigned long long, strtoull)

#if GLIBC_FLOOR < 18
/* glibc 2.18: destructors of C++ objects of a thread, which run at its end. Before, a key holds the
 * list of the thread's, as in GCC's atexit_thread.cc. The main thread's run at exit. A thread may
 * outlive a dlclose of the library: that one is linked so that it stays in memory, and so must be a
 * plugin with the archive. */
struct ThreadObject {
  void (*destroy)(void*);
  void* object;
  struct ThreadObject* next; /* made earlier */
};
static pthread_key_t thread_objects;

/* The list is read anew after each: a destructor may make objects. */
static void destroy_all(void* latest) {
  struct ThreadObject* entry = latest;
  while (entry != NULL) {
    pthread_setspecific(thread_objects, entry->next);
    entry->destroy(entry->object);
    free(entry);
    entry = pthread_getspecific(thread_objects);
  }
}

static void destroy_own(void) { destroy_all(pthread_getspecific(thread_objects)); }

static void make_key(void) {
  if (pthread_key_create(&thread_objects, destroy_all) != 0 || atexit(destroy_own) != 0) {
    abort();
  }
}

int __cxa_thread_atexit_impl(void (*destroy)(void*), void* object, void* library);
int __cxa_thread_atexit_impl(void (*destroy)(void*), void* object, void* library) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  (void)library;
  pthread_once(&once, make_key);
  struct ThreadObject* const entry = malloc(sizeof *entry);
  if (entry == NULL) {
    return -1;
  }
  *entry = (struct ThreadObject){destroy, object, pthread_getspecific(thread_objects)};
  return pthread_setspecific(thread_objects, entry);
}
#endif

#if GLIBC_FLOOR < 16
/* glibc 2.16: a value that the kernel handed to the process. They are read when the library is
 * loaded, before a process may give up its user, and with it the right to read them. */
static ElfW(auxv_t) kernel_values[64]; /* zeros, AT_NULL, at its end; the kernel hands over some 20 */

__attribute__((constructor(101))) static void read_kernel_values(void) {
  const int before = errno;
  const int file = open("/proc/self/auxv", O_RDONLY | O_CLOEXEC);
  if (file >= 0) {
    const ssize_t count = read(file, kernel_values, sizeof kernel_values - sizeof *kernel_values);
    (void)count; /* what was not read is zero */
    close(file);
  }
  errno = before;
}

unsigned long getauxval(unsigned long type) {
  const ElfW(auxv_t)* entry = kernel_values;
  while (entry->a_type != AT_NULL && entry->a_type != type) {
    ++entry;
  }
  return entry->a_type == type ? entry->a_un.a_val : 0;
}
#endif

#if GLIBC_FLOOR < 17
/* glibc 2.17. Its older name, __secure_getenv, is none that newer glibcs let a program link. The
 * comparisons hold where the values above could not be read. */
char* secure_getenv(const char* name) {
  const int is_secure =
      getauxval(AT_SECURE) != 0 || getuid() != geteuid() || getgid() != getegid();
  return is_secure ? NULL : getenv(name);
}
#endif

#ifdef __arm__
_Static_assert(sizeof(time_t) == 8, "expected a compiler with 64-bit times");

struct Time32 {
  int32_t s;
  int32_t fraction; /* ns, or µs in a timeval */
};
#if GLIBC_FLOOR < 17
/* It was in librt, which nothing else needs. */
static int clock_gettime_32(clockid_t clock, struct Time32* now) {
  return (int)syscall(SYS_clock_gettime, clock, now);
}
#else
int clock_gettime_32(clockid_t, struct Time32*) __asm__("clock_gettime");
#endif
int gettimeofday_32(struct Time32*, void*) __asm__("gettimeofday");
struct tm* gmtime_r_32(const int32_t*, struct tm*) __asm__("gmtime_r");
int ioctl_32(int, unsigned long, ...) __asm__("ioctl");
struct tm* localtime_r_32(const int32_t*, struct tm*) __asm__("localtime_r");
int32_t mktime_32(struct tm*) __asm__("mktime");
int nanosleep_32(const struct Time32*, struct Time32*) __asm__("nanosleep");
int nftw_32(const char*, __nftw_func_t, int, int) __asm__("nftw64");
int prctl_32(int, ...) __asm__("prctl");

int clock_gettime(clockid_t clock, struct timespec* now) {
  struct Time32 t;
  const int code = clock_gettime_32(clock, &t);
  if (code == 0) {
    now->tv_sec = t.s;
    now->tv_nsec = t.fraction;
  }
  return code;
}

double difftime(time_t end, time_t begin) { return (double)(end - begin); }

int gettimeofday(struct timeval* restrict now, void* restrict zone) {
  struct Time32 t;
  const int code = gettimeofday_32(&t, zone);
  if (code == 0) {
    now->tv_sec = t.s;
    now->tv_usec = t.fraction;
  }
  return code;
}

struct tm* gmtime_r(const time_t* restrict time, struct tm* restrict parts) {
  const int32_t t = (int32_t)*time;
  return gmtime_r_32(&t, parts);
}

int ioctl(int file, unsigned long request, ...) {
  va_list rest;
  va_start(rest, request);
  void* argument = va_arg(rest, void*);
  va_end(rest);
  return ioctl_32(file, request, argument);
}

struct tm* localtime_r(const time_t* restrict time, struct tm* restrict parts) {
  const int32_t t = (int32_t)*time;
  return localtime_r_32(&t, parts);
}

time_t mktime(struct tm* parts) { return mktime_32(parts); }

int nanosleep(const struct timespec* wanted, struct timespec* left) {
  const struct Time32 wanted_32 = {(int32_t)wanted->tv_sec, (int32_t)wanted->tv_nsec};
  struct Time32 left_32;
  const int code = nanosleep_32(&wanted_32, &left_32);
  if (code != 0 && left != NULL) {
    left->tv_sec = left_32.s;
    left->tv_nsec = left_32.fraction;
  }
  return code;
}

/* The runtime's callback, which removes files, does not look at their times. */
int nftw(const char* folder, __nftw_func_t callback, int open_files, int flags) {
  return nftw_32(folder, callback, open_files, flags);
}

int prctl(int option, ...) {
  unsigned long arguments[4];
  va_list rest;
  va_start(rest, option);
  for (int i = 0; i < 4; ++i) {
    arguments[i] = va_arg(rest, unsigned long);
  }
  va_end(rest);
  return prctl_32(option, arguments[0], arguments[1], arguments[2], arguments[3]);
}

/* What the kernel answers: before 2.33 no stat was a symbol of glibc under its own name. */
struct KernelStat {
  uint64_t dev;
  uint32_t unused, low_ino, mode, nlink, uid, gid;
  uint64_t rdev;
  uint32_t unused_too;
  int64_t size;
  uint32_t blksize;
  uint64_t blocks;
  uint32_t atime, atime_ns, mtime, mtime_ns, ctime, ctime_ns;
  uint64_t ino;
};
_Static_assert(sizeof(struct KernelStat) == 104, "expected the kernel's struct stat64");

static int converted(long code, const struct KernelStat* from, struct stat* to) {
  if (code != 0) {
    return -1;
  }
  *to = (struct stat){
      .st_dev = from->dev,
      .st_ino = from->ino,
      .st_mode = from->mode,
      .st_nlink = from->nlink,
      .st_uid = from->uid,
      .st_gid = from->gid,
      .st_rdev = from->rdev,
      .st_size = from->size,
      .st_blksize = (blksize_t)from->blksize,
      .st_blocks = (blkcnt_t)from->blocks,
      .st_atim = {.tv_sec = from->atime, .tv_nsec = (long)from->atime_ns},
      .st_mtim = {.tv_sec = from->mtime, .tv_nsec = (long)from->mtime_ns},
      .st_ctim = {.tv_sec = from->ctime, .tv_nsec = (long)from->ctime_ns},
  };
  return 0;
}

int fstat(int file, struct stat* answer) {
  struct KernelStat found;
  return converted(syscall(SYS_fstat64, file, &found), &found, answer);
}

int stat(const char* restrict path, struct stat* restrict answer) {
  struct KernelStat found;
  return converted(syscall(SYS_stat64, path, &found), &found, answer);
}
#endif

#ifdef __aarch64__
/* glibc 2.33: before, these were no symbols under their own names. */
int fstat(int file, struct stat* answer) { return (int)syscall(SYS_fstat, file, answer); }

int stat(const char* restrict path, struct stat* restrict answer) {
  return (int)syscall(SYS_newfstatat, AT_FDCWD, path, answer, 0);
}

/* glibc 2.35: where libgcc's unwinder finds the frames of an address. */
struct Search {
  uintptr_t address;
  struct dl_find_object* answer;
};

static int search(struct dl_phdr_info* object, size_t size, void* data) {
  (void)size;
  struct Search* wanted = data;
  int has_address = 0;
  uintptr_t frames = 0;
  for (int i = 0; i < object->dlpi_phnum; ++i) {
    const ElfW(Phdr)* part = &object->dlpi_phdr[i];
    const uintptr_t start = object->dlpi_addr + part->p_vaddr;
    if (part->p_type == PT_LOAD && wanted->address - start < part->p_memsz) {
      has_address = 1;
      wanted->answer->dlfo_map_start = (void*)start;
      wanted->answer->dlfo_map_end = (void*)(start + part->p_memsz);
    } else if (part->p_type == PT_GNU_EH_FRAME) {
      frames = start;
    }
  }
  wanted->answer->dlfo_eh_frame = (void*)frames;
  return has_address && frames != 0;
}

int _dl_find_object(void* address, struct dl_find_object* answer) {
  *answer = (struct dl_find_object){0};
  struct Search wanted = {(uintptr_t)address, answer};
  return dl_iterate_phdr(search, &wanted) == 1 ? 0 : -1;
}
#endif
