// Runs a plugin in a thread that ends after the plugin is closed:
//
//     plugin_user PLUGIN ARGUMENTS…
//
// The plugin is a program whose `main` is called `plugin_main`.
#include <dlfcn.h>

#include <cstdio>
#include <future>
#include <thread>

int main(int argc, char** argv) {
  void* const plugin = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
  if (plugin == nullptr) {
    std::fprintf(stderr, "%s\n", dlerror());
    return 1;
  }
  using Main = int (*)(int, char**);
  const auto run = reinterpret_cast<Main>(dlsym(plugin, "_Z11plugin_mainiPPc"));
  std::promise<int> answered;
  std::promise<void> closed;
  std::thread thread([&] {
    answered.set_value(run(argc - 1, argv + 1));
    closed.get_future().wait();
  });
  const int code = answered.get_future().get();
  dlclose(plugin);
  closed.set_value();
  thread.join();
  // glibc does not unmap what a thread needs, nor at the thread's end: the next dlclose does it.
  if (void* const again = dlopen(argv[1], RTLD_NOW | RTLD_NOLOAD)) dlclose(again);
  std::fputs(dlopen(argv[1], RTLD_NOW | RTLD_NOLOAD) ? "stays\n" : "gone\n", stderr);
  return code;
}
