#pragma once

#include <memory>

#include "edge/apart.hpp"
#include "edge/engine.hpp"
#include "edge/options.hpp"
#include "edge/recorder.hpp"
#include "edge/serve_exchange.hpp"

namespace edge {

/// Loads what the options name, and proves that it is right about its first golden image.
std::unique_ptr<Result<Engine>> open_proven(const Options& options);

/// Infers what comes through the exchange, one job after the other.
class Worker {
 public:
  Worker(const Options& options, std::unique_ptr<Result<Engine>> engine, Exchange& exchange,
         Recorder& recorder)
      : options_(options), engine_(std::move(engine)), exchange_(exchange), recorder_(recorder) {}

  void run();  // until the exchange is closed and empty

 private:
  Result<Input> load(const Job& job, const std::string& name);
  std::unique_ptr<Apart> decode(const Job& job) const;
  void decode_ahead();
  Result<Inferred> infer_image(const Job& job, const std::string& name);
  void infer_job(JobPtr job);
  void answer_and_offer(JobPtr job, const Inferred& inferred);
  void answer(JobPtr job);
  Outcome reload(Job& job);

  const Options& options_;
  std::unique_ptr<Result<Engine>> engine_;
  Exchange& exchange_;
  Recorder& recorder_;
  std::unique_ptr<Apart> ahead_;  // of the job that is taken next
};

}  // namespace edge
