/* Counts what a guest program executes: a TCG plugin for QEMU's user-mode
 * emulation.
 *
 * qemu-arm -plugin
 * libcounts.so,out=FILE[,mark=ADDR|,syscall=NUMBER][,marks=N][,spans=FILE]
 *          [,caches=on] PROGRAM …
 *
 * Every translation block has one 64-bit counter, which QEMU's own code adds
 * to: counts are exact and repeat. Each time the guest reaches the address
 * `mark`, or makes the system call `syscall`, all counters are kept as one
 * column; at the N-th time the columns are written and the program ends.
 * `spans` lists addresses, one a line: the instructions from one of them to the
 * next are written as a span. `caches` follows every access to memory through
 * the data caches of a Cortex-A53.
 *
 * FILE, one record a line, numbers in decimal unless said otherwise:
 *   block ADDRESS(hex) INSTRUCTIONS CODE(hex) COLUMN…   executions between two
 * marks span  COLUMN ADDRESS(hex) INSTRUCTIONS              in the order of
 * execution cache COLUMN ACCESSES L1_STREAMED L1_OTHER L2_STREAMED L2_OTHER
 * accesses, and misses by level map   START(hex) END(hex) OFFSET(hex) PATH of
 * the files that the guest runs code of
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* QEMU's plugin interface, version 1: QEMU installs no header for it. */
typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum { ADD_U64 = 0, NO_REGS = 0 };
typedef void (*translated_t)(qemu_plugin_id_t, struct qemu_plugin_tb *);
typedef void (*executed_t)(unsigned, void *);
typedef void (*ended_t)(qemu_plugin_id_t, void *);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, translated_t);
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int,
                                              void *, uint64_t);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *,
                                            executed_t, int, void *);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, ended_t, void *);
typedef void (*called_t)(qemu_plugin_id_t, unsigned, int64_t, uint64_t,
                         uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                         uint64_t, uint64_t);
typedef void (*accessed_t)(unsigned, uint32_t, uint64_t, void *);
enum { READS_AND_WRITES = 3 };
void qemu_plugin_register_vcpu_syscall_cb(qemu_plugin_id_t, called_t);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *, accessed_t,
                                      int, int, void *);
unsigned qemu_plugin_mem_size_shift(uint32_t);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *,
                                                 size_t);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

enum { MAX_MARKS = 8, BUCKETS = 1 << 16, MAX_SPANS = 1 << 16 };

struct block {
  struct block *next; /* in its bucket */
  uint64_t address;
  uint64_t instructions;
  uint64_t executed;
  uint64_t columns[MAX_MARKS]; /* `executed` at each mark */
  unsigned char *code;
  size_t bytes;
};

struct span {
  unsigned column;
  uint64_t address;
  uint64_t instructions;
};

static struct block *buckets[BUCKETS];
static uint64_t executed; /* instructions, by all blocks */

static const char *out_path;
static uint64_t mark_address;
static int64_t mark_syscall = -1;
static unsigned marks_wanted, marks_seen;

static uint64_t *span_addresses; /* ascending */
static size_t span_count;
static struct span spans[MAX_SPANS];
static size_t spans_seen;
static uint64_t span_start;

/* The data caches of one Cortex-A53: 64-byte lines, least recently used is
 * replaced. */
enum {
  LINE_BITS = 6,
  L1_SETS = 128,
  L1_WAYS = 4,
  L2_SETS = 512,
  L2_WAYS = 16,
  STREAMS = 16
};
enum { ACCESSES, L1_STREAMED, L1_OTHER, L2_STREAMED, L2_OTHER, EVENTS };

struct set {
  uint64_t *lines; /* the most recently used first; 0: free */
  unsigned ways;
};

static bool caches_on;
static uint64_t l1_lines[L1_SETS][L1_WAYS], l2_lines[L2_SETS][L2_WAYS];
static uint64_t
    streams[STREAMS]; /* the last lines missed, one of each stream */
static unsigned oldest_stream;
static uint64_t events[MAX_MARKS + 1][EVENTS];

static void die(const char *what) {
  fprintf(stderr, "counts: %s\n", what);
  _exit(125);
}

static void *must(void *memory) {
  if (memory == NULL)
    die("out of memory");
  return memory;
}

/* Ends the open span, if there is one. */
static void close_span(void) {
  if (spans_seen > 0)
    spans[spans_seen - 1].instructions += executed - span_start;
  span_start = executed;
}

static void write_blocks(FILE *out) {
  for (size_t b = 0; b < BUCKETS; ++b) {
    for (const struct block *block = buckets[b]; block != NULL;
         block = block->next) {
      fprintf(out, "block %" PRIx64 " %" PRIu64 " ", block->address,
              block->instructions);
      for (size_t i = 0; i < block->bytes; ++i)
        fprintf(out, "%02x", block->code[i]);
      uint64_t before = 0;
      for (unsigned m = 0; m < marks_seen; ++m) {
        fprintf(out, " %" PRIu64, block->columns[m] - before);
        before = block->columns[m];
      }
      fprintf(out, " %" PRIu64 "\n", block->executed - before);
    }
  }
}

static void write_events(FILE *out) {
  for (unsigned m = 0; caches_on && m <= marks_seen; ++m) {
    fprintf(out, "cache %u", m);
    for (unsigned e = 0; e < EVENTS; ++e)
      fprintf(out, " %" PRIu64, events[m][e]);
    fputc('\n', out);
  }
}

static void write_spans(FILE *out) {
  for (size_t i = 0; i < spans_seen; ++i) {
    fprintf(out, "span %u %" PRIx64 " %" PRIu64 "\n", spans[i].column,
            spans[i].address, spans[i].instructions);
  }
}

/* Guest addresses are host addresses here up to a constant, which is 0 for
 * 32-bit guests. */
static void write_maps(FILE *out) {
  FILE *maps = fopen("/proc/self/maps", "r");
  char line[4096], path[4096];
  if (maps == NULL)
    return;
  while (fgets(line, sizeof line, maps) != NULL) {
    uint64_t start, end, offset;
    if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %*s %" SCNx64 " %*s %*s %4095s",
               &start, &end, &offset, path) == 4 &&
        path[0] == '/' && end <= UINT32_MAX) {
      fprintf(out, "map %" PRIx64 " %" PRIx64 " %" PRIx64 " %s\n", start, end,
              offset, path);
    }
  }
  fclose(maps);
}

static void write_all(void) {
  FILE *out = fopen(out_path, "w");
  if (out == NULL)
    die("cannot write the output file");
  close_span();
  write_blocks(out);
  write_spans(out);
  write_events(out);
  write_maps(out);
  if (fclose(out) != 0)
    die("cannot write the output file");
}

static void ended(qemu_plugin_id_t id, void *data) {
  (void)id, (void)data;
  write_all();
}

static void mark(void) {
  close_span();
  for (size_t b = 0; b < BUCKETS; ++b) {
    for (struct block *block = buckets[b]; block != NULL; block = block->next) {
      block->columns[marks_seen] = block->executed;
    }
  }
  if (++marks_seen == marks_wanted) {
    write_all();
    _exit(0);
  }
}

static void marked(unsigned cpu, void *data) {
  (void)cpu, (void)data;
  mark();
}

static void called(qemu_plugin_id_t id, unsigned cpu, int64_t number,
                   uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e,
                   uint64_t f, uint64_t g, uint64_t h) {
  (void)id, (void)cpu, (void)a, (void)b, (void)c, (void)d, (void)e, (void)f,
      (void)g, (void)h;
  if (number == mark_syscall)
    mark();
}

/* Whether the line was there; it is the most recently used one afterwards. */
static bool hit(struct set set, uint64_t line) {
  if (set.lines[0] == line)
    return true;
  unsigned way = 0;
  while (way + 1 < set.ways && set.lines[way] != line)
    ++way;
  const bool found = set.lines[way] == line;
  memmove(set.lines + 1, set.lines, way * sizeof *set.lines);
  set.lines[0] = line;
  return found;
}

/* Whether the line follows one that was missed before, so that a prefetcher had
 * it on the way. */
static bool streamed(uint64_t line) {
  for (unsigned s = 0; s < STREAMS; ++s) {
    if (line - streams[s] <= 2 || streams[s] - line <= 2) {
      streams[s] = line;
      return true;
    }
  }
  streams[oldest_stream] = line;
  oldest_stream = (oldest_stream + 1) % STREAMS;
  return false;
}

static void touch(uint64_t line) {
  uint64_t *seen = events[marks_seen];
  ++seen[ACCESSES];
  if (hit((struct set){l1_lines[line % L1_SETS], L1_WAYS}, line))
    return;
  const bool expected = streamed(line);
  ++seen[expected ? L1_STREAMED : L1_OTHER];
  if (hit((struct set){l2_lines[line % L2_SETS], L2_WAYS}, line))
    return;
  ++seen[expected ? L2_STREAMED : L2_OTHER];
}

static void accessed(unsigned cpu, uint32_t info, uint64_t address,
                     void *data) {
  (void)cpu, (void)data;
  const uint64_t last = address + (1u << qemu_plugin_mem_size_shift(info)) - 1;
  touch(address >> LINE_BITS);
  if (last >> LINE_BITS != address >> LINE_BITS)
    touch(last >> LINE_BITS);
}

static void span_entered(unsigned cpu, void *data) {
  (void)cpu;
  close_span();
  if (spans_seen == MAX_SPANS)
    die("too many spans");
  spans[spans_seen++] = (struct span){marks_seen, *(const uint64_t *)data, 0};
}

/* The one record of a block, however often QEMU translates it. */
static struct block *record_of(const struct qemu_plugin_tb *tb) {
  const uint64_t address = qemu_plugin_tb_vaddr(tb);
  const size_t instructions = qemu_plugin_tb_n_insns(tb);
  struct block **slot = &buckets[(address >> 1) % BUCKETS];
  for (struct block *known = *slot; known != NULL; known = known->next) {
    if (known->address == address && known->instructions == instructions)
      return known;
  }
  struct block *block = must(calloc(1, sizeof *block));
  *block = (struct block){
      .next = *slot, .address = address, .instructions = instructions};
  for (size_t i = 0; i < instructions; ++i) {
    const struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
    const size_t size = qemu_plugin_insn_size(insn);
    block->code = must(realloc(block->code, block->bytes + size));
    memcpy(block->code + block->bytes, qemu_plugin_insn_data(insn), size);
    block->bytes += size;
  }
  return *slot = block;
}

static int compare(const void *a, const void *b) {
  const uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
  return (left > right) - (left < right);
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb) {
  (void)id;
  struct block *block = record_of(tb);
  qemu_plugin_register_vcpu_tb_exec_inline(tb, ADD_U64, &block->executed, 1);
  qemu_plugin_register_vcpu_tb_exec_inline(tb, ADD_U64, &executed,
                                           block->instructions);
  struct qemu_plugin_insn *first = qemu_plugin_tb_get_insn(tb, 0);
  if (mark_address != 0 && block->address == mark_address) {
    qemu_plugin_register_vcpu_insn_exec_cb(first, marked, NO_REGS, NULL);
  }
  void *span = span_count == 0
                   ? NULL
                   : bsearch(&block->address, span_addresses, span_count,
                             sizeof *span_addresses, compare);
  if (span != NULL)
    qemu_plugin_register_vcpu_insn_exec_cb(first, span_entered, NO_REGS, span);
  for (size_t i = 0; caches_on && i < block->instructions; ++i) {
    struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
    qemu_plugin_register_vcpu_mem_cb(insn, accessed, NO_REGS, READS_AND_WRITES,
                                     NULL);
  }
}

static void read_spans(const char *path) {
  FILE *list = fopen(path, "r");
  uint64_t address;
  if (list == NULL)
    die("cannot read the list of spans");
  while (fscanf(list, "%" SCNx64, &address) == 1) {
    span_addresses = must(
        realloc(span_addresses, (span_count + 1) * sizeof *span_addresses));
    span_addresses[span_count++] = address;
  }
  fclose(list);
  qsort(span_addresses, span_count, sizeof *span_addresses, compare);
}

static void take_option(const char *option) {
  if (strncmp(option, "out=", 4) == 0) {
    out_path = strdup(option + 4);
  } else if (strncmp(option, "mark=", 5) == 0) {
    mark_address = strtoull(option + 5, NULL, 16);
  } else if (strncmp(option, "marks=", 6) == 0) {
    marks_wanted = (unsigned)strtoul(option + 6, NULL, 10);
  } else if (strncmp(option, "syscall=", 8) == 0) {
    mark_syscall = strtoll(option + 8, NULL, 10);
  } else if (strcmp(option, "caches=on") == 0) {
    caches_on = true;
  } else if (strncmp(option, "spans=", 6) == 0) {
    read_spans(option + 6);
  } else {
    die("unknown option");
  }
}

__attribute__((visibility("default"))) int
qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc,
                    char **argv) {
  (void)info;
  for (int i = 0; i < argc; ++i)
    take_option(argv[i]);
  if (out_path == NULL)
    die("expected out=FILE");
  if (marks_wanted > MAX_MARKS)
    die("too many marks");
  if (mark_syscall >= 0)
    qemu_plugin_register_vcpu_syscall_cb(id, called);
  qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
  qemu_plugin_register_atexit_cb(id, ended, NULL);
  return 0;
}
