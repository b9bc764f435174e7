#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "edge/statistics.hpp"
#include "support.hpp"

using namespace edge;

namespace {

constexpr int64_t leak_bytes = 1024;

/// A thread that allocates when it is told to: its blocks lie in an arena of its own.
class Allocator {
 public:
  Allocator() : thread_([this] { work(); }) {}
  ~Allocator() { run(nullptr); }
  void run(std::function<void()> task) {
    {
      std::unique_lock<std::mutex> lock(mutex_);
      task_ = std::move(task);
      is_asked_ = true;
      changed_.notify_all();
      changed_.wait(lock, [this] { return !is_asked_; });
      if (task_) return;
    }
    thread_.join();
  }

 private:
  void work() {
    for (bool goes_on = true; goes_on;) {
      std::unique_lock<std::mutex> lock(mutex_);
      changed_.wait(lock, [this] { return is_asked_; });
      goes_on = static_cast<bool>(task_);
      if (goes_on) task_();
      is_asked_ = false;
      changed_.notify_all();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::function<void()> task_;
  bool is_asked_ = false;
  std::thread thread_;
};

}  // namespace

TEST_CASE("softmax of equal logits is even, and large logits do not overflow") {
  CHECK(probabilities({3, 3}, Activation::softmax) == std::vector<double>{0.5, 0.5});
  const auto sure = probabilities({1000, 0}, Activation::softmax);
  CHECK(sure[0] == 1);
  CHECK(sure[1] == 0);
}

TEST_CASE("a sigmoid takes each output by itself, and probabilities stay as they are") {
  CHECK(probabilities({0, 1000}, Activation::sigmoid) == std::vector<double>{0.5, 1});
  CHECK(probabilities({-1000, 0}, Activation::sigmoid) == std::vector<double>{0, 0.5});
  CHECK(probabilities({0.25, 0.75}, Activation::none) == std::vector<double>{0.25, 0.75});
}

TEST_CASE("the first of equal classes wins") {
  CHECK(argmax({0.2, 0.4, 0.4}) == 1);
}

TEST_CASE("quantiles are linear between neighbours") {
  const std::vector<double> times{40, 10, 30, 20};
  CHECK(quantile(times, 0) == 10);
  CHECK(quantile(times, 0.5) == 25);
  CHECK(quantile(times, 1) == 40);
  CHECK(quantile({7}, 0.95) == 7);
}

TEST_CASE("the largest difference is found whatever its sign") {
  CHECK(max_abs_diff({0.5, 0.5}, {0.25, 0.75}) == 0.25);
}

TEST_CASE("the peak of resident memory is known") {
  CHECK(memory_kb("VmHWM:") > 500);
  CHECK(memory_kb("Nonsense:") == 0);
}

// Sanitizers have an allocator of their own, of which glibc knows nothing.
#if !defined(__SANITIZE_ADDRESS__)
TEST_CASE("the heap in use is exact, whichever thread's arena a block lies in") {
  constexpr int blocks = 100, threads = 4;
  std::vector<std::vector<std::unique_ptr<char[]>>> leaks(threads);
  for (auto& leak : leaks) leak.reserve(blocks);
  std::vector<std::unique_ptr<Allocator>> allocators;
  for (int i = 0; i < threads; ++i) allocators.push_back(std::make_unique<Allocator>());
  const auto on_each = [&](auto task) {
    for (size_t i = 0; i < threads; ++i) allocators[i]->run([&, i] { task(leaks[i]); });
  };
  const auto leak = [](auto& own) {
    for (int i = 0; i < blocks; ++i) own.push_back(std::make_unique<char[]>(leak_bytes));
  };
  on_each([](auto& own) {  // a thread's first block brings an arena
    own.push_back(std::make_unique<char[]>(16));
    own.clear();
  });
  const int64_t before = heap_bytes();
  on_each(leak);
  const int64_t leaked = heap_bytes() - before;
  CHECK(leaked >= threads * blocks * leak_bytes);
  CHECK(leaked <= threads * blocks * (leak_bytes + 32));  // with the allocator's own
  on_each([](auto& own) { own.clear(); });
  // A thread keeps up to 7 blocks of each size to hand out again.
  CHECK(heap_bytes() - before <= threads * 8 * (leak_bytes + 32));
}

TEST_CASE("a block so large that it is mapped by itself is in the heap, too") {
  constexpr int64_t large = 8 << 20;
  const int64_t before = heap_bytes();
  const auto block = std::make_unique<char[]>(large);
  CHECK(heap_bytes() - before >= large);
}
#endif
