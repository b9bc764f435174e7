#include "edge/serve_metrics.hpp"

#include "common/text.hpp"
#include "edge/statistics.hpp"

namespace edge {
namespace {

/// A value of a label: quoted, with the three escapes that the format has.
std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : utf8(text)) {
    if (c == '\\' || c == '"') out += '\\';
    out += c == '\n' ? "\\n" : std::string(1, c);
  }
  return out + "\"";
}

/// The lines of one metric without its values.
std::string header(const char* name, const char* type, const char* help) {
  return format("# HELP edge_infer_%s %s\n# TYPE edge_infer_%s %s\n", name, help, name, type);
}

std::string value(const char* name, const char* labels, uint64_t number) {
  return format("edge_infer_%s%s %llu\n", name, labels, static_cast<unsigned long long>(number));
}

std::string gauge(const char* name, const char* help, uint64_t number) {
  return header(name, "gauge", help) + value(name, "", number);
}

std::string summary(const char* name, const char* help, double ms, uint64_t count) {
  return header(name, "summary", help) + format("edge_infer_%s_sum %.6f\n", name, ms / 1e3) +
         format("edge_infer_%s_count %llu\n", name, static_cast<unsigned long long>(count));
}

}  // namespace

std::string metrics_text(const Counters& counters, const Gauges& gauges, const Served& served) {
  std::string text = header("requests_total", "counter", "Requests, by what became of them.");
  text += value("requests_total", "{outcome=\"done\"}", counters.done);
  text += value("requests_total", "{outcome=\"failed\"}", counters.failed);
  text += value("requests_total", "{outcome=\"busy\"}", counters.busy);
  text += value("requests_total", "{outcome=\"refused\"}", counters.refused);
  text += value("requests_total", "{outcome=\"abandoned\"}", counters.abandoned);
  text += header("reloads_total", "counter", "Times that the model was read anew.");
  text += value("reloads_total", "{outcome=\"done\"}", counters.reloads);
  text += value("reloads_total", "{outcome=\"refused\"}", counters.refused_reloads);
  text += summary("inference_seconds", "The network alone.", counters.inference_ms, counters.done);
  text += summary("request_seconds", "From arrival to answer.", counters.request_ms,
                  counters.done + counters.failed);
  text += gauge("waiting", "Requests that wait.", gauges.waiting);
  text += gauge("queue", "Requests that may wait.", gauges.queue);
  text += gauge("connections", "Clients.", gauges.connections);
  text += gauge("resident_bytes", "Memory that is resident.",
                static_cast<uint64_t>(memory_kb("VmRSS:")) * 1024);
  text += header("model_info", "gauge", "What is served.");
  return text + "edge_infer_model_info{model=" + quoted(served.model) +
         ",release=" + quoted(name_of(served.settings.release)) + "} 1\n";
}

}  // namespace edge
