#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/result.hpp"
#include "edge/card.hpp"
#include "edge/options.hpp"
#include "edge/pacer.hpp"
#include "edge/preprocess.hpp"
#include "edge/session.hpp"
#include "edge/settings.hpp"
#include "edge/task.hpp"

namespace edge {

/// A network with its card, ready to infer.
struct Engine {
  Settings settings;  // in force
  Card card;
  Session session;
  double load_ms;                // to map the model, read the card and make the session
  std::unique_ptr<Pacer> pacer;  // none: as fast as the board can
};

/// What became of one image, or of the tensors in its place.
struct Inferred {
  Input input;                  // what the network saw; of tiles, the one in the middle
  std::vector<Tensor> outputs;  // in the card's order; likewise
  Answer answer;                // what the task makes of them
  double inference_ms = 0;
  double paced_ms = 0;        // waited before it, so that the board stays cool enough
  double postprocess_ms = 0;  // from outputs to the answer
};

/// Loads the network and the card that the release or the options name, and checks that they
/// belong together.
Result<Engine> open_engine(const Options& options);

/// One run of the network at the board's pace: what it took is added to `inference_ms`, what was
/// waited before it to `paced_ms`. `beat` is called about once a second of waiting.
Result<std::vector<Tensor>> run_network(Engine& engine, std::vector<float>& values,
                                        double& inference_ms, double& paced_ms,
                                        const std::function<void()>& beat);

/// Decodes, preprocesses and infers. `path` names an image, or the files of tensors (edge/npy.hpp).
Result<Inferred> infer(Engine& engine, const std::string& path);

/// Infers; `path` is that of the image, for messages. `beat` is called before each tile.
Result<Inferred> infer(Engine& engine, const std::string& path, Input input,
                       const std::function<void()>& beat);

}  // namespace edge
