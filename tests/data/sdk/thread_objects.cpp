// Says when the objects of a thread are destroyed: the latest first, also those that are made
// meanwhile, and those of the main thread at exit.
#include <cstdio>
#include <thread>

namespace {

struct Object {
  explicit Object(const char* given) : name(given) {}
  ~Object();
  const char* name;
};

void make_late() { static thread_local Object late("late"); }

Object::~Object() {
  std::printf("%s\n", name);
  if (name[0] == 'f') make_late();  // "first" in its thread, "final" in the main one
}

void make_two() {
  static thread_local Object first("first");
  static thread_local Object second("second");
}

}  // namespace

int main() {
  std::thread(make_two).join();
  std::puts("joined");
  static thread_local Object own("final");
  std::puts("end");
}
