#include "camera.hpp"

#include <fcntl.h>
#include <linux/videodev2.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace {

constexpr uint32_t buffer_count = 2;  // the driver fills one while the other is looked at

std::runtime_error fault(const std::string& device, const char* what) {
  return std::runtime_error(device + ": " + what + ": " + std::strerror(errno));
}

}  // namespace

Camera::Camera(const std::string& device, uint32_t width, uint32_t height)
    : device_(device), fd_(open(device.c_str(), O_RDWR | O_CLOEXEC)) {
  if (fd_ < 0) throw fault(device, "cannot be opened");
  choose_format(width, height);
  map_buffers();
  int type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  ask(VIDIOC_STREAMON, &type, "does not start");
}

Camera::~Camera() {
  for (const Buffer& buffer : buffers_) munmap(buffer.start, buffer.length);
  close(fd_);
}

void Camera::ask(unsigned long request, void* argument, const char* what) const {
  while (ioctl(fd_, request, argument) != 0) {
    if (errno != EINTR) throw fault(device_, what);
  }
}

void Camera::choose_format(uint32_t width, uint32_t height) {
  v4l2_format format{};
  format.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  format.fmt.pix.width = width;
  format.fmt.pix.height = height;
  format.fmt.pix.pixelformat = V4L2_PIX_FMT_YUYV;
  format.fmt.pix.field = V4L2_FIELD_NONE;
  // The driver takes what is nearest to it, and says what that is.
  ask(VIDIOC_S_FMT, &format, "has no such format");
  const v4l2_pix_format& chosen = format.fmt.pix;
  form_.is_jpeg =
      chosen.pixelformat == V4L2_PIX_FMT_MJPEG || chosen.pixelformat == V4L2_PIX_FMT_JPEG;
  if (!form_.is_jpeg && chosen.pixelformat != V4L2_PIX_FMT_YUYV) {
    errno = EPROTO;
    throw fault(device_, "has neither YUYV nor JPEG");
  }
  form_.width = chosen.width;
  form_.height = chosen.height;
  form_.stride = chosen.bytesperline;
}

void Camera::map_buffers() {
  v4l2_requestbuffers request{};
  request.count = buffer_count;
  request.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  request.memory = V4L2_MEMORY_MMAP;
  ask(VIDIOC_REQBUFS, &request, "has no memory for frames");
  for (uint32_t index = 0; index < request.count; ++index) {
    v4l2_buffer buffer{};
    buffer.type = request.type;
    buffer.memory = request.memory;
    buffer.index = index;
    ask(VIDIOC_QUERYBUF, &buffer, "does not tell its memory");
    void* start =
        mmap(nullptr, buffer.length, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, buffer.m.offset);
    if (start == MAP_FAILED) throw fault(device_, "its memory cannot be mapped");
    buffers_.push_back({start, buffer.length});
    ask(VIDIOC_QBUF, &buffer, "takes no buffer");
  }
}

void Camera::next(const std::function<void(const Frame&)>& take) {
  v4l2_buffer buffer{};
  buffer.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  buffer.memory = V4L2_MEMORY_MMAP;
  ask(VIDIOC_DQBUF, &buffer, "gives no frame");
  Frame frame = form_;
  frame.data = static_cast<const uint8_t*>(buffers_.at(buffer.index).start);
  frame.size = buffer.bytesused;
  const bool is_whole = frame.is_jpeg || frame.size >= frame.stride * frame.height;
  if (is_whole) take(frame);
  ask(VIDIOC_QBUF, &buffer, "takes no buffer");
}
