/* Says what an image shows:  classify MODEL.ort CARD.json IMAGE
 *
 * libedge reads the image and understands the answer, ONNX Runtime runs the network between. The
 * answer goes to standard output as JSON. All of it lives until the process ends; a program that
 * goes on hands back what it no longer needs, by edge_…_free and ort->Release….
 */
#include <edge/edge.h>
#include <onnxruntime_c_api.h>
#include <stdio.h>
#include <stdlib.h>

static const OrtApi* ort;

static void run_ok(OrtStatus* status) {
  if (status == NULL) return;
  fprintf(stderr, "onnxruntime: %s\n", ort->GetErrorMessage(status));
  exit(EDGE_CODE_MODEL);
}

static void edge_ok(edge_error* error) {
  if (error == NULL) return;
  fprintf(stderr, "%s\nnext: %s\n", edge_error_message(error), edge_error_next(error));
  exit(edge_error_code(error));
}

/* The network's input or output, in memory of ours. */
static OrtValue* tensor_of(const edge_tensor_info* info, float* values, OrtMemoryInfo* memory) {
  OrtValue* tensor;
  run_ok(ort->CreateTensorWithDataAsOrtValue(memory, values, info->count * sizeof(float),
                                             info->shape, info->rank,
                                             ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, &tensor));
  return tensor;
}

int main(int argc, char** argv) {
  if (argc != 4) return fprintf(stderr, "usage: %s MODEL.ort CARD.json IMAGE\n", argv[0]), 2;
  if ((ort = OrtGetApiBase()->GetApi(ORT_API_VERSION)) == NULL) return EDGE_CODE_MODEL;
  edge_card* card;
  edge_image* image;
  edge_result* result;
  edge_ok(edge_card_read(argv[2], &card));
  edge_ok(edge_image_read(card, argv[3], NULL, &image));

  OrtEnv* env;
  OrtSessionOptions* options;
  OrtSession* session;
  OrtMemoryInfo* memory;
  run_ok(ort->CreateEnv(ORT_LOGGING_LEVEL_WARNING, "classify", &env));
  run_ok(ort->CreateSessionOptions(&options));
  run_ok(ort->SetIntraOpNumThreads(options, 1));
  run_ok(ort->CreateSession(env, argv[1], options, &session));
  run_ok(ort->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory));

  const edge_tensor_info *in = edge_card_input(card, 0), *out = edge_card_output(card, 0);
  float *pixels = calloc(in->count, sizeof(float)), *scores = calloc(out->count, sizeof(float));
  const OrtValue* input = tensor_of(in, pixels, memory);
  OrtValue* output = tensor_of(out, scores, memory);
  edge_ok(edge_image_input(image, 0, pixels, in->count));
  run_ok(ort->Run(session, NULL, &in->name, &input, 1, &out->name, 1, &output));

  const edge_tensor values = {scores, out->count, NULL, 0};
  edge_ok(edge_image_set_outputs(image, 0, &values, 1));
  edge_ok(edge_image_result(image, &result));
  return puts(edge_result_json(result)) < 0;
}
