// The runtime answers with its version, and refuses what is not a model with a status.
#include <cstdio>
#include <cstring>

#include "onnxruntime_c_api.h"

int main() {
  const OrtApiBase* base = OrtGetApiBase();
  const OrtApi* api = base->GetApi(ORT_API_VERSION);
  if (api == nullptr) {
    return 1;
  }
  OrtEnv* env = nullptr;
  OrtSessionOptions* options = nullptr;
  if (api->CreateEnv(ORT_LOGGING_LEVEL_FATAL, "test", &env) != nullptr ||
      api->CreateSessionOptions(&options) != nullptr) {
    return 1;
  }
  const char garbage[64] = "not a model";
  OrtSession* session = nullptr;
  OrtStatus* refused =
      api->CreateSessionFromArray(env, garbage, sizeof garbage, options, &session);
  if (refused == nullptr) {
    return 1;
  }
  std::printf("onnxruntime %s refuses garbage: %s\n", base->GetVersionString(),
              api->GetErrorMessage(refused));
  return std::strcmp(base->GetVersionString(), "1.21.0") == 0 ? 0 : 1;
}
