#include "edge/user.hpp"

#include <fcntl.h>
#include <grp.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "common/text.hpp"

namespace edge {
namespace {

struct User {
  uid_t uid;
  gid_t gid;
};

/// Read here: a static program's getpwnam would load the board's libraries.
std::optional<User> find_user(const std::string& name) {
  FILE* file = std::fopen("/etc/passwd", "re");
  std::optional<User> user;
  char line[1024];
  while (file != nullptr && !user && std::fgets(line, sizeof line, file) != nullptr) {
    if (std::string(line).compare(0, name.size() + 1, name + ":") != 0) continue;
    // name:password:uid:gid:… (sscanf would be 20 KB of a static program)
    char* at = std::strchr(line + name.size() + 1, ':');
    if (at == nullptr) continue;
    const auto uid = static_cast<uid_t>(std::strtoul(at + 1, &at, 10));
    if (*at == ':') user = User{uid, static_cast<gid_t>(std::strtoul(at + 1, nullptr, 10))};
  }
  if (file != nullptr) std::fclose(file);
  return user;
}

bool may_write(const struct stat& folder, const User& user) {
  if (folder.st_uid == user.uid) return (folder.st_mode & S_IRWXU) == S_IRWXU;
  if (folder.st_gid == user.gid) return (folder.st_mode & S_IRWXG) == S_IRWXG;
  return (folder.st_mode & S_IRWXO) == S_IRWXO && (folder.st_mode & S_ISVTX) == 0;
}

/// By its descriptor: what has its name cannot be changed in between.
bool hand_over(int fd, const User& user) {
  struct stat folder{};
  if (fd < 0 || fstat(fd, &folder) != 0) return false;
  if (may_write(folder, user)) return true;
  if (folder.st_uid == 0) return fchown(fd, user.uid, static_cast<gid_t>(-1)) == 0;
  return fchown(fd, static_cast<uid_t>(-1), user.gid) == 0 &&
         fchmod(fd, (folder.st_mode & 07777) | S_IRWXG) == 0;
}

bool hand_over(const std::string& path, const User& user) {
  const int fd = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool done = hand_over(fd, user);
  if (fd >= 0) close(fd);
  return done;
}

Error refused(const std::string& subject, const std::string& problem) {
  return {Exit::usage, "user_unusable", subject, problem,
          "invoke service.install, or set service.user of the board profile"};
}

}  // namespace

std::optional<Error> become(const std::string& name, const std::vector<std::string>& folders,
                            std::initializer_list<int> dispensable) {
  if (geteuid() != 0) return std::nullopt;
  const auto user = find_user(name);
  if (!user) return refused("--user=" + name, "is no user of this board");
  for (const std::string& folder : folders) {
    if (!hand_over(folder, *user)) return refused(folder, system_fault());
  }
  // On storage that cannot be written the service works all the same.
  for (const int folder : dispensable) hand_over(folder, *user);
  const bool done = setgroups(0, nullptr) == 0 && setgid(user->gid) == 0 &&
                    setuid(user->uid) == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
  if (!done) return refused("--user=" + name, system_fault());
  return std::nullopt;
}

}  // namespace edge
