#include "edge/serve_worker.hpp"

#include <sys/mman.h>
#include <sys/stat.h>

#include <ctime>
#include <utility>
#include <vector>

#include "common/document.hpp"
#include "common/text.hpp"
#include "edge/apart.hpp"
#include "edge/commands.hpp"
#include "edge/golden.hpp"

namespace edge {
namespace {

size_t channels_of(const edge_request& frame) {
  return frame.format == EDGE_GRAY ? 1 : 3;
}

/// Where the frame ends in its memory, bytes.
uint64_t end_of(const edge_request& frame) {
  const uint64_t last_row = uint64_t{frame.height - 1} * frame.stride;
  return frame.offset + last_row + uint64_t{frame.width} * channels_of(frame);
}

/// In words; empty: it is one.
std::string frame_problem(const edge_request& frame, int memory) {
  if (frame.format < EDGE_GRAY || frame.format > EDGE_BGR) {
    return format("has pixels of format %u", frame.format);
  }
  const size_t row = frame.width * channels_of(frame);
  if (frame.stride < row) {
    return format("has a stride of %u bytes, its rows have %zu", frame.stride, row);
  }
  const int seals = fcntl(memory, F_GET_SEALS);
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0) {
    return "is no memory that is sealed against shrinking";
  }
  struct stat status{};
  fstat(memory, &status);
  if (end_of(frame) <= static_cast<uint64_t>(status.st_size)) return "";
  return format("reaches to byte %llu, its memory has %llu",
                static_cast<unsigned long long>(end_of(frame)),
                static_cast<unsigned long long>(status.st_size));
}

/// Rows as decoders give them: blue comes last.
void put_rows(const edge_request& frame, const uint8_t* pixels, Rows& rows) {
  const auto width = static_cast<int>(frame.width);
  const size_t bytes = frame.width * channels_of(frame);
  rows.begin({width, static_cast<int>(frame.height), static_cast<int>(channels_of(frame)), 1});
  std::vector<uint8_t> turned(frame.format == EDGE_BGR ? bytes : 0);
  for (uint32_t y = 0; y < frame.height; ++y, pixels += frame.stride) {
    for (size_t i = 0; i < turned.size(); ++i) turned[i] = pixels[i - i % 3 + 2 - i % 3];
    rows.row(turned.empty() ? pixels : turned.data());
  }
}

}  // namespace

Result<Input> load_frame(const edge_request& frame, int memory, const std::string& name,
                         const Card& card, const ImageLimits& limits) {
  const Encoded picture{name, nullptr, 0, limits};
  if (auto error = check_size(picture, frame.width, frame.height)) return *error;
  std::string problem = frame_problem(frame, memory);
  const auto size = static_cast<size_t>(end_of(frame));
  void* mapped = MAP_FAILED;
  if (problem.empty()) {
    mapped = mmap(nullptr, size, PROT_READ, MAP_SHARED, memory, 0);
    if (mapped == MAP_FAILED) problem = system_fault();
  }
  if (!problem.empty()) {
    return Error{Exit::image, "frame_invalid", name, problem,
                 "see edge_frame_open in edge/client.h for what a frame is"};
  }
  const auto* pixels = static_cast<const uint8_t*>(mapped) + frame.offset;
  auto input = make_input(
      picture,
      [&](Rows& rows) {
        put_rows(frame, pixels, rows);
        return std::optional<Error>();
      },
      card);
  munmap(mapped, size);
  return input;
}

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
    } else if (job->connection != 0) {
      job->outcome = infer_job(*job);
    }
    job->file = Descriptor();
    exchange_.answer(std::move(job));
  }
}

Result<Input> Worker::load(const Job& job, const std::string& name) {
  const Engine& engine = **engine_;
  const Card& card = engine.card;
  const ImageLimits& limits = engine.settings.limits;
  if (job.request.kind == EDGE_FRAME) {
    return load_frame(job.request, job.file.get(), name, card, limits);
  }
  const int bits = card.preprocess.significant_bits;
  const auto decoder = [&](std::shared_ptr<uint8_t> memory) -> Result<Input> {
    if (job.request.kind == EDGE_IMAGE) {
      const Encoded picture{name, job.image.data.get(), job.image.size, limits, bits};
      return decode_input(picture, card, std::move(memory));
    }
    const auto file = read_open_file(job.file.get(), name, image_faults(limits));
    if (!file) return file.error();
    const Encoded picture{name, file->data.get(), file->size, limits, bits};
    return decode_input(picture, card, std::move(memory));
  };
  return decode_apart(name, decoder, card, limits, [&] { exchange_.moved(); });
}

Result<Inferred> Worker::infer_image(const Job& job, const std::string& name) {
  auto input = load(job, name);
  exchange_.moved();
  if (!input) return input.error();
  return infer(**engine_, name, std::move(*input), [&] { exchange_.moved(); });
}

Outcome Worker::infer_job(Job& job) {
  const auto result = infer_image(job, format("request %u", job.request.id));
  if (!result) return failed(options_.command, result.error());
  job.inference_ms = result->inference_ms;
  const Card& card = (*engine_)->card;
  histograms_.add(observe(*result, card), std::time(nullptr));
  histograms_.save_in_time();
  Document document(options_.command);
  document.top().set("model", card.name);
  set_result(document.top(), *result, card);
  return {Exit::done, document.text(), ""};
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
