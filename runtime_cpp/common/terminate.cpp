// libstdc++ ends on an uncaught exception (here: no memory) with a handler that prints the
// exception's name and brings 60 KB of demangler along. This one, of the same name, takes its
// place in a static link; the crash guard does the telling.
#include <cstdlib>

namespace __gnu_cxx {

void __verbose_terminate_handler();

void __verbose_terminate_handler() {
  std::abort();
}

}  // namespace __gnu_cxx
