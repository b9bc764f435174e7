#include "edge/shadow_feed.hpp"

#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

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
Descriptor record_of(const FileBytes& image, const std::string& answer) {
  Descriptor record(memfd_create("edge-shadow", MFD_CLOEXEC));
  const auto image_bytes = static_cast<uint32_t>(image.size);
  iovec parts[] = {{const_cast<uint32_t*>(&image_bytes), sizeof image_bytes},
                   {image.data.get(), image.size},
                   {const_cast<char*>(answer.data()), answer.size()}};
  const size_t bytes = sizeof image_bytes + image.size + answer.size();
  if (writev(record.get(), parts, 3) != static_cast<ssize_t>(bytes)) record = Descriptor();
  return record;
}

}  // namespace

std::string shadow_path(int folder) {
  return format("/proc/self/fd/%d/%s", folder, shadow_socket);
}

ShadowFeed::ShadowFeed(const std::string& release)
    : folder_(open_in_deploy_root(release, shadow_folder)) {}

ShadowFeed::~ShadowFeed() {
  if (folder_ >= 0) close(folder_);
}

void ShadowFeed::offer(const Answer& answer, const Card& card, const ImageReader& read_image) {
  if (!candidate_) connect();
  if (!candidate_) return;
  ++offered_;
  if (is_wanted() && give(answer, card, read_image)) {
    is_wanted_ = false;
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

bool ShadowFeed::is_wanted() {
  if (is_wanted_) return true;
  char word = 0;
  const ssize_t got = recv(candidate_.get(), &word, 1, 0);
  if (got < 0 && errno == EAGAIN) return false;
  is_wanted_ = got == 1;
  if (!is_wanted_) candidate_ = Descriptor();
  for (size_t i = 0; i < shadow_fates; ++i) {
    if (is_wanted_ && word == *shadow_fate_names[i]) ++counts.counts[i];
  }
  return is_wanted_;
}

bool ShadowFeed::give(const Answer& answer, const Card& card, const ImageReader& read_image) {
  const auto image = read_image(most_shadow_image_bytes);
  if (!image) return false;
  Document document("shadow");
  set_answer(document.top(), answer, card);
  const Descriptor record = record_of(*image, document.text());
  return record && edge_send_file(candidate_.get(), offered_, record.get()) == 0;
}

}  // namespace edge
