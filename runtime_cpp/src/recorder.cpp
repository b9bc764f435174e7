#include "edge/recorder.hpp"

#include <ctime>

namespace edge {

void Recorder::add(const Inferred& inferred, const Card& card, const std::string& name,
                   const ImageWriter& write_image) {
  const int64_t unix_s = std::time(nullptr);
  histograms.add(observe(inferred, card), unix_s);
  unsure_images.offer(name, margin_of(inferred.answer, card), unix_s, write_image);
}

}  // namespace edge
