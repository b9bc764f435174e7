#pragma once

#include <string>
#include <vector>

#include "common/result.hpp"
#include "edge/card.hpp"
#include "edge/options.hpp"
#include "edge/preprocess.hpp"
#include "edge/session.hpp"
#include "edge/settings.hpp"

namespace edge {

/// A network with its card, ready to classify.
struct Engine {
  Settings settings;  // in force
  Card card;
  Session session;
  double load_ms;  // to map the model, read the card and make the session
};

/// What became of one image.
struct Classified {
  Input input;                        // what the network saw
  size_t index = 0;                   // of the class
  std::vector<double> probabilities;  // one for each label
  double inference_ms = 0;
};

/// Loads the network and the card that the release or the options name, and checks that they
/// belong together.
Result<Engine> open_engine(const Options& options);

/// Decodes, preprocesses and infers.
Result<Classified> classify(Engine& engine, const std::string& path);

/// Infers; `path` is that of the image, for messages.
Result<Classified> classify(Engine& engine, const std::string& path, Input input);

}  // namespace edge
