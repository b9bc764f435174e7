// What a program without libstdc++ needs of it: memory, the end of everything where the library
// would throw, and the one instance of std::string.
#include <cstddef>
#include <cstdlib>
#include <string>

void* operator new(size_t size) {
  void* memory = std::malloc(size != 0 ? size : 1);
  if (memory == nullptr) std::abort();
  return memory;
}

void* operator new[](size_t size) {
  return operator new(size);
}

void operator delete(void* memory) noexcept {
  std::free(memory);
}

void operator delete(void* memory, size_t) noexcept {
  std::free(memory);
}

void operator delete[](void* memory) noexcept {
  std::free(memory);
}

void operator delete[](void* memory, size_t) noexcept {
  std::free(memory);
}

extern "C" void __cxa_pure_virtual();
extern "C" void __cxa_pure_virtual() {
  std::abort();
}

namespace std {

void __throw_bad_alloc() {
  abort();
}

void __throw_bad_array_new_length() {
  abort();
}

void __throw_bad_function_call() {
  abort();
}

void __throw_length_error(const char*) {
  abort();
}

void __throw_logic_error(const char*) {
  abort();
}

void __throw_out_of_range_fmt(const char*, ...) {
  abort();
}

template class basic_string<char>;

}  // namespace std
