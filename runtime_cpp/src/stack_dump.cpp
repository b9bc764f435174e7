#include "edge/stack_dump.hpp"

#include <fcntl.h>
#include <sys/types.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace edge {
namespace {

constexpr size_t line_bytes = 64;  // of a stack
// Are read at once; it divides a page, so that a block is readable as a whole or not at all.
constexpr size_t block_bytes = 1024;
constexpr size_t page_bytes = 4096;
constexpr size_t unreadable_pages = 16;  // below a stack that ran over
constexpr size_t most_mappings = 64;

void write_stack(Sink& sink, const Memory& memory, uintptr_t top, size_t most) {
  uint8_t block[block_bytes];
  uintptr_t at = top & ~(line_bytes - 1);
  for (size_t page = 0; page < unreadable_pages && !memory.read(at, block, line_bytes); ++page)
    at = (at & ~(page_bytes - 1)) + page_bytes;
  sink.text("stack ");
  sink.hex(at);
  sink.put('\n');
  for (size_t done = 0; done < most;) {
    const size_t count = std::min(block_bytes - (at + done) % block_bytes, most - done);
    if (!memory.read(at + done, block, count)) break;
    for (size_t line = 0; line < count; line += line_bytes) {
      sink.bytes(block + line, line_bytes);
      sink.put('\n');
    }
    done += count;
  }
}

}  // namespace

void read_registers(const void* context, Registers& registers) {
  const auto& machine_context = static_cast<const ucontext_t*>(context)->uc_mcontext;
#if defined(__aarch64__)
  for (size_t i = 0; i < 31; ++i) registers[i] = machine_context.regs[i];
  registers[31] = machine_context.sp;
  registers[32] = machine_context.pc;
#elif defined(__arm__)
  // r0 to r15 and cpsr follow each other there.
  std::memcpy(registers, &machine_context.arm_r0, sizeof registers);
#else
  constexpr int order[] = {REG_RAX, REG_RDX, REG_RCX, REG_RBX, REG_RSI, REG_RDI,
                           REG_RBP, REG_RSP, REG_R8,  REG_R9,  REG_R10, REG_R11,
                           REG_R12, REG_R13, REG_R14, REG_R15, REG_RIP};
  for (size_t i = 0; i < register_count; ++i)
    registers[i] = static_cast<uintptr_t>(machine_context.gregs[order[i]]);
#endif
}

void Sink::text(const char* text) {
  for (; *text != '\0'; ++text) put(*text);
}

void Sink::hex(uintptr_t value) {
  for (unsigned shift = sizeof value * 8; shift > 0;) {
    shift -= 4;
    digit(value >> shift);
  }
}

void Sink::bytes(const uint8_t* bytes, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    digit(bytes[i] >> 4);
    digit(bytes[i]);
  }
}

void Sink::decimal(uint64_t value) {
  char digits[21] = {};
  size_t at = sizeof digits - 1;
  do digits[--at] = static_cast<char>('0' + value % 10);
  while ((value /= 10) != 0);
  text(digits + at);
}

void Sink::pair(const char* key, const char* value) {
  text(key);
  put(' ');
  text(value);
  put('\n');
}

bool Sink::flush() {
  if (write(file_, block_, used_) != static_cast<ssize_t>(used_)) is_whole_ = false;
  used_ = 0;
  return is_whole_;
}

Memory::Memory() {
  if (pipe2(ends_, O_CLOEXEC) != 0) ends_[0] = ends_[1] = -1;
}

bool Memory::read(uintptr_t address, uint8_t* bytes, size_t count) const {
  const auto wanted = static_cast<ssize_t>(count);
  return write(ends_[1], reinterpret_cast<const void*>(address), count) == wanted &&
         ::read(ends_[0], bytes, count) == wanted;
}

void write_thread(Sink& sink, const Memory& memory, uint64_t id, const Registers& registers,
                  size_t most) {
  sink.text("thread ");
  sink.decimal(id);
  sink.text("\nregisters");
  for (const uintptr_t value : registers) {
    sink.put(' ');
    sink.hex(value);
  }
  sink.put('\n');
  write_stack(sink, memory, registers[stack_register], most);
}

void write_mappings(Sink& sink) {
  sink.text("maps\n");
  const int maps = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
  char line[256], block[512];
  size_t length = 0, count = 0;
  ssize_t got = 0;
  while (maps >= 0 && (got = read(maps, block, sizeof block)) > 0) {
    for (ssize_t i = 0; i < got; ++i) {
      if (block[i] != '\n') {
        if (length < sizeof line - 1) line[length++] = block[i];
        continue;
      }
      line[length] = '\0';
      length = 0;
      if (std::strstr(line, " r-xp ") == nullptr || ++count > most_mappings) continue;
      sink.text(line);
      sink.put('\n');
    }
  }
  if (maps >= 0) close(maps);
}

}  // namespace edge
