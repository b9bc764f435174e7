#include "edge/session.hpp"

#include <onnxruntime_session_options_config_keys.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "common/text.hpp"
#include "edge/about.hpp"
#include "edge/crash_guard.hpp"

namespace edge {
namespace {

constexpr size_t max_model_bytes = 1u << 30;
constexpr size_t min_model_bytes = 64;  // less is no model, whatever its first bytes say
constexpr FileFaults faults{Exit::model, "model_missing", "model_too_large", max_model_bytes};

/// Null when the runtime is older than the header this was compiled with.
const OrtApi* api() {
  return OrtGetApiBase()->GetApi(ORT_API_VERSION);
}

Error model_error(const std::string& path, const char* code, const std::string& problem) {
  return {Exit::model, code, path, problem, "use the model and the edge-infer of one release"};
}

/// A status that is no success.
struct Fault {
  OrtErrorCode code;
  std::string words;
};

/// Runtime calls in a row, `call(function, arguments…)(function, arguments…)`. The first fault is
/// kept and the calls after it are skipped.
class Calls {
 public:
  template <class Function, class... Arguments>
  Calls& operator()(Function function, Arguments... arguments) {
    if (!fault_) keep(function(arguments...));
    return *this;
  }
  const std::optional<Fault>& fault() const { return fault_; }

 private:
  void keep(OrtStatus* status) {
    if (status == nullptr) return;
    fault_ = Fault{api()->GetErrorCode(status), api()->GetErrorMessage(status)};
    api()->ReleaseStatus(status);
  }

  std::optional<Fault> fault_;
};

void log(void*, OrtLoggingLevel, const char*, const char*, const char* where, const char* text) {
  std::fprintf(stderr, "onnxruntime: %s (%s)\n", text, where);
}

bool is_ort_format(const MappedFile& file) {
  return std::memcmp(file.data() + 4, "ORTM", 4) == 0;
}

/// A serialised ModelProto starts with field 1, the IR version, a small number.
bool may_be_onnx(const MappedFile& file) {
  return file.data()[0] == 0x08 && file.data()[1] < 0x20;
}

Error refused(const std::string& path, const Fault& fault) {
  const bool unsupported = fault.code == ORT_NOT_IMPLEMENTED;
  return model_error(path, unsupported ? "model_unsupported" : "model_refused",
                     "the runtime refuses it: " + fault.words);
}

/// What the first bytes tell before the runtime sees the file.
std::optional<Error> check_format(const std::string& path, const MappedFile& file) {
  if (file.size() < min_model_bytes) {
    return model_error(path, "model_corrupt", format("is truncated (%zu bytes)", file.size()));
  }
  if (is_ort_format(file)) return std::nullopt;
  if (!may_be_onnx(file)) {
    return model_error(path, "model_corrupt", "is not an ORT or ONNX model");
  }
  if (operator_lines() == nullptr) return std::nullopt;
  return Error{Exit::model, "model_unsupported", path,
               "is an ONNX file, this minimal runtime reads ORT files only",
               "give the model.ort that was converted from it"};
}

/// The runtime adds the CPU's provider by itself, last. XNNPACK has threads of its own.
void add_providers(Calls& call, OrtSessionOptions* options, const SessionOptions& wanted) {
  const std::string count = format("%d", wanted.threads);
  const char* key = "intra_op_num_threads";
  const char* value = count.c_str();
  for (const std::string& name : wanted.providers) {
    if (name != "xnnpack") continue;
    call(api()->SessionOptionsAppendExecutionProvider, options, "XNNPACK", &key, &value, size_t{1});
  }
}

void configure(Calls& call, OrtSessionOptions* options, const SessionOptions& wanted) {
  call(api()->SetIntraOpNumThreads, options, wanted.threads);
  call(api()->SetInterOpNumThreads, options, 1);
  call(api()->DisableCpuMemArena, options);  // measured: as fast, and 1 MB less at the peak
  const auto set = [&](const char* key, const char* value) {
    call(api()->AddSessionConfigEntry, options, key, value);
  };
  set(kOrtSessionOptionsConfigAllowIntraOpSpinning, "0");  // heat, for nothing between images
  // Without it u8*s8 saturates on x86 that lacks VNNI; ARM is exact.
  set(kOrtSessionOptionsAvx2PrecisionMode, "1");
  set(kOrtSessionOptionsConfigUseORTModelBytesDirectly, "1");
  set(kOrtSessionOptionsConfigUseORTModelBytesForInitializers, "1");
  add_providers(call, options, wanted);
  // Written when the session ends.
  if (!wanted.operator_times.empty())
    call(api()->EnableProfiling, options, wanted.operator_times.c_str());
}

TensorInfo describe(const char* name, const OrtTypeInfo* info) {
  TensorInfo tensor{name, "other", {}};
  const OrtTensorTypeAndShapeInfo* shape = nullptr;
  ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
  size_t rank = 0;
  Calls call;
  call(api()->CastTypeInfoToTensorInfo, info, &shape);
  if (shape == nullptr) return tensor;
  call(api()->GetTensorElementType, shape, &type)(api()->GetDimensionsCount, shape, &rank);
  tensor.shape.resize(rank);
  call(api()->GetDimensions, shape, tensor.shape.data(), rank);
  if (type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT) tensor.type = "float";
  return tensor;
}

/// The functions that read one side, inputs or outputs, of a session.
struct Side {
  decltype(OrtApi::SessionGetInputCount) count;
  decltype(OrtApi::SessionGetInputName) name;
  decltype(OrtApi::SessionGetInputTypeInfo) type;
};

Side input_side() {
  return {api()->SessionGetInputCount, api()->SessionGetInputName, api()->SessionGetInputTypeInfo};
}

Side output_side() {
  return {api()->SessionGetOutputCount, api()->SessionGetOutputName,
          api()->SessionGetOutputTypeInfo};
}

void describe_all(Calls& call, OrtSession* session, const Side& side,
                  std::vector<TensorInfo>& tensors) {
  OrtAllocator* allocator = nullptr;
  size_t count = 0;
  call(api()->GetAllocatorWithDefaultOptions, &allocator)(side.count, session, &count);
  for (size_t i = 0; i < count && !call.fault(); ++i) {
    char* name = nullptr;
    OrtTypeInfo* type = nullptr;
    call(side.name, session, i, allocator, &name)(side.type, session, i, &type);
    const OrtPtr<OrtTypeInfo> owned(type);
    if (!call.fault()) tensors.push_back(describe(name, type));
    if (name != nullptr) call(api()->AllocatorFree, allocator, name);
  }
}

/// An output that the runtime allocated.
void copy_out(Calls& call, OrtValue* value, Tensor& tensor) {
  OrtTensorTypeAndShapeInfo* info = nullptr;
  size_t rank = 0;
  float* data = nullptr;
  call(api()->GetTensorTypeAndShape, value, &info)(api()->GetDimensionsCount, info, &rank);
  tensor.shape.resize(rank);
  call(api()->GetDimensions, info, tensor.shape.data(), rank);
  call(api()->GetTensorMutableData, value, reinterpret_cast<void**>(&data));
  if (info != nullptr) api()->ReleaseTensorTypeAndShapeInfo(info);
  if (!call.fault()) tensor.values.assign(data, data + count_values(tensor.shape));
}

bool fits(const TensorInfo& tensor, const TensorCard& card) {
  return tensor.name == card.name && tensor.type == "float" && tensor.shape == card.shape;
}

std::string words_for(const std::string& name, const std::vector<int64_t>& shape) {
  std::string text = name + " float [";
  for (const int64_t size : shape) text += format("%lld, ", static_cast<long long>(size));
  if (!shape.empty()) text.resize(text.size() - 2);
  return text + "]";
}

std::string words_for(const std::vector<TensorInfo>& tensors) {
  std::string text;
  for (const TensorInfo& tensor : tensors) {
    text += (text.empty() ? "" : ", ") + words_for(tensor.name, tensor.shape);
    if (tensor.type != "float") text += " (not float)";
  }
  return text.empty() ? "none" : text;
}

std::optional<Error> compare(const Session& session, const char* kind,
                             const std::vector<TensorInfo>& network,
                             const std::vector<TensorCard>& card) {
  bool same = network.size() == card.size();
  std::string expected;
  for (const TensorCard& tensor : card) {
    same = same && std::any_of(network.begin(), network.end(),
                               [&](const TensorInfo& info) { return fits(info, tensor); });
    expected += (expected.empty() ? "" : ", ") + words_for(tensor.name, tensor.shape);
  }
  if (same) return std::nullopt;
  return model_error(session.path(), "model_mismatch",
                     format("is not the card's model: %s differs\n  expected: ", kind) + expected +
                         "\n  found: " + words_for(network));
}

}  // namespace

void OrtDeleter::operator()(OrtEnv* env) const {
  api()->ReleaseEnv(env);
}
void OrtDeleter::operator()(OrtSessionOptions* options) const {
  api()->ReleaseSessionOptions(options);
}
void OrtDeleter::operator()(OrtSession* session) const {
  api()->ReleaseSession(session);
}
void OrtDeleter::operator()(OrtMemoryInfo* info) const {
  api()->ReleaseMemoryInfo(info);
}
void OrtDeleter::operator()(OrtTypeInfo* info) const {
  api()->ReleaseTypeInfo(info);
}
void OrtDeleter::operator()(OrtValue* value) const {
  api()->ReleaseValue(value);
}

Result<MappedFile> map_model(const std::string& path, Pages pages) {
  auto file = MappedFile::open(path, faults, pages);
  if (!file) return file;
  if (auto error = check_format(path, *file)) return *error;
  return file;
}

Result<Session> Session::open(const std::string& path, MappedFile file,
                              const SessionOptions& options) {
  if (api() == nullptr) {
    return model_error(path, "runtime_too_old", "needs a newer runtime than " + runtime_version());
  }
  const Blame blame(model_error(path, "model_crashed", "the runtime crashed while loading it"));
  Session session(path, std::move(file));
  if (auto error = session.load(options)) return *error;
  return session;
}

std::optional<Error> Session::load(const SessionOptions& options) {
  OrtEnv* env = nullptr;
  OrtSessionOptions* settings = nullptr;
  OrtMemoryInfo* memory = nullptr;
  OrtSession* session = nullptr;
  const auto level = options.debug ? ORT_LOGGING_LEVEL_INFO : ORT_LOGGING_LEVEL_FATAL;
  Calls call;
  call(api()->CreateEnvWithCustomLogger, log, nullptr, level, "edge-infer", &env);
  env_.reset(env);
  call(api()->CreateSessionOptions, &settings);
  const OrtPtr<OrtSessionOptions> owned(settings);
  configure(call, settings, options);
  call(api()->CreateCpuMemoryInfo, OrtDeviceAllocator, OrtMemTypeDefault, &memory);
  memory_.reset(memory);
  call(api()->CreateSessionFromArray, env, file_.data(), file_.size(), settings, &session);
  session_.reset(session);
  // The graph is read no more, nor are weights that the runtime packs itself. Those that lie packed
  // in the file come back from the page cache when they are used.
  file_.forget_pages();
  describe_all(call, session, input_side(), inputs_);
  describe_all(call, session, output_side(), outputs_);
  if (call.fault()) return refused(path_, *call.fault());
  return std::nullopt;
}

Result<std::vector<Tensor>> Session::run(std::vector<float>& values, const Card& card) {
  const Blame blame(model_error(path_, "model_crashed", "the runtime crashed while running it"));
  Calls call;
  std::vector<const char*> input_names, output_names;
  std::vector<OrtPtr<OrtValue>> owned;
  std::vector<OrtValue*> inputs, results;
  std::vector<Tensor> outputs;
  const auto wrap = [&](const std::vector<int64_t>& shape, float* data) {
    OrtValue* value = nullptr;
    const size_t bytes = count_values(shape) * sizeof(float);
    call(api()->CreateTensorWithDataAsOrtValue, memory_.get(), data, bytes, shape.data(),
         shape.size(), ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, &value);
    owned.emplace_back(value);
    return value;
  };
  float* data = values.data();
  for (const TensorCard& input : card.inputs) {
    input_names.push_back(input.name.c_str());
    inputs.push_back(wrap(input.shape, data));
    data += count_values(input.shape);
  }
  for (const TensorCard& output : card.outputs) {
    output_names.push_back(output.name.c_str());
    outputs.push_back({output.shape, std::vector<float>(count_values(output.shape))});
    // The runtime allocates what has an open size.
    Tensor& tensor = outputs.back();
    results.push_back(tensor.values.empty() ? nullptr : wrap(tensor.shape, tensor.values.data()));
  }
  call(api()->Run, session_.get(), nullptr, input_names.data(), inputs.data(), inputs.size(),
       output_names.data(), output_names.size(), results.data());
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (!outputs[i].values.empty() || results[i] == nullptr) continue;
    owned.emplace_back(results[i]);
    copy_out(call, results[i], outputs[i]);
  }
  if (call.fault()) return refused(path_, *call.fault());
  return outputs;
}

std::optional<Error> mismatch(const Session& session, const Card& card) {
  if (auto error = compare(session, "the input", session.inputs(), card.inputs)) return error;
  return compare(session, "the output", session.outputs(), card.outputs);
}

std::optional<Error> file_mismatch(const std::string& path, size_t bytes, const Card& card) {
  if (name_of(path) != card.file_name || bytes == card.file_bytes) return std::nullopt;
  const char* problem = bytes < card.file_bytes ? "is truncated" : "is not the card's model";
  const char* code = bytes < card.file_bytes ? "model_truncated" : "model_mismatch";
  return model_error(path, code,
                     format("%s\n  expected: %llu bytes\n  found: %zu bytes", problem,
                            static_cast<unsigned long long>(card.file_bytes), bytes));
}

std::string runtime_version() {
  return OrtGetApiBase()->GetVersionString();
}

std::string runtime_build() {
  return api() != nullptr ? api()->GetBuildInfoString() : "";
}

}  // namespace edge
