#pragma once

#include <string>

namespace edge {

/// Opens a folder of the deploy root that `release` lies in, and makes it (mode 0700) where it is
/// missing; -1 if the release lies elsewhere, or that cannot be done. Whoever changes the user
/// keeps the descriptor: a service may not reach the folder by name.
int open_in_deploy_root(const std::string& release, const std::string& name);

}  // namespace edge
