#include "edge/shadow_feed.hpp"

#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "common/document.hpp"
#include "common/text.hpp"
#include "edge/client.h"
#include "edge/deploy_root.hpp"
#include "edge/statistics.hpp"

namespace edge {
namespace {

constexpr double look_ms = 5000;

/// Memory with the image and the answer in it; none where there is no room for it.
Descriptor record_of(const ImageWriter& write_image, size_t limit, const std::string& answer) {
  Descriptor record(memfd_create("edge-shadow", MFD_CLOEXEC));
  bool is_whole = record && write_image(record.get(), limit);
  const auto image_bytes = static_cast<uint32_t>(lseek(record.get(), 0, SEEK_CUR));
  is_whole = is_whole && write_all(record.get(), answer.data(), answer.size()) &&
             write_all(record.get(), &image_bytes, sizeof image_bytes);
  if (!is_whole) record = Descriptor();
  return record;
}

}  // namespace

std::string shadow_path(int folder) {
  return format("/proc/self/fd/%d/%s", folder, shadow_socket);
}

ShadowFeed::ShadowFeed(const Settings& settings)
    : most_image_bytes_(std::min<size_t>(settings.limits.memory / 2, UINT32_MAX)),
      folder_(open_in_deploy_root(settings.release, shadow_folder)) {}

ShadowFeed::~ShadowFeed() {
  if (folder_ >= 0) close(folder_);
}

void ShadowFeed::offer(const Answer& answer, const Card& card, const ImageWriter& write_image) {
  if (!candidate_) connect();
  if (!candidate_) return;
  ++offered_;
  Descriptor record;
  if (is_wanted()) {
    Document document("shadow");
    set_answer(document.top(), answer, card);
    record = record_of(write_image, most_image_bytes_, document.text());
  }
  if (record) {
    is_wanted_ = false;
    if (edge_send_file(candidate_.get(), offered_, record.get()) != 0) lose();
  } else if (candidate_) {
    ++counts[ShadowFate::missed];
  }
}

/// Without waiting: one that hangs accepts nobody.
void ShadowFeed::connect() {
  if (folder_ < 0 || now_ms() - looked_ms_ < look_ms) return;
  looked_ms_ = now_ms();
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strcpy(address.sun_path, shadow_path(folder_).c_str());
  Descriptor candidate(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const auto* at = reinterpret_cast<const sockaddr*>(&address);
  if (::connect(candidate.get(), at, sizeof address) != 0) return;
  candidate_ = std::move(candidate);
  offered_ = 0;
  is_wanted_ = false;
}

/// Another one is looked for with the next image.
void ShadowFeed::lose() {
  candidate_ = Descriptor();
  looked_ms_ = -look_ms;
}

bool ShadowFeed::is_wanted() {
  if (is_wanted_) return true;
  char word = 0;
  const ssize_t bytes = recv(candidate_.get(), &word, 1, 0);
  if (bytes < 0 && errno == EAGAIN) return false;
  is_wanted_ = bytes == 1;
  if (!is_wanted_) lose();
  for (size_t i = 0; i < shadow_fates; ++i) {
    if (is_wanted_ && word == *shadow_fate_names[i]) ++counts.counts[i];
  }
  return is_wanted_;
}

}  // namespace edge
