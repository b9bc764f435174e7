#include "edge/serve_worker.hpp"

#include <utility>

#include "common/document.hpp"
#include "common/text.hpp"
#include "edge/apart.hpp"
#include "edge/commands.hpp"
#include "edge/golden.hpp"
#include "edge/serve_frame.hpp"

namespace edge {
namespace {

std::string request_name(const Job& job) {
  return format("request %u", job.request.id);
}

/// Appends the image that a job brought to an open file, as an ImageWriter does.
bool write_image(const Job& job, const Card& card, int file, size_t limit) {
  if (job.request.kind == EDGE_FRAME) {
    return write_frame(job.request, job.file.get(), card, file, limit);
  }
  if (job.request.kind == EDGE_FILE) return copy_file(job.file.get(), file, limit);
  return job.image.size <= limit && write_all(file, job.image.data.get(), job.image.size);
}

}  // namespace

std::unique_ptr<Result<Engine>> open_proven(const Options& options) {
  // Made where it stays: to move one is a kilobyte of program.
  std::unique_ptr<Result<Engine>> engine(new Result<Engine>(open_engine(options)));
  if (!*engine) return engine;
  std::optional<Error> error;
  if ((*engine)->card.task == TaskKind::tensor) {
    error = Error{Exit::card, "card_invalid", (*engine)->settings.card,
                  "is of a network that takes tensors, serve takes images",
                  "edge-infer watch takes tensors"};
  } else {
    error = first_golden_fault(**engine);
  }
  if (error) engine = std::make_unique<Result<Engine>>(std::move(*error));
  return engine;
}

void Worker::run() {
  while (JobPtr job = exchange_.take()) {
    if (job->request.kind == EDGE_RELOAD) {
      job->outcome = reload(*job);
      answer(std::move(job));
    } else if (job->connection != 0) {
      infer_job(std::move(job));
    } else {
      ahead_ = nullptr;  // nobody waits for it any more
      answer(std::move(job));
    }
  }
}

void Worker::answer(JobPtr job) {
  job->file = Descriptor();
  exchange_.answer(std::move(job));
}

std::unique_ptr<Apart> Worker::decode(const Job& job) const {
  const Card& card = (*engine_)->card;
  const ImageLimits& limits = (*engine_)->settings.limits;
  const std::string name = request_name(job);
  const auto decoder = [name, &job, &card,
                        limits](std::shared_ptr<uint8_t> memory) -> Result<Input> {
    Encoded picture{name, job.image.data.get(), job.image.size, limits};
    if (job.request.kind == EDGE_FILE) {
      picture.file = job.file.get();
      const auto size = checked_size(picture.file, name, image_faults(limits));
      if (!size) return size.error();
      picture.size = *size;
    }
    return decode_input(picture, card, std::move(memory));
  };
  return std::make_unique<Apart>(name, decoder, card, limits, job.file.get());
}

/// The image behind the one that is at hand is decoded while the network runs for that.
void Worker::decode_ahead() {
  // A frame in tiles is held while its network runs: two of them are more than memory has.
  if ((*engine_)->card.tiling) return;
  const Job* next = exchange_.next();
  const bool is_image =
      next != nullptr && (next->request.kind == EDGE_IMAGE || next->request.kind == EDGE_FILE);
  if (is_image) ahead_ = decode(*next);
}

Result<Input> Worker::load(const Job& job, const std::string& name) {
  const Engine& engine = **engine_;
  if (job.request.kind == EDGE_FRAME) {
    return load_frame(job.request, job.file.get(), name, engine.card, engine.settings.limits);
  }
  const auto decoding = ahead_ ? std::move(ahead_) : decode(job);
  return decoding->finish([&] { exchange_.moved(); });
}

Result<Inferred> Worker::infer_image(const Job& job, const std::string& name) {
  auto input = load(job, name);
  exchange_.moved();
  if (!input) return input.error();
  decode_ahead();
  return infer(**engine_, name, std::move(*input), [&] { exchange_.moved(); });
}

void Worker::infer_job(JobPtr job) {
  const auto result = infer_image(*job, request_name(*job));
  if (!result) {
    job->outcome = failed(options_.command, result.error());
    return answer(std::move(job));
  }
  job->inference_ms = result->inference_ms;
  const Card& card = (*engine_)->card;
  recorder_.add(*result, card, format("%u", job->request.id),
                [&](int file, size_t limit) { return write_image(*job, card, file, limit); });
  recorder_.histograms.save_in_time();
  Document document(options_.command);
  document.top().set("model", card.name);
  set_result(document.top(), *result, card);
  job->outcome = {Exit::done, document.text(), ""};
  answer_and_offer(std::move(job), *result);
}

/// A client may change its frame or its file once it is answered, so that is copied before. An
/// image that it sent is ours: its answer goes first.
void Worker::answer_and_offer(JobPtr job, const Inferred& inferred) {
  const Card& card = (*engine_)->card;
  const auto offer = [&](const Job& from) {
    recorder_.shadow.offer(inferred.answer, card, [&](int file, size_t limit) {
      return write_image(from, card, file, limit);
    });
  };
  if (job->request.kind != EDGE_IMAGE) {
    offer(*job);
    return answer(std::move(job));
  }
  Job sent;
  sent.request = job->request;
  // The job's size stays: by it the other thread counts the image as gone.
  sent.image = {std::move(job->image.data), job->image.size};
  answer(std::move(job));
  offer(sent);
}

/// The former network is served until the new one is proven.
Outcome Worker::reload(Job& job) {
  auto opened = open_proven(options_);
  if (!*opened) return failed(options_.command, opened->error());
  job.former = std::exchange(engine_, std::move(opened));
  job.served = &**engine_;
  return {Exit::done, "", "reload: serves " + printable((*engine_)->card.name) + "\n"};
}

}  // namespace edge
