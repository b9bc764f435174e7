#pragma once

#include <string>

#include "edge/engine.hpp"
#include "edge/histograms.hpp"
#include "edge/shadow_feed.hpp"
#include "edge/unsure_images.hpp"

namespace edge {

/// What a service keeps of what it judged, in the deploy root of its release, and what it gives to
/// a candidate beside it. For one thread.
struct Recorder {
  Recorder(const Settings& settings, const std::string& command)
      : histograms(settings.release, command), unsure_images(settings), shadow(settings) {}

  /// `name` is what the image's owner calls it; `write_image` is called if a copy is to be kept.
  void add(const Inferred& inferred, const Card& card, const std::string& name,
           const ImageWriter& write_image);

  Histograms histograms;
  UnsureImages unsure_images;
  ShadowFeed shadow;
};

}  // namespace edge
