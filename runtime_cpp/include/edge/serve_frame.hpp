#pragma once

#include <string>

#include "edge/client.h"
#include "edge/file.hpp"
#include "edge/preprocess.hpp"

namespace edge {

/// The input of a frame in a client's memory, which must be sealed against shrinking: where pages
/// go while they are read the process ends by SIGBUS.
Result<Input> load_frame(const edge_request& frame, int memory, const std::string& name,
                         const Card& card, const ImageLimits& limits);

/// Appends a frame that was loaded to an open file, as PGM or PPM, so that it makes the same input
/// again; false if that is more than `limit` bytes, or not possible.
bool write_frame(const edge_request& frame, int memory, const Card& card, int file, size_t limit);

}  // namespace edge
