/* Runs a model on a tensor of floats, by ONNX Runtime's C API:
 *
 *     run MODEL.ort INPUT.f32
 *
 * INPUT.f32 has the values of the model's first input as the processor keeps them. The values of
 * its first output go to standard output, one a line.
 */
#include <onnxruntime_c_api.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static const OrtApi* ort;

static void check(OrtStatus* status) {
  if (status == NULL) return;
  fprintf(stderr, "onnxruntime: %s\n", ort->GetErrorMessage(status));
  ort->ReleaseStatus(status);
  exit(1);
}

static float* read_floats(const char* path, size_t* count) {
  FILE* file = fopen(path, "rb");
  long bytes = -1;
  float* values = NULL;
  if (file != NULL && fseek(file, 0, SEEK_END) == 0) bytes = ftell(file);
  if (bytes > 0) values = malloc((size_t)bytes);
  if (values == NULL || fseek(file, 0, SEEK_SET) != 0 ||
      fread(values, 1, (size_t)bytes, file) != (size_t)bytes) {
    fprintf(stderr, "%s: not readable\n", path);
    exit(1);
  }
  fclose(file);
  *count = (size_t)bytes / sizeof(float);
  return values;
}

int main(int argc, char** argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: %s MODEL.ort INPUT.f32\n", argv[0]);
    return 2;
  }
  ort = OrtGetApiBase()->GetApi(ORT_API_VERSION);
  if (ort == NULL) {
    fprintf(stderr, "libonnxruntime is %s, older than the header\n",
            OrtGetApiBase()->GetVersionString());
    return 1;
  }

  OrtEnv* env;
  OrtSessionOptions* options;
  OrtSession* session;
  check(ort->CreateEnv(ORT_LOGGING_LEVEL_WARNING, "run", &env));
  check(ort->CreateSessionOptions(&options));
  check(ort->SetIntraOpNumThreads(options, 1));
  check(ort->CreateSession(env, argv[1], options, &session));

  /* The first input's name and shape, and the first output's name. */
  OrtAllocator* allocator;
  char *input_name, *output_name;
  OrtTypeInfo* type;
  const OrtTensorTypeAndShapeInfo* info;
  size_t rank;
  int64_t shape[8];
  check(ort->GetAllocatorWithDefaultOptions(&allocator));
  check(ort->SessionGetInputName(session, 0, allocator, &input_name));
  check(ort->SessionGetOutputName(session, 0, allocator, &output_name));
  check(ort->SessionGetInputTypeInfo(session, 0, &type));
  check(ort->CastTypeInfoToTensorInfo(type, &info));
  check(ort->GetDimensionsCount(info, &rank));
  if (rank > 8) rank = 8;
  check(ort->GetDimensions(info, shape, rank));
  ort->ReleaseTypeInfo(type);

  size_t count;
  float* values = read_floats(argv[2], &count);
  OrtMemoryInfo* memory;
  OrtValue *input, *output = NULL;
  check(ort->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory));
  check(ort->CreateTensorWithDataAsOrtValue(memory, values, count * sizeof(float), shape, rank,
                                            ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, &input));
  check(ort->Run(session, NULL, (const char* const*)&input_name, (const OrtValue* const*)&input, 1,
                 (const char* const*)&output_name, 1, &output));

  OrtTensorTypeAndShapeInfo* result;
  float* answers;
  check(ort->GetTensorTypeAndShape(output, &result));
  check(ort->GetTensorShapeElementCount(result, &count));
  check(ort->GetTensorMutableData(output, (void**)&answers));
  for (size_t i = 0; i < count; ++i) printf("%.7g\n", answers[i]);

  ort->ReleaseTensorTypeAndShapeInfo(result);
  ort->ReleaseValue(output);
  ort->ReleaseValue(input);
  ort->ReleaseMemoryInfo(memory);
  check(ort->AllocatorFree(allocator, input_name));
  check(ort->AllocatorFree(allocator, output_name));
  ort->ReleaseSession(session);
  ort->ReleaseSessionOptions(options);
  ort->ReleaseEnv(env);
  free(values);
  return 0;
}
