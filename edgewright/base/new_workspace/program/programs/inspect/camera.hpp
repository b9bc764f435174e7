// A camera of Video4Linux2: frames of YUYV or JPEG, in memory that the driver
// fills.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

struct Frame {
  const uint8_t* data;
  size_t size;  // bytes
  size_t width, height, stride;
  bool is_jpeg;
};

class Camera {
 public:
  /// Opens a device such as /dev/video0 and starts it; throws
  /// std::runtime_error.
  Camera(const std::string& device, uint32_t width, uint32_t height);
  ~Camera();
  Camera(const Camera&) = delete;
  Camera& operator=(const Camera&) = delete;

  /// Waits for the newest frame and hands it over; it is the driver's again
  /// afterwards.
  void next(const std::function<void(const Frame&)>& take);

 private:
  void ask(unsigned long request, void* argument, const char* what) const;
  void choose_format(uint32_t width, uint32_t height);
  void map_buffers();

  struct Buffer {
    void* start;
    size_t length;
  };
  std::string device_;
  int fd_;
  Frame form_{};  // what frames have in common
  std::vector<Buffer> buffers_;
};
