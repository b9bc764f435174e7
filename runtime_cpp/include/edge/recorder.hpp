#pragma once

#include <string>

#include "edge/engine.hpp"
#include "edge/histograms.hpp"
#include "edge/shadow_feed.hpp"
#include "edge/unsure_images.hpp"

namespace edge {

/// What a service keeps of what it judged, in the deploy root of its release. For one thread.
struct Recorder {
  Recorder(const Settings& settings, const std::string& command)
      : histograms(settings.release, command), unsure_images(settings), shadow(settings.release) {}

  /// `name` is what the image's owner calls it; `read_image` is called if a copy is to be kept, or
  /// given to a candidate.
  void add(const Inferred& inferred, const Card& card, const std::string& name,
           const ImageReader& read_image);

  Histograms histograms;
  UnsureImages unsure_images;
  ShadowFeed shadow;
};

}  // namespace edge
