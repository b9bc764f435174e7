#include <algorithm>
#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>
// jpeglib.h needs size_t and FILE to be known.
#include <jerror.h>
#include <jpeglib.h>

#include "edge/image.hpp"

namespace edge {
namespace {

constexpr int max_scans = 100;    // of a progressive file; each costs a pass over the whole picture
constexpr size_t window = 16384;  // bytes of a file that are read at once

/// libjpeg's state and where it jumps to on a fault. No member has a destructor: longjmp skips it.
struct Decoder {
  jpeg_decompress_struct jpeg;
  jpeg_source_mgr source;
  const Encoded* encoded;
  size_t at;  // where `bytes` is filled from next
  JOCTET bytes[window];
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

void do_nothing(j_decompress_ptr) {}

boolean read_on(j_decompress_ptr jpeg) {
  auto* decoder = static_cast<Decoder*>(jpeg->client_data);
  const size_t count = decoder->encoded->read(decoder->at, decoder->bytes, window);
  decoder->at += count;
  if (count == 0) WARNMS(jpeg, JWRN_JPEG_EOF);  // which leaves
  decoder->source.next_input_byte = decoder->bytes;
  decoder->source.bytes_in_buffer = count;
  return TRUE;
}

void skip(j_decompress_ptr jpeg, long count) {
  auto* decoder = static_cast<Decoder*>(jpeg->client_data);
  jpeg_source_mgr& source = decoder->source;
  if (count <= 0) return;
  const auto in_buffer = std::min(source.bytes_in_buffer, static_cast<size_t>(count));
  source.next_input_byte += in_buffer;
  source.bytes_in_buffer -= in_buffer;
  decoder->at += static_cast<size_t>(count) - in_buffer;
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
  decoder.encoded = &encoded;
  decoder.source.init_source = do_nothing;
  decoder.source.fill_input_buffer = read_on;
  decoder.source.skip_input_data = skip;
  decoder.source.resync_to_restart = jpeg_resync_to_restart;
  decoder.source.term_source = do_nothing;
  decoder.jpeg.src = &decoder.source;
}

/// Reads the header and chooses grey or RGB as output. False after a fault.
bool read_header(Decoder& decoder) {
  if (setjmp(decoder.escape) != 0) return false;
  jpeg_read_header(&decoder.jpeg, TRUE);
  const bool gray = decoder.jpeg.jpeg_color_space == JCS_GRAYSCALE || decoder.encoded->is_for_gray;
  decoder.jpeg.out_color_space = gray ? JCS_GRAYSCALE : JCS_RGB;
  return true;
}

bool is_cmyk(const Decoder& decoder) {
  return decoder.jpeg.jpeg_color_space == JCS_CMYK || decoder.jpeg.jpeg_color_space == JCS_YCCK;
}

/// Read from the file itself: libjpeg would copy each segment, and there may be many large ones.
int orientation_of(const Encoded& encoded) {
  constexpr char magic[] = "Exif\0";  // with its two zeros
  constexpr uint8_t app1 = 0xE1, start_of_scan = 0xDA, fill = 0xFF;
  uint8_t segment[4 + sizeof magic];
  for (size_t at = 2; at + 4 <= encoded.size;) {
    const size_t count = encoded.read(at, segment, sizeof segment);
    if (count < 4 || segment[0] != 0xFF) return 1;
    const size_t length = size_t{segment[2]} << 8 | segment[3];
    if (segment[1] == fill) {
      ++at;
      continue;
    }
    if (segment[1] == start_of_scan || length < 2 || length > encoded.size - at - 2) return 1;
    const bool exif = segment[1] == app1 && length >= 2 + sizeof magic && count == sizeof segment &&
                      std::memcmp(segment + 4, magic, sizeof magic) == 0;
    if (exif) {
      return exif_orientation(encoded, at + sizeof segment, length - 2 - sizeof magic);
    }
    at += 2 + length;
  }
  return 1;
}

/// Decodes row by row into `row`, and hands each on. False after a fault.
bool read_rows(Decoder& decoder, uint8_t* row, Rows& rows) {
  if (setjmp(decoder.escape) != 0) return false;
  jpeg_start_decompress(&decoder.jpeg);
  while (decoder.jpeg.output_scanline < decoder.jpeg.output_height) {
    JSAMPROW line = row;
    jpeg_read_scanlines(&decoder.jpeg, &line, 1);
    rows.row(row);  // never jumped out of: libjpeg is not at work meanwhile
  }
  return jpeg_finish_decompress(&decoder.jpeg) != FALSE;
}

Error jpeg_error(const Encoded& encoded, const Decoder& decoder) {
  const bool cut = decoder.code == JWRN_JPEG_EOF || decoder.code == JWRN_HIT_MARKER ||
                   decoder.code == JERR_INPUT_EOF || decoder.code == JERR_INPUT_EMPTY;
  if (cut) return truncated_image(encoded.name, "the JPEG data ends early");
  const bool hungry = decoder.code == JERR_NO_BACKING_STORE || decoder.code == JERR_OUT_OF_MEMORY;
  if (hungry) return too_much_memory(encoded, "is progressive or of several scans");
  return corrupt_image(encoded.name, decoder.text);
}

std::optional<Error> decode_with(Decoder& decoder, const Encoded& encoded, Rows& rows) {
  if (decoder.code != 0 || !read_header(decoder)) return jpeg_error(encoded, decoder);
  if (is_cmyk(decoder))
    return foreign_image(encoded.name, "is a CMYK JPEG, only grey and RGB are read");
  const size_t width = decoder.jpeg.image_width;
  const size_t height = decoder.jpeg.image_height;
  if (auto error = check_size(encoded, width, height)) return error;
  ImageShape shape{static_cast<int>(width), static_cast<int>(height),
                   decoder.jpeg.out_color_space == JCS_GRAYSCALE ? 1 : 3, orientation_of(encoded)};
  const int reduction = rows.choose_reduction(shape);
  decoder.jpeg.scale_denom = static_cast<unsigned>(reduction);
  shape.width = (shape.width + reduction - 1) / reduction;
  shape.height = (shape.height + reduction - 1) / reduction;
  std::vector<uint8_t> row(static_cast<size_t>(shape.width) * static_cast<size_t>(shape.channels));
  rows.begin(shape);
  // A progressive picture is held whole, as coefficients; 0 would be no limit.
  const size_t left = std::max<size_t>(memory_left(encoded, rows.held()), 1);
  decoder.jpeg.mem->max_memory_to_use = static_cast<long>(left);
  if (!read_rows(decoder, row.data(), rows)) return jpeg_error(encoded, decoder);
  return std::nullopt;
}

}  // namespace

std::optional<Error> decode_jpeg(const Encoded& encoded, Rows& rows) {
  Decoder decoder{};
  // Also where `rows` ends by an exception, in a library that is compiled with them.
  const std::unique_ptr<jpeg_decompress_struct, void (*)(j_decompress_ptr)> owned(
      &decoder.jpeg, jpeg_destroy_decompress);
  prepare(decoder, encoded);
  return decode_with(decoder, encoded, rows);
}

}  // namespace edge
