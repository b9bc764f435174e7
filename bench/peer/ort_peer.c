/* One model through any ONNX Runtime: what `edge-infer bench` is compared with.
 *
 * ort_peer LIBRARY MODEL INPUT SHAPE PROVIDER RUNS
 *
 * INPUT holds float values of SHAPE (1x3x256x256). One thread. PROVIDER is
 * XNNPACK or CPU, which runs what another one cannot. Prints the outputs of the
 * last run, one a line, then the peak of resident memory in KiB. `edge_mark` is
 * called before each run. With 0 RUNS it prints how many nodes PROVIDER takes.
 */
#include <dlfcn.h>
#include <onnxruntime_c_api.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

__attribute__((noinline)) void edge_mark(void) { __asm__ volatile(""); }

static const OrtApi *ort;

static void die(const char *what) {
  fprintf(stderr, "ort_peer: %s\n", what);
  exit(1);
}

static void check(OrtStatus *status) {
  if (status != NULL)
    die(ort->GetErrorMessage(status));
}

static void open_runtime(const char *path) {
  void *library = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
  if (library == NULL)
    die(dlerror());
  const OrtApiBase *(*base)(void);
  *(void **)&base = dlsym(library, "OrtGetApiBase");
  if (base == NULL)
    die("no OrtGetApiBase in the library");
  ort = base()->GetApi(ORT_API_VERSION);
  if (ort == NULL)
    die("the library is older than its header");
}

static size_t parse_shape(const char *text, int64_t *shape, size_t *rank) {
  size_t values = 1;
  for (*rank = 0; *text != '\0' && *rank < 8; ++*rank) {
    char *end;
    shape[*rank] = strtoll(text, &end, 10);
    values *= (size_t)shape[*rank];
    text = *end == 'x' ? end + 1 : end;
  }
  return values;
}

static float *read_values(const char *path, size_t count) {
  float *values = malloc(count * sizeof *values);
  FILE *file = fopen(path, "rb");
  if (file == NULL || values == NULL ||
      fread(values, sizeof *values, count, file) != count) {
    die("cannot read the input");
  }
  fclose(file);
  return values;
}

/* Prints the number in "… [XnnpackExecutionProvider]. Number of nodes: 35",
 * which ONNX Runtime logs where it logs everything. */
static void print_nodes(void *provider, OrtLoggingLevel level,
                        const char *category, const char *id, const char *where,
                        const char *text) {
  const char *placed = strstr(text, "placed on ["),
             *nodes = strstr(text, "Number of nodes: ");
  (void)level, (void)category, (void)id, (void)where;
  if (placed == NULL || nodes == NULL)
    return;
  const int of_cpu = strstr(placed, "[CPUExecutionProvider]") != NULL;
  if (of_cpu == (strcmp(provider, "CPU") == 0))
    printf("%ld\n", strtol(nodes + 17, NULL, 10));
}

static OrtSession *open_session(const char *model, char *provider,
                                int tell_nodes) {
  OrtEnv *env;
  OrtSessionOptions *options;
  OrtSession *session;
  const OrtLoggingLevel level =
      tell_nodes ? ORT_LOGGING_LEVEL_VERBOSE : ORT_LOGGING_LEVEL_ERROR;
  if (tell_nodes) {
    check(ort->CreateEnvWithCustomLogger(print_nodes, provider, level, "peer",
                                         &env));
  } else {
    check(ort->CreateEnv(level, "peer", &env));
  }
  check(ort->CreateSessionOptions(&options));
  check(ort->SetIntraOpNumThreads(options, 1));
  if (strcmp(provider, "CPU") != 0) {
    check(ort->SessionOptionsAppendExecutionProvider(options, provider, NULL,
                                                     NULL, 0));
  }
  check(ort->CreateSession(env, model, options, &session));
  return session;
}

static OrtValue *tensor_of(float *values, size_t count, const int64_t *shape,
                           size_t rank) {
  OrtMemoryInfo *memory;
  OrtValue *tensor;
  check(
      ort->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory));
  check(ort->CreateTensorWithDataAsOrtValue(
      memory, values, count * sizeof *values, shape, rank,
      ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, &tensor));
  return tensor;
}

static void print_outputs(OrtValue *output) {
  OrtTensorTypeAndShapeInfo *info;
  size_t count;
  float *values;
  check(ort->GetTensorTypeAndShape(output, &info));
  check(ort->GetTensorShapeElementCount(info, &count));
  check(ort->GetTensorMutableData(output, (void **)&values));
  for (size_t i = 0; i < count; ++i)
    printf("%.9g\n", (double)values[i]);
}

static void print_peak(void) {
  FILE *status = fopen("/proc/self/status", "r");
  char line[256];
  while (status != NULL && fgets(line, sizeof line, status) != NULL) {
    if (strncmp(line, "VmHWM:", 6) == 0)
      printf("%ld\n", strtol(line + 6, NULL, 10));
  }
}

int main(int argc, char **argv) {
  if (argc != 7)
    die("expected LIBRARY MODEL INPUT SHAPE PROVIDER RUNS");
  open_runtime(argv[1]);
  int64_t shape[8];
  size_t rank;
  const size_t count = parse_shape(argv[4], shape, &rank);
  const int runs = atoi(argv[6]);
  OrtSession *session = open_session(argv[2], argv[5], runs == 0);
  if (runs == 0)
    return 0;
  OrtValue *input = tensor_of(read_values(argv[3], count), count, shape, rank),
           *output = NULL;
  OrtAllocator *allocator;
  char *in, *out;
  check(ort->GetAllocatorWithDefaultOptions(&allocator));
  check(ort->SessionGetInputName(session, 0, allocator, &in));
  check(ort->SessionGetOutputName(session, 0, allocator, &out));
  for (int run = runs; run > 0; --run) {
    if (output != NULL)
      ort->ReleaseValue(output);
    output = NULL;
    edge_mark();
    check(ort->Run(session, NULL, (const char *const *)&in,
                   (const OrtValue *const *)&input, 1,
                   (const char *const *)&out, 1, &output));
  }
  print_outputs(output);
  print_peak();
  return 0;
}
