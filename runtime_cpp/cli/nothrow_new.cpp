// libstdc++'s `new (std::nothrow)` is an `operator new` that throws, and a catch around it. Linked
// without rows of unwinding (cmake/no_unwinding.ld) nothing is caught, and lack of memory would end
// the program in place of the one request that asked for it. Memory comes from where libstdc++'s
// `operator delete` puts it back.
#include <cstddef>
#include <cstdlib>
#include <new>

void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return std::malloc(size ? size : 1);
}

void* operator new[](std::size_t size, const std::nothrow_t&) noexcept {
  return std::malloc(size ? size : 1);
}
