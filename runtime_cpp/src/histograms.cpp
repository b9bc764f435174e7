#include "edge/histograms.hpp"

#include <unistd.h>

#include <algorithm>
#include <cmath>

#include "common/document.hpp"
#include "common/text.hpp"
#include "edge/deploy_root.hpp"
#include "edge/file.hpp"
#include "edge/statistics.hpp"

namespace edge {
namespace {

constexpr const char* folder_name = "drift";
constexpr const char* file_name = "histograms.jsonl";
constexpr ptrdiff_t most_windows = 72;
constexpr size_t most_bytes = 1u << 20;  // several times what they take
constexpr int64_t window_s = 3600;
constexpr double save_ms = 60000;  // flash wears out by writing

/// The newest of the whole lines; half a line was never written by us.
void keep_newest(std::string& lines) {
  lines.resize(lines.rfind('\n') + 1);
  for (auto count = std::count(lines.begin(), lines.end(), '\n'); count >= most_windows; --count) {
    lines.erase(0, lines.find('\n') + 1);
  }
}

void count(Window::Histogram& histogram, double value, const Statistic& statistic) {
  if (!std::isfinite(value)) return;
  const double place = (value - statistic.low) / (statistic.high - statistic.low) * bins;
  ++histogram.values;
  ++histogram.counts[static_cast<size_t>(std::clamp(place, 0.0, bins - 1.0))];
  histogram.sum += value;
  histogram.squares += value * value;
}

}  // namespace

Histograms::Histograms(const std::string& release, const std::string& command)
    : release_(release),
      command_(command),
      folder_(open_in_deploy_root(release, folder_name)),
      saved_ms_(now_ms()) {
  if (folder_ < 0) return;
  const std::string path = release + "/../../" + folder_name + "/" + file_name;
  const auto file = read_file(path, {Exit::bug, "", "", most_bytes}, Links::refuse);
  if (file) lines_.assign(reinterpret_cast<const char*>(file->data.get()), file->size);
}

Histograms::~Histograms() {
  if (folder_ >= 0) close(folder_);
}

void Histograms::add(const Observation& observation, int64_t unix_s) {
  if (folder_ < 0) return;
  if (window_.images > 0 && window_.start / window_s != unix_s / window_s) {
    lines_ += line();
    window_ = {};
  }
  if (window_.images == 0) window_.start = unix_s;
  window_.end = unix_s;
  ++window_.images;
  for (size_t i = 0; i < statistic_count; ++i) {
    count(window_.histograms[i], observation[i], statistics[i]);
  }
  is_saved_ = false;
}

void Histograms::save_in_time() {
  if (!is_saved_ && now_ms() - saved_ms_ >= save_ms) save();
}

void Histograms::save() {
  if (is_saved_) return;
  keep_newest(lines_);
  const std::string text = lines_ + line();
  // On a full disk the former file stays, and the next minute is tried.
  is_saved_ = replace_file(folder_, file_name,
                           [&](int file) { return write_all(file, text.data(), text.size()); });
  saved_ms_ = now_ms();
}

std::string Histograms::line() const {
  Document document(command_);
  Json top = document.top();
  top.set("release", name_of(release_));
  top.set("start", window_.start);
  top.set("end", window_.end);
  top.set("images", window_.images);
  Json all = top.object("statistics");
  for (size_t i = 0; i < statistic_count; ++i) {
    const Window::Histogram& histogram = window_.histograms[i];
    if (histogram.values == 0) continue;
    Json entry = all.object(statistics[i].name);
    entry.set("sum", histogram.sum);
    entry.set("squares", histogram.squares);
    entry.set("counts", std::vector<int64_t>(histogram.counts.begin(), histogram.counts.end()));
  }
  return document.text();
}

}  // namespace edge
