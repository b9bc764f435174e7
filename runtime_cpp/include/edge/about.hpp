#pragma once

#include <string>
#include <vector>

namespace edge {

/// Version of edge-infer, "static" or "shared", as set at configure time.
const char* version();
const char* linkage();

/// ONNX Runtime's execution providers in the order in which they are asked: those that the runtime
/// was built with for this program, the CPU's last.
std::vector<std::string> providers();

/// Lines "domain;opset;Op,Op" of the op config the runtime was reduced to; null for a full runtime.
const char* operator_lines();

/// The linker's build id in hex, which names the file of debug symbols; empty if there is none.
std::string build_id();

}  // namespace edge
