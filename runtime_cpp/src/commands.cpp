#include "edge/commands.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>

#include "common/document.hpp"
#include "common/text.hpp"
#include "edge/about.hpp"
#include "edge/end_request.hpp"
#include "edge/engine.hpp"
#include "edge/golden.hpp"
#include "edge/npy.hpp"
#include "edge/serve.hpp"
#include "edge/shadow.hpp"
#include "edge/statistics.hpp"
#include "edge/watch.hpp"

namespace edge {
namespace {

// run

/// Infers every image into `results`. An image's fault is noted there and in `outcome`;
/// any other fault ends the run. `last` becomes what the network made of the last good image.
std::optional<Error> run_images(Engine& engine, const std::vector<std::string>& images,
                                Json results, Outcome& outcome, std::optional<Inferred>& last) {
  for (const std::string& path : images) {
    Json entry = results.append();
    entry.set("image", path);
    auto result = infer(engine, path);
    if (result) {
      set_result(entry, *result, engine.card);
      last = std::move(*result);
      continue;
    }
    if (result.error().exit != Exit::image) return result.error();
    set_error(entry, result.error());
    outcome.exit = Exit::image;
    outcome.message += message_lines(result.error());
  }
  return std::nullopt;
}

/// Writes float32 values, little endian as all boards of edgewright are.
bool write_values(const std::string& path, const std::vector<float>& values) {
  FILE* file = std::fopen(path.c_str(), "wb");
  if (file == nullptr) return false;
  const size_t written = std::fwrite(values.data(), sizeof(float), values.size(), file);
  return std::fclose(file) == 0 && written == values.size();
}

/// Writes what the options ask for of the last good image.
std::optional<Error> dump(const Options& options, const Inferred& result, const Card& card) {
  if (!options.dump_input.empty() && !write_values(options.dump_input, result.input.values)) {
    return Error{Exit::usage, "dump_unwritable", options.dump_input, system_fault(),
                 "give --dump-input a file that can be written"};
  }
  if (options.dump_outputs.empty()) return std::nullopt;
  for (size_t i = 0; i < result.outputs.size(); ++i) {
    // By number: a tensor's name may hold what no file's can.
    const std::string path = options.dump_outputs + format("/%zu.npy", i);
    if (write_npy(path, result.outputs[i])) continue;
    return Error{Exit::usage, "dump_unwritable", path, system_fault(),
                 "give --dump-outputs a folder that can be written, for " + card.outputs[i].name};
  }
  return std::nullopt;
}

Outcome run(const Options& options) {
  auto engine = open_engine(options);
  if (!engine) return failed(options.command, engine.error());
  Document document(options.command);
  Json top = document.top();
  top.set("model", engine->card.name);
  top.set("threads", int64_t{engine->settings.threads});
  top.set("load_ms", round_ms(engine->load_ms));
  set_settings(top, engine->settings);

  Outcome outcome{Exit::done, "", ""};
  std::optional<Inferred> last;
  auto error = run_images(*engine, options.images, top.list("results"), outcome, last);
  if (!error && last) error = dump(options, *last, engine->card);
  if (error) return failed(options.command, *error);
  set_thermal(top, engine->pacer.get());
  outcome.json = document.text();
  return outcome;
}

// selftest

/// Adds one case to the list; true if the network still says what it said at release.
bool judge(const GoldenSet& set, const GoldenCase& golden, const Inferred& result, const Card& card,
           Json entry) {
  const Comparison comparison = compare(set, golden, result, card);
  entry.set("image", paths_of(golden, ""));
  set_answer(entry.object("expected"), golden.expected, card);
  set_answer(entry.object("got"), result.answer, card);
  entry.set("max_abs_diff", std::round(comparison.difference * 1e6) / 1e6);
  entry.set("problems", comparison.problems);
  entry.set("passed", comparison.problems.empty());
  return comparison.problems.empty();
}

Error selftest_error(const std::string& model, size_t bad, size_t all) {
  return {Exit::selftest, "selftest_failed", model,
          format("self-test did not pass, %zu of %zu golden cases differ", bad, all),
          "compare expected and got in the document; do not use this build with this model"};
}

Outcome selftest(const Options& options) {
  auto engine = open_engine(options);
  if (!engine) return failed(options.command, engine.error());
  const std::string& folder = engine->settings.golden;
  const Inventory& inventory = engine->settings.inventory;
  if (auto error = inventory.check(folder + "/expected.json")) {
    return failed(options.command, *error);
  }
  const auto golden = load_golden(folder, engine->card);
  if (!golden) return failed(options.command, golden.error());

  Document document(options.command);
  Json top = document.top();
  top.set("model", engine->card.name);
  top.set("tolerance", golden->agreement.tolerance);
  set_settings(top, engine->settings);
  Json cases = top.list("cases");
  size_t bad = 0;
  for (const GoldenCase& golden_case : golden->cases) {
    if (auto error = check_files(inventory, folder, golden_case)) {
      return failed(options.command, *error);
    }
    const auto result = infer(*engine, paths_of(golden_case, folder + "/"));
    if (!result) return failed(options.command, golden_fault(result.error()));
    if (!judge(*golden, golden_case, *result, engine->card, cases.append())) ++bad;
  }
  top.set("passed", bad == 0);
  if (bad == 0) return {Exit::done, document.text(), ""};
  return failed(document, selftest_error(engine->settings.model, bad, golden->cases.size()));
}

// bench

/// Values between -1 and 1 that are the same in every run.
std::vector<float> made_up_input(size_t count) {
  std::vector<float> values(count);
  uint32_t state = 1;
  for (float& value : values) {
    state = state * 1664525u + 1013904223u;
    value = static_cast<float>(state >> 8) / 8388608.0f - 1.0f;
  }
  return values;
}

Result<std::vector<float>> bench_input(Engine& engine, const std::string& image) {
  if (image.empty()) return made_up_input(engine.card.values());
  auto result = infer(engine, image);
  if (!result) return result.error();
  return std::move(result->input.values);
}

/// The heap in use, in the course of a bench.
struct HeapSeries {
  size_t runs;                 // from one sample to the next
  std::vector<int64_t> bytes;  // the first one before the first run
};

/// Fills `times` with the milliseconds of one inference each; fewer where the end is asked for.
std::optional<Error> time_runs(Engine& engine, std::vector<float>& input,
                               std::vector<double>& times, HeapSeries& heap) {
  double paced_ms = 0;
  for (size_t i = 0; i < times.size(); ++i) {
    if (i % heap.runs == 0) heap.bytes.push_back(heap_bytes());
    const auto outputs = run_network(engine, input, times[i], paced_ms, [] {});
    if (!outputs) return outputs.error();
    if (is_end_asked_for()) times.resize(i + 1);
  }
  // Every step is of as many runs.
  if (times.size() % heap.runs == 0) heap.bytes.push_back(heap_bytes());
  return std::nullopt;
}

HeapSeries heap_series(size_t runs) {
  constexpr size_t most_samples = 32;
  HeapSeries heap{std::max<size_t>((runs + most_samples - 1) / most_samples, 1), {}};
  heap.bytes.reserve(most_samples + 2);  // it is on the heap itself
  return heap;
}

void set_latency(Json latency, const std::vector<double>& times) {
  latency.set("min", round_ms(quantile(times, 0)));
  latency.set("median", round_ms(quantile(times, 0.5)));
  latency.set("p95", round_ms(quantile(times, 0.95)));
  latency.set("p99", round_ms(quantile(times, 0.99)));
  latency.set("max", round_ms(quantile(times, 1)));
}

Outcome bench(const Options& options) {
  // What was measured by then is told. From the start on: a soak cannot know when a model is
  // loaded.
  listen_for_the_end();
  auto engine = open_engine(options);
  if (!engine) return failed(options.command, engine.error());
  auto input = bench_input(*engine, options.image);
  if (!input) return failed(options.command, input.error());
  std::vector<double> warmup(static_cast<size_t>(options.warmup));
  std::vector<double> times(static_cast<size_t>(options.runs));  // before memory is measured
  HeapSeries warmup_heap = heap_series(warmup.size()), heap = heap_series(times.size());
  auto error = time_runs(*engine, *input, warmup, warmup_heap);
  const long warm_kb = memory_kb("VmRSS:");
  if (!error) error = time_runs(*engine, *input, times, heap);
  if (error) return failed(options.command, *error);

  Document document(options.command);
  Json top = document.top();
  top.set("model", engine->card.name);
  top.set("threads", int64_t{engine->settings.threads});
  top.set("runs", uint64_t{times.size()});
  top.set("ended_early", times.size() < static_cast<size_t>(options.runs));
  top.set("load_ms", round_ms(engine->load_ms));
  set_settings(top, engine->settings);
  set_latency(top.object("latency_ms"), times);
  top.set("peak_rss_kb", int64_t{memory_kb("VmHWM:")});
  top.set("rss_growth_kb", int64_t{memory_kb("VmRSS:") - warm_kb});
  Json in_use = top.object("heap");
  in_use.set("runs", static_cast<int64_t>(heap.runs));
  in_use.set("bytes", heap.bytes);
  set_thermal(top, engine->pacer.get());
  return {Exit::done, document.text(), ""};
}

// info

void set_tensors(Json list, const std::vector<TensorInfo>& tensors) {
  for (const TensorInfo& tensor : tensors) {
    Json entry = list.append();
    entry.set("name", tensor.name);
    entry.set("type", tensor.type);
    entry.set("shape", tensor.shape);
  }
}

std::vector<std::string> split_lines(const char* text) {
  std::vector<std::string> lines;
  while (*text != '\0') {
    const size_t length = std::strcspn(text, "\n");
    if (length > 0 && *text != '#') lines.emplace_back(text, length);
    text += length + (text[length] == '\n' ? 1 : 0);
  }
  return lines;
}

void set_program(Json top) {
  Json program = top.object("edge_infer");
  program.set("version", version());
  program.set("build_id", build_id());
  Json runtime = top.object("runtime");
  runtime.set("version", runtime_version());
  runtime.set("build", runtime_build());
  runtime.set("linkage", linkage());
  runtime.set("providers", providers());
  if (operator_lines() == nullptr) {
    top.set_null("operators");
  } else {
    top.set("operators", split_lines(operator_lines()));
  }
}

Outcome info(const Options& options) {
  Document document(options.command);
  set_program(document.top());
  if (!has_model(options)) return {Exit::done, document.text(), ""};
  const auto engine = open_engine(options);
  if (!engine) return failed(options.command, engine.error());
  Json model = document.top().object("model");
  model.set("name", engine->card.name);
  model.set("bytes", static_cast<int64_t>(engine->session.bytes()));
  set_tensors(model.list("inputs"), engine->session.inputs());
  set_tensors(model.list("outputs"), engine->session.outputs());
  model.set("labels", engine->card.labels);
  set_settings(document.top(), engine->settings);
  return {Exit::done, document.text(), ""};
}

}  // namespace

void set_result(Json entry, const Inferred& result, const Card& card) {
  set_answer(entry, result.answer, card);
  Json ms = entry.object("ms");
  ms.set("decode", round_ms(result.input.decode_ms));
  ms.set("preprocess", round_ms(result.input.preprocess_ms));
  ms.set("inference", round_ms(result.inference_ms));
  ms.set("postprocess", round_ms(result.postprocess_ms));
  if (result.paced_ms > 0) ms.set("paced", round_ms(result.paced_ms));
}

Outcome execute(const Options& options) {
  if (options.command == "run") return run(options);
  if (options.command == "selftest") return selftest(options);
  if (options.command == "bench") return bench(options);
  if (options.command == "watch") return watch(options);
  if (options.command == "serve") return serve(options);
  if (options.command == "shadow") return shadow(options);
  return info(options);
}

}  // namespace edge
