#include "edge/recorder.hpp"

#include <ctime>

namespace edge {

void Recorder::add(const Inferred& inferred, const Card& card, const std::string& name,
                   const ImageReader& read_image) {
  const int64_t unix_s = std::time(nullptr);
  histograms.add(observe(inferred, card), unix_s);
  unsure_images.offer(name, margin_of(inferred.answer, card), unix_s, read_image);
  shadow.offer(inferred.answer, card, read_image);
}

}  // namespace edge
