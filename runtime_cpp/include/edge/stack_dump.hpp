#pragma once

#include <cstddef>
#include <cstdint>

namespace edge {

// What a thread was at, as text (docs/formats.md, "Crash files"): registers, the stack as it is in
// memory, and where code lies. A workstation with the symbols makes calls of it. All of it is safe
// inside a signal handler.

#if defined(__aarch64__)
constexpr const char* machine = "aarch64";
constexpr size_t register_count = 33;  // x0 to x30, sp, pc
constexpr size_t stack_register = 31;
#elif defined(__arm__)
constexpr const char* machine = "arm";
constexpr size_t register_count = 17;  // r0 to r15, cpsr
constexpr size_t stack_register = 13;
#else  // of the machine that runs the tests
constexpr const char* machine = "x86_64";
constexpr size_t register_count = 17;  // in DWARF's order, rip last
constexpr size_t stack_register = 7;
#endif

using Registers = uintptr_t[register_count];

constexpr size_t stack_bytes = 24 << 10;  // of a thread that was at work

/// `context` is a signal handler's.
void read_registers(const void* context, Registers& registers);

/// A file that is written block by block.
class Sink {
 public:
  explicit Sink(int file) : file_(file) {}

  void text(const char* text);
  void put(char c) {
    if (used_ == sizeof block_) flush();
    block_[used_++] = c;
  }
  void hex(uintptr_t value);
  void bytes(const uint8_t* bytes, size_t count);
  void decimal(uint64_t value);
  /// A line of a key and its value.
  void pair(const char* key, const char* value);
  /// False if anything could not be written.
  bool flush();

 private:
  void digit(uintptr_t value) { put("0123456789abcdef"[value & 15]); }

  int file_;
  size_t used_ = 0;
  bool is_whole_ = true;
  char block_[512];
};

/// Reads memory that may not be there: for a pipe the kernel looks first.
class Memory {
 public:
  Memory();
  bool read(uintptr_t address, uint8_t* bytes, size_t count) const;

 private:
  int ends_[2];
};

/// At most `most` bytes of its stack.
void write_thread(Sink& sink, const Memory& memory, uint64_t id, const Registers& registers,
                  size_t most);

/// Lines of /proc/self/maps with code.
void write_mappings(Sink& sink);

}  // namespace edge
