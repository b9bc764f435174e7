#include "edge/serve_worker.hpp"

#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <vector>

#include "common/document.hpp"
#include "common/text.hpp"
#include "edge/apart.hpp"
#include "edge/commands.hpp"
#include "edge/golden.hpp"

namespace edge {
namespace {

Error frame_fault(const std::string& name, const std::string& problem) {
  return {Exit::image, "frame_invalid", name, problem,
          "see edge_frame_open in edge/client.h for what a frame is"};
}

size_t channels_of(const edge_request& frame) {
  return frame.format == EDGE_GRAY ? 1 : 3;
}

/// Where the frame ends in its memory, bytes.
uint64_t end_of(const edge_request& frame) {
  const uint64_t last_row = uint64_t{frame.height - 1} * frame.stride;
  return frame.offset + last_row + uint64_t{frame.width} * channels_of(frame);
}

std::optional<Error> check_frame(const edge_request& frame, int memory, const Encoded& picture) {
  if (frame.format < EDGE_GRAY || frame.format > EDGE_BGR) {
    return frame_fault(picture.name, format("has pixels of format %u", frame.format));
  }
  if (auto error = check_size(picture, frame.width, frame.height)) return error;
  if (frame.stride < frame.width * channels_of(frame)) {
    return frame_fault(picture.name, format("has a stride of %u bytes, its rows have %zu",
                                            frame.stride, frame.width * channels_of(frame)));
  }
  const int seals = fcntl(memory, F_GET_SEALS);
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0) {
    return frame_fault(picture.name, "is no memory that is sealed against shrinking");
  }
  struct stat status{};
  const bool fits = fstat(memory, &status) == 0 &&
                    end_of(frame) <= static_cast<uint64_t>(status.st_size);
  if (fits) return std::nullopt;
  return frame_fault(picture.name, format("reaches to byte %llu, its memory has %llu",
                                          static_cast<unsigned long long>(end_of(frame)),
                                          static_cast<unsigned long long>(status.st_size)));
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

std::optional<Error> task_fault(const Engine& engine) {
  if (engine.card.task != TaskKind::tensor) return std::nullopt;
  return Error{Exit::card, "card_invalid", engine.settings.card,
               "is of a network that takes tensors, serve takes images",
               "edge-infer watch takes tensors"};
}

std::string error_document(const Error& error) {
  return failed("serve", error).json;
}

Result<Input> load_frame(const edge_request& frame, int memory, const std::string& name,
                         const Card& card, const ImageLimits& limits) {
  const Encoded picture{name, nullptr, 0, limits};
  if (auto error = check_frame(frame, memory, picture)) return *error;
  const auto size = static_cast<size_t>(end_of(frame));
  void* mapped = mmap(nullptr, size, PROT_READ, MAP_SHARED, memory, 0);
  if (mapped == MAP_FAILED) return frame_fault(name, system_fault());
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

void Worker::run() {
  while (auto job = exchange_.take()) {
    Reply reply{job->connection, job->request};
    reply.arrived_ms = job->arrived_ms;
    if (job->request.kind == EDGE_RELOAD) {
      reload(reply);
    } else {
      infer_job(*job, reply);
    }
    job.reset();  // its memory and descriptor go before the answer
    exchange_.reply(std::move(reply));
  }
}

Result<Input> Worker::load(const Job& job, const std::string& name) {
  const Card& card = engine_->card;
  const ImageLimits& limits = engine_->settings.limits;
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

void Worker::infer_job(const Job& job, Reply& reply) {
  const std::string name = format("request %u", job.request.id);
  auto input = load(job, name);
  exchange_.moved();
  Result<Inferred> result = Error{};
  if (input) {
    result = infer(*engine_, name, std::move(*input), [&] { exchange_.moved(); });
  } else {
    result = input.error();
  }
  if (!result) {
    reply.error = result.error();
    return;
  }
  reply.inference_ms = result->inference_ms;
  Document document("serve");
  document.top().set("model", engine_->card.name);
  set_result(document.top(), *result, engine_->card);
  reply.json = document.text();
}

/// The former network goes on until the new one is loaded, and right about its first golden image.
void Worker::reload(Reply& reply) {
  auto opened = open_engine(options_);
  exchange_.moved();
  if (opened) {
    reply.error = task_fault(*opened);
    if (!reply.error) reply.error = first_golden_fault(*opened);
  } else {
    reply.error = opened.error();
  }
  if (reply.error) return;
  engine_ = std::make_unique<Engine>(std::move(*opened));
  reply.served = Served{engine_->card.name, engine_->settings};
}

}  // namespace edge
