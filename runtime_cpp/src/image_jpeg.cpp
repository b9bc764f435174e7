#include <csetjmp>
#include <cstdio>
// jpeglib.h needs size_t and FILE to be known.
#include <jerror.h>
#include <jpeglib.h>

#include "edge/image.hpp"

namespace edge {
namespace {

constexpr int max_scans = 100;  // of a progressive file; each costs a pass over the whole picture

/// libjpeg's state and where it jumps to on a fault. No member has a destructor: longjmp skips it.
struct Decoder {
  jpeg_decompress_struct jpeg;
  jpeg_error_mgr faults;
  jpeg_progress_mgr progress;
  std::jmp_buf escape;
  char text[JMSG_LENGTH_MAX];  // the fault in libjpeg's words
  int code;                    // the fault as a number of jerror.h
};

[[noreturn]] void leave(j_common_ptr common) {
  auto* decoder = static_cast<Decoder*>(common->client_data);
  decoder->code = common->err->msg_code;
  common->err->format_message(common, decoder->text);
  std::longjmp(decoder->escape, 1);
}

/// Level -1 is a warning: libjpeg has lost data and would go on with grey in its place.
void leave_on_warning(j_common_ptr common, int level) {
  if (level < 0) leave(common);
}

void leave_on_scan_bomb(j_common_ptr common) {
  auto* decoder = static_cast<Decoder*>(common->client_data);
  if (decoder->jpeg.input_scan_number <= max_scans) return;
  common->err->msg_code = JERR_NOTIMPL;
  leave(common);
}

void prepare(Decoder& decoder, const Encoded& encoded) {
  decoder.jpeg.err = jpeg_std_error(&decoder.faults);
  decoder.faults.error_exit = leave;
  decoder.faults.emit_message = leave_on_warning;
  decoder.jpeg.client_data = &decoder;
  if (setjmp(decoder.escape) != 0) return;
  jpeg_create_decompress(&decoder.jpeg);
  decoder.progress.progress_monitor = leave_on_scan_bomb;
  decoder.jpeg.progress = &decoder.progress;
  jpeg_mem_src(&decoder.jpeg, encoded.data, encoded.size);
}

/// Reads the header and chooses grey or RGB as output. False after a fault.
bool read_header(Decoder& decoder) {
  if (setjmp(decoder.escape) != 0) return false;
  jpeg_read_header(&decoder.jpeg, TRUE);
  const bool gray = decoder.jpeg.jpeg_color_space == JCS_GRAYSCALE;
  decoder.jpeg.out_color_space = gray ? JCS_GRAYSCALE : JCS_RGB;
  return true;
}

bool is_cmyk(const Decoder& decoder) {
  return decoder.jpeg.jpeg_color_space == JCS_CMYK || decoder.jpeg.jpeg_color_space == JCS_YCCK;
}

/// Decodes all rows into `pixels`, rows of `stride` bytes. False after a fault.
bool read_pixels(Decoder& decoder, uint8_t* pixels, size_t stride) {
  if (setjmp(decoder.escape) != 0) return false;
  jpeg_start_decompress(&decoder.jpeg);
  while (decoder.jpeg.output_scanline < decoder.jpeg.output_height) {
    JSAMPROW row = pixels + stride * decoder.jpeg.output_scanline;
    jpeg_read_scanlines(&decoder.jpeg, &row, 1);
  }
  return jpeg_finish_decompress(&decoder.jpeg) != FALSE;
}

Error jpeg_error(const Encoded& encoded, const Decoder& decoder) {
  const bool cut = decoder.code == JWRN_JPEG_EOF || decoder.code == JWRN_HIT_MARKER ||
                   decoder.code == JERR_INPUT_EOF || decoder.code == JERR_INPUT_EMPTY;
  if (cut) return truncated_image(encoded.name, "the JPEG data ends early");
  return corrupt_image(encoded.name, decoder.text);
}

Result<Image> decode_with(Decoder& decoder, const Encoded& encoded) {
  if (decoder.code != 0 || !read_header(decoder)) return jpeg_error(encoded, decoder);
  if (is_cmyk(decoder))
    return foreign_image(encoded.name, "is a CMYK JPEG, only grey and RGB are read");
  const int channels = decoder.jpeg.out_color_space == JCS_GRAYSCALE ? 1 : 3;
  auto image = blank_image(encoded, decoder.jpeg.image_width, decoder.jpeg.image_height, channels);
  if (!image) return image;
  const size_t stride = decoder.jpeg.image_width * static_cast<size_t>(channels);
  if (!read_pixels(decoder, image->pixels.get(), stride)) return jpeg_error(encoded, decoder);
  return image;
}

}  // namespace

Result<Image> decode_jpeg(const Encoded& encoded) {
  Decoder decoder{};
  prepare(decoder, encoded);
  auto image = decode_with(decoder, encoded);
  jpeg_destroy_decompress(&decoder.jpeg);
  return image;
}

}  // namespace edge
