#include "edge/engine.hpp"

#include <cmath>

#include "common/text.hpp"
#include "edge/crash_file.hpp"
#include "edge/crash_guard.hpp"
#include "edge/statistics.hpp"
#include "edge/tiles.hpp"

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

/// One inference for `result`, its outputs checked.
Result<std::vector<Tensor>> run(Engine& engine, const std::string& path, std::vector<float>& values,
                                Inferred& result, const std::function<void()>& beat) {
  auto outputs = run_network(engine, values, result.inference_ms, result.paced_ms, beat);
  if (!outputs) return outputs;
  for (const Tensor& output : *outputs) {
    for (const float value : output.values) {
      if (!std::isfinite(value)) return not_finite(engine, path);
    }
  }
  return outputs;
}

/// One tile after the other: no more than one is in memory as floats, beside the middle one.
Result<Inferred> infer_tiles(Engine& engine, const std::string& path, Input input,
                             const std::function<void()>& beat) {
  const Frame frame = std::move(input.frame);
  const auto plan = plan_tiles(frame, engine.card, path);
  if (!plan) return plan.error();
  const auto merger = merge_tiles(engine.card, *plan);
  Inferred result{std::move(input), {}, {}};
  for (size_t i = 0; i < plan->tiles.size(); ++i) {
    beat();
    Input tile = tile_input(frame, plan->tiles[i], engine.card);
    result.input.preprocess_ms += tile.preprocess_ms;
    auto outputs = run(engine, path, tile.values, result, beat);
    if (!outputs) return outputs.error();
    const double start = now_ms();
    if (auto error = merger->add(*outputs, tile.placement)) return *error;
    result.postprocess_ms += now_ms() - start;
    if (i != plan->middle()) continue;
    result.input.values = std::move(tile.values);
    result.input.placement = tile.placement;
    result.input.statistics = tile.statistics;
    result.outputs = std::move(*outputs);
  }
  const double start = now_ms();
  result.answer = merger->answer();
  result.postprocess_ms += now_ms() - start;
  return result;
}

/// A self-test is short, and a release on trial has not long for it.
std::unique_ptr<Pacer> make_pacer(const Options& options, const Settings& settings) {
  if (settings.thermal_limit_c == 0 || options.command == "selftest") return nullptr;
  return std::make_unique<Pacer>(settings.thermal_limit_c, settings.threads, options.sysfs);
}

}  // namespace

Result<Engine> open_engine(const Options& options) {
  const double start = now_ms();
  auto settings = read_settings(options);
  if (!settings) return settings.error();
  if (!options.debug && !settings->release.empty()) keep_crashes(settings->release);
  // One that is at work for months is in nobody's hands but ours. Weights are used where they lie:
  // an overwritten file, which `cp` makes, would change them, or end the program by SIGBUS.
  const bool is_service = options.command == "serve" || options.command == "watch";
  auto file = map_model(settings->model, is_service ? Pages::copied : Pages::shared);
  if (!file) return file.error();
  if (auto error = settings->inventory.check(settings->card)) return *error;
  auto card = load_card(settings->card);
  if (!card) return card.error();
  if (auto error = file_mismatch(settings->model, file->size(), *card)) return *error;
  if (auto error = damage(*settings, *card)) return *error;
  auto session = Session::open(
      settings->model, std::move(*file),
      {settings->threads, settings->providers, options.debug, options.operator_times});
  if (!session) return session.error();
  if (auto error = mismatch(*session, *card)) return *error;
  auto pacer = make_pacer(options, *settings);
  return Engine{std::move(*settings), std::move(*card), std::move(*session), now_ms() - start,
                std::move(pacer)};
}

Result<std::vector<Tensor>> run_network(Engine& engine, std::vector<float>& values,
                                        double& inference_ms, double& paced_ms,
                                        const std::function<void()>& beat) {
  if (engine.pacer) paced_ms += engine.pacer->wait(beat);
  const double start = now_ms();
  auto outputs = engine.session.run(values, engine.card);
  const double ms = now_ms() - start;
  if (engine.pacer) engine.pacer->worked(ms);
  inference_ms += ms;
  return outputs;
}

Result<Inferred> infer(Engine& engine, const std::string& path) {
  auto input = [&] {
    const Blame blame({Exit::image, "image_crashed", path, "crashed the decoder",
                       "copy or capture it again, or scale it down"});
    return load_input(path, engine.card, engine.settings.limits);
  }();
  if (!input) return input.error();
  return infer(engine, path, std::move(*input), [] {});
}

Result<Inferred> infer(Engine& engine, const std::string& path, Input input,
                       const std::function<void()>& beat) {
  if (engine.card.tiling) return infer_tiles(engine, path, std::move(input), beat);
  Inferred result{std::move(input), {}, {}};
  auto outputs = run(engine, path, result.input.values, result, beat);
  if (!outputs) return outputs.error();
  result.outputs = *outputs;
  const double start = now_ms();
  auto answer = make_answer(engine.card, std::move(*outputs), result.input.placement);
  if (!answer) return answer.error();
  result.answer = std::move(*answer);
  result.postprocess_ms = now_ms() - start;
  return result;
}

}  // namespace edge
