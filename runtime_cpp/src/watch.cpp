#include "edge/watch.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "common/document.hpp"
#include "common/text.hpp"
#include "edge/apart.hpp"
#include "edge/arrivals.hpp"
#include "edge/crash_file.hpp"
#include "edge/crash_guard.hpp"
#include "edge/end_request.hpp"
#include "edge/engine.hpp"
#include "edge/file.hpp"
#include "edge/golden.hpp"
#include "edge/heartbeat.hpp"
#include "edge/recorder.hpp"
#include "edge/sha256.hpp"
#include "edge/user.hpp"

namespace edge {
namespace {

constexpr int beat_ms = 5000;
constexpr size_t max_name_bytes = 246;  // 255 less the longest prefix or suffix
constexpr size_t cut_name_bytes = 200;
// Prefixes of names. Former releases know them, as a rollback leaves them with what is at hand.
constexpr const char* working = ".working-";    // the image at hand, and the one decoded meanwhile
constexpr const char* again = ".again-";        // one that is tried a second time
constexpr const char* unreadable = ".unread-";  // one that could not be read

bool starts_with(const std::string& text, const std::string& start) {
  return text.compare(0, start.size(), start) == 0;
}

/// Names of regular files in a folder that start as given, in order; empty `start`: no dot files.
std::vector<std::string> files_in(const std::string& folder, const std::string& start) {
  std::vector<std::string> names;
  DIR* listing = opendir(folder.c_str());
  while (const dirent* entry = listing != nullptr ? readdir(listing) : nullptr) {
    const std::string name = entry->d_name;
    const bool wanted = start.empty() ? name[0] != '.' : starts_with(name, start);
    if (wanted && entry->d_type != DT_DIR) names.push_back(name);
  }
  if (listing != nullptr) closedir(listing);
  std::sort(names.begin(), names.end());
  return names;
}

bool is_there(const std::string& path) {
  struct stat status{};
  return lstat(path.c_str(), &status) == 0;
}

/// How the result of an image is called. A name that leaves no room for the suffix is cut, and its
/// hash tells it from others.
std::string result_name(const std::string& name) {
  if (name.size() <= max_name_bytes) return name + ".json";
  size_t end = cut_name_bytes;
  while ((name[end] & 0xC0) == 0x80) --end;  // not inside of a character
  const auto* bytes = reinterpret_cast<const uint8_t*>(name.data());
  return name.substr(0, end) + "-" + sha256(bytes, name.size()).substr(0, 16) + ".json";
}

/// One run of the service.
class Spool {
 public:
  Spool(const Options& options, Engine& engine)
      : options_(options),
        engine_(engine),
        heartbeat_(options.heartbeat, options.command),
        arrivals_(options.in, options.out),
        recorder_(engine.settings, options.command) {}

  /// What was at hand when the program ended, or the power went, is tried once more. Images are
  /// taken in the order of their names, so of two the first was at hand, and the other one, which
  /// was decoded meanwhile, is as good as new; so are all beside one that was tried again.
  void finish_old_work() {
    const auto tried_twice = files_in(options_.in, again), tried = files_in(options_.in, working);
    for (const std::string& hidden : tried_twice) {
      const std::string name = hidden.substr(std::strlen(again));
      finish(name, options_.in + "/" + hidden,
             Error{Exit::image, "image_crashed", name, "the program ended twice at work on it",
                   "look at this image"});
    }
    const char* prefix = tried_twice.empty() ? again : working;
    for (const std::string& hidden : tried) {
      take(options_.in + "/" + hidden, hidden.substr(std::strlen(working)), prefix);
      prefix = working;
    }
  }

  /// Takes every image that is complete and that there is room for. The next one is decoded while
  /// the network runs for the one before.
  void work() {
    std::optional<Claimed> before;
    for (const std::string& name : files_in(options_.in, "")) {
      if (is_end_asked_for() || !has_room(before ? 1 : 0)) break;
      // Its former result first: nothing that was not fetched is replaced.
      if (is_there(options_.out + "/" + result_name(name)) || !arrivals_.is_complete(name))
        continue;
      // A frame in tiles is held while its network runs: two of them are more than memory has.
      if (engine_.card.tiling) {
        take(options_.in + "/" + name, name, working);
        continue;
      }
      std::optional<Claimed> image;
      const auto claim = [&] { image = begin(options_.in + "/" + name, name, working); };
      if (before) {
        complete(*before, claim);
      } else {
        claim();
      }
      before = std::move(image);
    }
    if (before) complete(*before, [] {});
  }

  void ready() const {
    if (!heartbeat_.ready()) tell("edgectl: " + system_fault() + "\n");
  }
  void beat() {
    heartbeat_.beat(images_, failed_, engine_.pacer.get());
    recorder_.histograms.save_in_time();
  }
  void end() { recorder_.histograms.save(); }
  /// Changes the user for good; an error where that, or the folders, cannot be had.
  std::optional<Error> become_user() const {
    return become(options_.user, {options_.in, options_.out},
                  {crash_folder(), recorder_.histograms.folder(), recorder_.unsure_images.folder(),
                   recorder_.shadow.folder()});
  }
  void wait() { arrivals_.wait(beat_ms); }

 private:
  /// An image that is being decoded, under a name that tells, after a crash, that it was at hand.
  struct Claimed {
    std::string name;
    std::string at_hand;
    std::unique_ptr<Apart> decoding;
  };

  std::optional<Claimed> begin(const std::string& path, const std::string& name,
                               const char* prefix) {
    if (name.size() > max_name_bytes) {
      finish(name, path,
             Error{Exit::image, "image_name", name,
                   format("has a name of %zu bytes, the most are %zu", name.size(), max_name_bytes),
                   "give it a shorter name"});
      return std::nullopt;
    }
    const std::string at_hand = options_.in + "/" + prefix + name;
    if (std::rename(path.c_str(), at_hand.c_str()) != 0) {
      // Else its owner took it.
      if (errno != ENOENT) tell(printable(at_hand) + ": " + system_fault() + "\n");
      return std::nullopt;
    }
    return Claimed{name, at_hand, load_apart(at_hand, engine_.card, engine_.settings.limits)};
  }

  /// `decoded` is called in between: memory has room for one decoder at a time.
  void complete(Claimed& image, const std::function<void()>& decoded) {
    auto input = image.decoding->finish([&] { beat(); });
    decoded();
    if (!input) {
      Error fault = input.error();
      fault.subject = options_.in + "/" + image.name;  // by the name that its owner knows
      finish(image.name, image.at_hand, fault);
    } else {
      finish(image.name, image.at_hand,
             infer(engine_, image.at_hand, std::move(*input), [&] { beat(); }));
    }
    beat();
  }

  void take(const std::string& path, const std::string& name, const char* prefix) {
    auto image = begin(path, name, prefix);
    if (image) complete(*image, [] {});
  }

  /// Room for one more result, and those of the images that are at hand.
  bool has_room(size_t at_hand) const {
    return files_in(options_.out, "").size() + at_hand < static_cast<size_t>(options_.keep);
  }

  /// The result first, then the image goes: a crash in between gives the result again.
  void finish(const std::string& name, const std::string& at_hand, const Result<Inferred>& result) {
    Document document("watch");
    Json top = document.top();
    top.set("model", engine_.card.name);
    top.set("image", name);
    set_settings(top, engine_.settings);
    if (result) {
      set_result(top, *result, engine_.card);
    } else {
      set_error(top, result.error());
      tell(printable(name + ": " + result.error().problem) + "\n");
      ++failed_;
    }
    ++images_;
    const std::string file = options_.out + "/" + result_name(name);
    // A result that is there already is this image's: a crash came before the image went.
    if (write_new_file(file, document.text()) || errno == EEXIST) {
      if (result) record(*result, name, at_hand);
      const bool unread = !result && std::strcmp(result.error().code, "image_missing") == 0;
      // What this user may not read, another may: it is kept.
      if (unread) {
        std::rename(at_hand.c_str(), (options_.in + "/" + unreadable + name).c_str());
      } else {
        unlink(at_hand.c_str());
      }
    } else {
      tell(options_.out + ": " + system_fault() + "\n");
      poll(nullptr, 0, beat_ms);  // a full disk does not empty at once
      std::rename(at_hand.c_str(), (options_.in + "/" + name).c_str());
    }
  }

  void record(const Inferred& inferred, const std::string& name, const std::string& at_hand) {
    const auto write_image = [&](int to, size_t limit) {
      const auto file = open_file(at_hand, {Exit::image, "", "", limit}, Links::refuse);
      return file && copy_file(file->descriptor.get(), to, limit);
    };
    recorder_.add(inferred, engine_.card, name, write_image);
    recorder_.shadow.offer(inferred.answer, engine_.card, write_image);
  }

  const Options& options_;
  Engine& engine_;
  Heartbeat heartbeat_;
  Arrivals arrivals_;
  Recorder recorder_;
  int64_t images_ = 0;
  int64_t failed_ = 0;
};

std::optional<Error> folders_fault(const Options& options) {
  for (const auto& [option, folder] : {std::pair{"--in", &options.in}, {"--out", &options.out}}) {
    if (auto error = folder_fault(option, *folder)) return error;
  }
  return std::nullopt;
}

}  // namespace

Outcome watch(const Options& options) {
  if (auto error = folders_fault(options)) return failed(options.command, *error);
  auto engine = open_engine(options);
  if (!engine) return failed(options.command, engine.error());
  // A release on trial is committed once it says that it is ready, so it proves that first.
  if (const auto error = first_golden_fault(*engine)) return failed(options.command, *error);
  listen_for_the_end();
  Spool spool(options, *engine);
  if (!options.user.empty()) {
    // From here on strangers' images are read, so no more than that is permitted.
    auto error = spool.become_user();
    if (!error) error = folders_fault(options);
    if (error) return failed(options.command, *error);
  }
  spool.ready();
  spool.beat();
  spool.finish_old_work();  // after that: an image that ends the program is not the release's fault
  while (!is_end_asked_for()) {
    spool.beat();
    spool.work();
    if (!is_end_asked_for()) spool.wait();
  }
  spool.end();
  return {Exit::done, "", ""};
}

}  // namespace edge
