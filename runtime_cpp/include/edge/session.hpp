#pragma once

#include <onnxruntime_c_api.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/result.hpp"
#include "edge/card.hpp"
#include "edge/file.hpp"
#include "edge/tensor.hpp"

namespace edge {

/// What the runtime says of one input or output.
struct TensorInfo {
  std::string name;
  std::string type;            // "float", or "other": edge-infer feeds and reads nothing else
  std::vector<int64_t> shape;  // -1 where it is not fixed
};

struct SessionOptions {
  int threads = 1;                     // of the runtime, the caller's included
  std::vector<std::string> providers;  // execution providers, in the order in which they are asked
  bool debug = false;                  // let the runtime's log through
  std::string operator_times;          // what the name of that file begins with; empty: none
};

struct OrtDeleter {
  void operator()(OrtEnv* env) const;
  void operator()(OrtSessionOptions* options) const;
  void operator()(OrtSession* session) const;
  void operator()(OrtMemoryInfo* info) const;
  void operator()(OrtTypeInfo* info) const;
  void operator()(OrtValue* value) const;
};
template <class T>
using OrtPtr = std::unique_ptr<T, OrtDeleter>;

/// Maps a model file and checks what its size and first bytes tell.
Result<MappedFile> map_model(const std::string& path, Pages pages);

/// A network that is loaded and ready. The model file stays mapped: weights are used in place.
class Session {
 public:
  static Result<Session> open(const std::string& path, MappedFile file,
                              const SessionOptions& options);

  const std::string& path() const { return path_; }
  size_t bytes() const { return file_.size(); }  // of the model file
  const std::vector<TensorInfo>& inputs() const { return inputs_; }
  const std::vector<TensorInfo>& outputs() const { return outputs_; }

  /// One inference. `values` are those of the card's inputs, one after the other; returns the
  /// card's outputs in its order.
  Result<std::vector<Tensor>> run(std::vector<float>& values, const Card& card);

 private:
  Session(std::string path, MappedFile file) : path_(std::move(path)), file_(std::move(file)) {}
  std::optional<Error> load(const SessionOptions& options);

  std::string path_;
  MappedFile file_;  // outlives session_, which points into it
  OrtPtr<OrtEnv> env_;
  OrtPtr<OrtSession> session_;
  OrtPtr<OrtMemoryInfo> memory_;
  std::vector<TensorInfo> inputs_;
  std::vector<TensorInfo> outputs_;
};

/// Nothing if inputs and outputs are as the card says.
std::optional<Error> mismatch(const Session& session, const Card& card);

/// Nothing if the file's size is as the card says, or the card belongs to a file of another name.
std::optional<Error> file_mismatch(const std::string& path, size_t bytes, const Card& card);

/// Version and build flags of the runtime.
std::string runtime_version();
std::string runtime_build();

}  // namespace edge
