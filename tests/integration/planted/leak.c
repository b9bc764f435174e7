/* Loaded before a runtime, it keeps 1 KiB of each inference: half of it from the thread that
 * infers, half of it from a thread of its own, which lies in another arena. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <onnxruntime_c_api.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static OrtApi leaking;
static const OrtApi* real;

static void* keep(void* unused) {
  (void)unused;
  memset(malloc(512), 1, 512);
  return NULL;
}

static OrtStatusPtr ORT_API_CALL run(OrtSession* session, const OrtRunOptions* options,
                                     const char* const* input_names,
                                     const OrtValue* const* inputs, size_t input_count,
                                     const char* const* output_names, size_t output_count,
                                     OrtValue** outputs) {
  pthread_t thread;
  keep(NULL);
  if (pthread_create(&thread, NULL, keep, NULL) == 0) pthread_join(thread, NULL);
  return real->Run(session, options, input_names, inputs, input_count, output_names, output_count,
                   outputs);
}

static const OrtApi* ORT_API_CALL get_api(uint32_t version) {
  const OrtApiBase* (*base)(void) = (const OrtApiBase* (*)(void))dlsym(RTLD_NEXT, "OrtGetApiBase");
  real = base()->GetApi(version);
  leaking = *real;
  leaking.Run = run;
  return &leaking;
}

const OrtApiBase* ORT_API_CALL OrtGetApiBase(void) {
  static OrtApiBase own;
  const OrtApiBase* (*base)(void) = (const OrtApiBase* (*)(void))dlsym(RTLD_NEXT, "OrtGetApiBase");
  own = (OrtApiBase){get_api, base()->GetVersionString};
  return &own;
}
