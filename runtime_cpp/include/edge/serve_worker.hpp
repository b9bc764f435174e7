#pragma once

#include <memory>

#include "edge/engine.hpp"
#include "edge/options.hpp"
#include "edge/serve_exchange.hpp"

namespace edge {

/// The input of a frame in a client's memory, which must be sealed against shrinking: where pages
/// go while they are read the process ends by SIGBUS.
Result<Input> load_frame(const edge_request& frame, int memory, const std::string& name,
                         const Card& card, const ImageLimits& limits);

/// Infers what comes through the exchange, one job after the other.
class Worker {
 public:
  Worker(const Options& options, std::unique_ptr<Engine> engine, Exchange& exchange)
      : options_(options), engine_(std::move(engine)), exchange_(exchange) {}

  void run();  // until the exchange is closed and empty

 private:
  Result<Input> load(const Job& job, const std::string& name);
  void infer_job(const Job& job, Reply& reply);
  void reload(Reply& reply);

  const Options& options_;
  std::unique_ptr<Engine> engine_;
  Exchange& exchange_;
};

/// Of a card whose network takes no image.
std::optional<Error> task_fault(const Engine& engine);

/// The document of an answer that is no result.
std::string error_document(const Error& error);

}  // namespace edge
