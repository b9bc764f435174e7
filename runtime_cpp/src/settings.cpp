#include "edge/settings.hpp"

#include <limits.h>
#include <unistd.h>

#include <algorithm>

#include "common/text.hpp"
#include "edge/about.hpp"
#include "edge/fields.hpp"

namespace edge {
namespace {

constexpr const char* run_file = "/run.json";
constexpr uint64_t most_unsure_images = 10000;
constexpr uint64_t most_unsure_bytes = 1u << 30;
constexpr const char* next_step = "deploy the release again";

/// The folder above `bin/` that holds this program; empty if the kernel does not tell.
std::string own_folder() {
  char path[PATH_MAX];
  const ssize_t size = readlink("/proc/self/exe", path, sizeof path);
  if (size <= 0) return "";
  return folder_of(folder_of({path, static_cast<size_t>(size)}));
}

std::string release_of(const Options& options) {
  if (!options.release.empty()) return options.release;
  const std::string own = own_folder();
  return access((own + run_file).c_str(), F_OK) == 0 ? own : "";
}

/// A path inside of the release.
std::string read_path(Fields fields, const char* key, const std::string& release) {
  const std::string path = fields.text(key);
  const bool leaves =
      path.empty() || path[0] == '/' || ("/" + path + "/").find("/../") < path.size();
  if (leaves) fields.reject(key, "is not a path inside of the release");
  return release + "/" + path;
}

/// Those that this program's runtime has, in its order, the CPU's last.
std::vector<std::string> read_providers(Fields fields) {
  const char* key = "execution_providers";
  const auto wanted = fields.texts(key);
  const auto built_in = providers();
  auto from = built_in.begin();
  for (const auto& name : wanted) {
    const auto place = std::find(from, built_in.end(), name);
    if (place == built_in.end()) {
      fields.reject(key, "this runtime has no " + name + " at that place");
      return wanted;
    }
    from = place + 1;
  }
  if (wanted.empty() || wanted.back() != "cpu") fields.reject(key, "expected cpu last");
  return wanted;
}

UnsureLimits read_unsure_images(Fields fields) {
  fields.only({"images", "bytes"});
  return {static_cast<size_t>(fields.whole("images", 1, most_unsure_images)),
          static_cast<size_t>(fields.whole("bytes", 1, most_unsure_bytes))};
}

Settings read_run_file(Fields top, const std::string& release, Inventory inventory) {
  Settings settings;
  settings.release = release;
  settings.inventory = std::move(inventory);
  top.only({"schema", "model", "model_crc32", "card", "golden", "threads", "execution_providers",
            "limits", "thermal_limit_c", "unsure_images"});
  top.expect_schema();
  settings.model = read_path(top, "model", release);
  if (top.has("model_crc32")) {
    settings.model_crc32 = static_cast<uint32_t>(top.whole("model_crc32", 0, UINT32_MAX));
  }
  settings.card = read_path(top, "card", release);
  settings.golden = read_path(top, "golden", release);
  settings.threads = static_cast<int>(top.whole("threads", 1, max_threads));
  settings.providers = read_providers(top);
  if (top.has("thermal_limit_c")) {
    settings.thermal_limit_c =
        static_cast<int>(top.whole("thermal_limit_c", least_thermal_limit, most_thermal_limit));
  }
  Fields limits = top.object("limits");
  limits.only({"image_bytes", "image_pixels", "image_side", "image_memory"});
  const ImageLimits most;
  settings.limits.bytes = static_cast<size_t>(limits.whole("image_bytes", 1, most.bytes));
  settings.limits.pixels = static_cast<size_t>(limits.whole("image_pixels", 1, most.pixels));
  settings.limits.side = static_cast<size_t>(limits.whole("image_side", 1, most.side));
  settings.limits.memory = static_cast<size_t>(limits.whole("image_memory", 1, most.memory));
  if (top.has("unsure_images"))
    settings.unsure_images = read_unsure_images(top.object("unsure_images"));
  return settings;
}

Result<Settings> load_run_file(const std::string& release) {
  const std::string path = release + run_file;
  Inventory inventory;
  if (access(path.c_str(), F_OK) == 0) {  // where it is not there, that is the fault to tell
    auto loaded = Inventory::load(release);
    if (!loaded) return loaded.error();
    inventory = std::move(*loaded);
    if (auto error = inventory.check(path)) return *error;
  }
  const auto document = read_json(path, "run_file_missing", "run_file_invalid");
  if (!document) return document.error();
  std::vector<std::string> problems;
  const Fields top(yyjson_doc_get_root(document->get()), "", problems);
  Settings settings = read_run_file(top, release, std::move(inventory));
  if (problems.empty()) return settings;
  return defects(path, "run_file_invalid", problems, next_step);
}

/// Options are for a person at the board; a release's service and its smoke test give none.
void apply(const Options& options, Settings& settings) {
  const auto note = [&](const char* name) {
    if (!settings.release.empty()) settings.overridden.push_back(name);
  };
  if (!options.model.empty()) {
    settings.model = options.model;
    settings.model_crc32.reset();
    settings.card = folder_of(options.model) + "/card.json";
    settings.golden = folder_of(options.model) + "/golden";
    note("model");
  }
  if (!options.golden.empty()) {
    settings.golden = options.golden;
    note("golden");
  }
  if (options.threads != 0) {
    settings.threads = options.threads;
    note("threads");
  }
  if (options.thermal_limit >= 0) {
    settings.thermal_limit_c = options.thermal_limit;
    note("thermal-limit");
  }
}

}  // namespace

bool has_model(const Options& options) {
  return !options.model.empty() || !release_of(options).empty();
}

Result<Settings> read_settings(const Options& options) {
  const std::string release = release_of(options);
  if (release.empty() && options.model.empty()) {
    return Error{Exit::usage, "usage", "--model", "is not given, nor is --release",
                 "edge-infer --help"};
  }
  Settings settings;
  settings.providers = providers();
  if (!release.empty()) {
    auto loaded = load_run_file(release);
    if (!loaded) return loaded;
    settings = std::move(*loaded);
  }
  apply(options, settings);
  return settings;
}

void set_settings(Json object, const Settings& settings) {
  Json entry = object.object("settings");
  if (settings.release.empty()) {
    entry.set_null("release");
  } else {
    entry.set("release", settings.release);
  }
  entry.set("model", settings.model);
  entry.set("threads", int64_t{settings.threads});
  entry.set("execution_providers", settings.providers);
  if (settings.thermal_limit_c == 0) {
    entry.set_null("thermal_limit_c");
  } else {
    entry.set("thermal_limit_c", int64_t{settings.thermal_limit_c});
  }
  Json limits = entry.object("limits");
  limits.set("image_bytes", uint64_t{settings.limits.bytes});
  limits.set("image_pixels", uint64_t{settings.limits.pixels});
  limits.set("image_side", uint64_t{settings.limits.side});
  limits.set("image_memory", uint64_t{settings.limits.memory});
  entry.set("overridden", settings.overridden);
}

}  // namespace edge
