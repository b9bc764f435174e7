#pragma once

#include <initializer_list>
#include <string>
#include <vector>

#include "common/result.hpp"

namespace edge {

/// From here on this process is the user `name` of /etc/passwd, for good, and may write these
/// folders. A folder of root's becomes the user's own; one of another user's stays that user's,
/// and its group becomes this user's. Nothing happens where the process is not root's. So it is
/// with the open folders `dispensable` (-1: none), whose storage need not be writable.
std::optional<Error> become(const std::string& name, const std::vector<std::string>& folders,
                            std::initializer_list<int> dispensable);

}  // namespace edge
