#pragma once

#include <memory>

#include "edge/engine.hpp"
#include "edge/histograms.hpp"
#include "edge/options.hpp"
#include "edge/serve_exchange.hpp"

namespace edge {

/// The input of a frame in a client's memory, which must be sealed against shrinking: where pages
/// go while they are read the process ends by SIGBUS.
Result<Input> load_frame(const edge_request& frame, int memory, const std::string& name,
                         const Card& card, const ImageLimits& limits);

/// Loads what the options name, and proves that it is right about its first golden image.
std::unique_ptr<Result<Engine>> open_proven(const Options& options);

/// Infers what comes through the exchange, one job after the other.
class Worker {
 public:
  Worker(const Options& options, std::unique_ptr<Result<Engine>> engine, Exchange& exchange,
         Histograms& histograms)
      : options_(options),
        engine_(std::move(engine)),
        exchange_(exchange),
        histograms_(histograms) {}

  void run();  // until the exchange is closed and empty

 private:
  Result<Input> load(const Job& job, const std::string& name);
  Result<Inferred> infer_image(const Job& job, const std::string& name);
  Outcome infer_job(Job& job);
  Outcome reload(Job& job);

  const Options& options_;
  std::unique_ptr<Result<Engine>> engine_;
  Exchange& exchange_;
  Histograms& histograms_;
};

}  // namespace edge
