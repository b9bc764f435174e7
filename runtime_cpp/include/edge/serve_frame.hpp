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

/// A frame that was loaded, as a file, PGM or PPM, of at most `limit` bytes.
Result<FileBytes> encode_frame(const edge_request& frame, int memory, size_t limit);

}  // namespace edge
