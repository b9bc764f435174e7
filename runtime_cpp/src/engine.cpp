#include "edge/engine.hpp"

#include <cmath>

#include "common/text.hpp"
#include "edge/crash_guard.hpp"
#include "edge/statistics.hpp"

namespace edge {
namespace {

Error not_finite(const Engine& engine, const std::string& image) {
  return {Exit::model, "model_not_finite", engine.session.path(),
          "its output for " + image + " is not finite", "use another model, this one is broken"};
}

/// Compares the model with what is known of it: the checksum in the release's run.json, which was
/// compared with its signed hash; or the hash of the release, or that of the card beside it.
std::optional<Error> damage(const Settings& settings, const Card& card) {
  if (settings.model_crc32) {
    return check_crc32(settings.model, *settings.model_crc32, Exit::model, "model_damaged");
  }
  std::string expected = settings.inventory.expected(settings.model);
  if (expected.empty() && name_of(settings.model) == card.file_name) expected = card.file_sha256;
  if (expected.empty()) return std::nullopt;  // the card is of another file
  return check_hash(settings.model, expected, Exit::model, "model_damaged");
}

}  // namespace

Result<Engine> open_engine(const Options& options) {
  const double start = now_ms();
  auto settings = read_settings(options);
  if (!settings) return settings.error();
  auto file = map_model(settings->model);
  if (!file) return file.error();
  if (auto error = settings->inventory.check(settings->card)) return *error;
  auto card = load_card(settings->card);
  if (!card) return card.error();
  if (auto error = file_mismatch(settings->model, file->size(), *card)) return *error;
  if (auto error = damage(*settings, *card)) return *error;
  auto session = Session::open(settings->model, std::move(*file),
                               {settings->threads, settings->providers, options.debug});
  if (!session) return session.error();
  if (auto error = mismatch(*session, *card)) return *error;
  return Engine{std::move(*settings), std::move(*card), std::move(*session), now_ms() - start};
}

Result<Inferred> infer(Engine& engine, const std::string& path) {
  auto input = [&] {
    const Blame blame({Exit::image, "image_crashed", path, "crashed the decoder",
                       "copy or capture it again, or scale it down"});
    return load_input(path, engine.card, engine.settings.limits);
  }();
  if (!input) return input.error();
  return infer(engine, path, std::move(*input));
}

Result<Inferred> infer(Engine& engine, const std::string& path, Input input) {
  Inferred result{std::move(input), {}, {}, 0};
  const double start = now_ms();
  auto outputs = engine.session.run(result.input.values, engine.card);
  if (!outputs) return outputs.error();
  result.inference_ms = now_ms() - start;
  for (const Tensor& output : *outputs) {
    for (const float value : output.values) {
      if (!std::isfinite(value)) return not_finite(engine, path);
    }
  }
  result.outputs = *outputs;
  auto answer = make_answer(engine.card, std::move(*outputs), result.input.placement);
  if (!answer) return answer.error();
  result.answer = std::move(*answer);
  return result;
}

}  // namespace edge
