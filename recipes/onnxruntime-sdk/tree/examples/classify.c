/* Says what an image shows:  classify MODEL.ort CARD.json IMAGE
 *
 * libedge reads the image and understands the answer, ONNX Runtime runs the network between. The
 * answer goes to standard output as JSON.
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

int main(int argc, char** argv) {
  if (argc != 4) return fprintf(stderr, "usage: %s MODEL.ort CARD.json IMAGE\n", argv[0]), 2;
  if ((ort = OrtGetApiBase()->GetApi(ORT_API_VERSION)) == NULL) return EDGE_CODE_MODEL;
  edge_card* card;
  edge_image* image;
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

  const edge_tensor_info* in = edge_card_input(card, 0);
  const edge_tensor_info* out = edge_card_output(card, 0);
  float* values = malloc(in->count * sizeof(float));
  OrtValue *input, *output = NULL;
  edge_ok(edge_image_input(image, 0, values, in->count));
  run_ok(ort->CreateTensorWithDataAsOrtValue(memory, values, in->count * sizeof(float), in->shape,
                                             in->rank, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
                                             &input));
  run_ok(ort->Run(session, NULL, &in->name, (const OrtValue* const*)&input, 1, &out->name, 1,
                  &output));

  edge_tensor scores = {NULL, out->count, NULL, 0};
  edge_result* result;
  run_ok(ort->GetTensorMutableData(output, (void**)&scores.values));
  OrtTensorTypeAndShapeInfo* info;
  run_ok(ort->GetTensorTypeAndShape(output, &info));
  run_ok(ort->GetTensorShapeElementCount(info, &scores.count));
  ort->ReleaseTensorTypeAndShapeInfo(info);
  edge_ok(edge_image_set_outputs(image, 0, &scores, 1));
  edge_ok(edge_image_result(image, &result));
  puts(edge_result_json(result));

  edge_result_free(result);
  edge_image_free(image);
  edge_card_free(card);
  ort->ReleaseValue(output);
  ort->ReleaseValue(input);
  ort->ReleaseMemoryInfo(memory);
  ort->ReleaseSession(session);
  ort->ReleaseSessionOptions(options);
  ort->ReleaseEnv(env);
  free(values);
  return 0;
}
