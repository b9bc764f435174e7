#include "edge/serve_metrics.hpp"

#include "common/text.hpp"
#include "edge/statistics.hpp"

namespace edge {
namespace {

/// One value, after the lines that say what it is, unless that is said already.
void add(std::string& text, const char* name, const char* type, const char* help,
         const char* labels, double number) {
  if (help != nullptr) {
    text += format("# HELP edge_infer_%s %s\n# TYPE edge_infer_%s %s\n", name, help, name, type);
  }
  text += format("edge_infer_%s%s %.15g\n", name, labels, number);
}

}  // namespace

std::string label_value(const std::string& text) {
  std::string out = "\"";
  for (const char c : utf8(text)) {
    if (c == '\\' || c == '"') out += '\\';
    if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
  return out + "\"";
}

std::string metrics_text(const Counters& counters, const ShadowCounts& shadow,
                         const Engine& engine) {
  const struct {
    const char* name;
    const char* type;
    const char* help;
    const char* labels;
    double number;
  } values[] = {
      {"reloads_total", "counter", "Models read anew.", "{outcome=\"done\"}",
       static_cast<double>(counters.reloads)},
      {"reloads_total", "", nullptr, "{outcome=\"refused\"}",
       static_cast<double>(counters.refused_reloads)},
      {"inference_seconds", "summary", "The network alone.", "_sum", counters.inference_ms / 1e3},
      {"inference_seconds", "", nullptr, "_count", static_cast<double>(counters[Fate::done])},
      {"request_seconds", "summary", "From arrival to answer.", "_sum", counters.request_ms / 1e3},
      {"request_seconds", "", nullptr, "_count",
       static_cast<double>(counters[Fate::done] + counters[Fate::failed])},
      {"waiting", "gauge", "Requests that wait.", "", static_cast<double>(counters.waiting)},
      {"queue", "gauge", "Requests that may wait.", "", static_cast<double>(counters.queue)},
      {"connections", "gauge", "Clients.", "", static_cast<double>(counters.connections)},
      {"resident_bytes", "gauge", "Resident memory.", "",
       static_cast<double>(memory_kb("VmRSS:")) * 1024},
      {"heap_bytes", "gauge", "Allocated and not freed.", "", static_cast<double>(heap_bytes())}};
  std::string text;
  for (size_t i = 0; i < fates; ++i) {
    const std::string labels = format("{outcome=\"%s\"}", fate_names[i]);
    add(text, "requests_total", "counter", i == 0 ? "Requests, by what became of them." : nullptr,
        labels.c_str(), static_cast<double>(counters.requests[i]));
  }
  for (size_t i = 0; i < shadow_fates; ++i) {
    const std::string labels = format("{outcome=\"%s\"}", shadow_fate_names[i]);
    add(text, "shadow_frames_total", "counter",
        i == 0 ? "Frames while a candidate ran beside, by its answer." : nullptr, labels.c_str(),
        shadow.counts[i]);
  }
  for (const auto& value : values) {
    add(text, value.name, value.type, value.help, value.labels, value.number);
  }
  if (engine.pacer) {
    add(text, "effort", "gauge", "Share of full power.", "", engine.pacer->effort());
    if (const auto celsius = engine.pacer->celsius()) {
      add(text, "temperature_celsius", "gauge", "Of the hottest zone.", "", *celsius);
    }
  }
  text += "# HELP edge_infer_model_info What is served.\n# TYPE edge_infer_model_info gauge\n";
  return text + "edge_infer_model_info{model=" + label_value(engine.card.name) +
         ",release=" + label_value(name_of(engine.settings.release)) + "} 1\n";
}

}  // namespace edge
