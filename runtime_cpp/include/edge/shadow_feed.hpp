#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

#include "edge/descriptor.hpp"
#include "edge/engine.hpp"
#include "edge/unsure_images.hpp"

namespace edge {

// Between the service of the current release and a candidate beside it (edge/shadow.hpp), in a
// folder of the deploy root. The candidate listens; each byte that it sends asks for one frame, and
// says what it made of the one before. A frame comes as a request of edge/client.h, EDGE_FILE: in
// the file are the image, the service's own answer as JSON, and the image's size (32 bits, little
// endian); the request's `id` counts the frames that the service has had since it connected.
constexpr const char* shadow_folder = "shadow";
constexpr const char* shadow_socket = "frames-2.sock";  // with the number of this protocol

/// What became of a frame beside the current release.
enum class ShadowFate : size_t {
  agreed,     // the candidate's answer is the same
  disagreed,  // it is another one
  failed,     // the candidate has none
  missed,     // it was not given: the candidate was at work, or it takes too much memory
};
constexpr const char* shadow_fate_names[] = {"agreed", "disagreed", "failed", "missed"};
constexpr size_t shadow_fates = sizeof shadow_fate_names / sizeof *shadow_fate_names;

// What a candidate sends: that it has had no frame yet, or how it fared with the last one.
constexpr char ready_letter = 'r';
constexpr char letter_of(ShadowFate fate) {
  return *shadow_fate_names[static_cast<size_t>(fate)];
}

/// Written by the thread that infers, read by any.
struct ShadowCounts {
  std::atomic<uint32_t> counts[shadow_fates] = {};
  std::atomic<uint32_t>& operator[](ShadowFate fate) { return counts[static_cast<size_t>(fate)]; }
};

/// Way to the socket in an open folder, which a service that has changed its user cannot reach by
/// its name.
std::string shadow_path(int folder);

/// Gives frames to a candidate, if there is one. Whatever becomes of that, the service never waits
/// for it, reads nothing of it but that byte, and holds no more than one frame for it, of at most
/// half of `image_memory`.
class ShadowFeed {
 public:
  /// Nothing is given where the release is not deployed.
  explicit ShadowFeed(const Settings& settings);
  ShadowFeed(const ShadowFeed&) = delete;
  ShadowFeed& operator=(const ShadowFeed&) = delete;
  ~ShadowFeed();

  /// An image and what the current release made of it; `write_image` is called if it is to be
  /// given.
  void offer(const Answer& answer, const Card& card, const ImageWriter& write_image);

  int folder() const { return folder_; }  // as that of Histograms

  ShadowCounts counts;

 private:
  void connect();
  void lose();
  bool is_wanted();

  size_t most_image_bytes_;
  int folder_;
  Descriptor candidate_;
  double looked_ms_ = -1e9;  // whether there is one
  uint32_t offered_ = 0;     // since it is there
  bool is_wanted_ = false;   // it has asked for a frame that was not given yet
};

}  // namespace edge
