#include "edge/npy.hpp"

#include <cstdio>
#include <cstring>

#include "common/text.hpp"
#include "edge/statistics.hpp"

namespace edge {
namespace {

// NumPy's format, versions 1 to 3: magic, version, length of the header, the header, the values.
constexpr char magic[] = "\x93NUMPY";
constexpr size_t magic_bytes = sizeof magic - 1;
constexpr size_t largest_header = 4096;

Error tensor_error(const std::string& path, const std::string& problem) {
  return {Exit::image, "tensor_invalid", path, problem,
          "save it with numpy.save as float32, of the card's shape"};
}

std::string words_for(const std::vector<int64_t>& shape) {
  std::string text;
  for (const int64_t size : shape) text += format("%lld, ", static_cast<long long>(size));
  if (shape.size() > 1) text.resize(text.size() - 2);  // NumPy writes one size as "(3,)"
  if (shape.size() == 1) text.resize(text.size() - 1);
  return "(" + text + ")";
}

/// What NumPy writes between the braces of a header, without what it may pad it with.
std::string header_for(const std::vector<int64_t>& shape) {
  return "{'descr': '<f4', 'fortran_order': False, 'shape': " + words_for(shape) + ", }";
}

/// The header of a file, and where its values begin.
Result<std::string> read_header(const std::string& path, const FileBytes& file, size_t& start) {
  const uint8_t* bytes = file.data.get();
  const bool is_npy = file.size >= magic_bytes + 6 && std::memcmp(bytes, magic, magic_bytes) == 0;
  if (!is_npy) return tensor_error(path, "is no .npy file");
  const bool is_long = bytes[magic_bytes] >= 2;
  start = magic_bytes + (is_long ? 6 : 4);
  size_t length = bytes[magic_bytes + 2] + 256u * bytes[magic_bytes + 3];
  if (is_long) length += 65536u * bytes[magic_bytes + 4] + 16777216u * bytes[magic_bytes + 5];
  if (length > largest_header || length > file.size - start) {
    return tensor_error(path, "ends in its header, or has one of more than 4096 bytes");
  }
  std::string header(reinterpret_cast<const char*>(bytes) + start, length);
  header.erase(header.find_last_not_of(" \n") + 1);
  start += length;
  return header;
}

std::vector<std::string> split_paths(const std::string& paths) {
  std::vector<std::string> split;
  size_t start = 0;
  for (size_t end = 0; end != std::string::npos; start = end + 1) {
    end = paths.find(',', start);
    split.push_back(paths.substr(start, end == std::string::npos ? end : end - start));
  }
  return split;
}

std::optional<Error> append(const std::string& path, const TensorCard& card, Links links,
                            std::vector<float>& values) {
  const size_t bytes = count_values(card.shape) * sizeof(float);
  const FileFaults faults{Exit::image, "image_missing", "image_too_large",
                          bytes + magic_bytes + 6 + largest_header};
  const auto file = read_file(path, faults, links);
  if (!file) return file.error();
  size_t start = 0;
  const auto header = read_header(path, *file, start);
  if (!header) return header.error();
  const std::string expected = header_for(card.shape);
  if (*header != expected) {
    return tensor_error(path, "is not what the card says of " + card.name +
                                  "\n  expected: " + expected + "\n  found: " + printable(*header));
  }
  if (file->size - start != bytes) {
    return tensor_error(
        path, format("has %zu bytes of values, its header says %zu", file->size - start, bytes));
  }
  const size_t before = values.size();
  values.resize(before + count_values(card.shape));
  std::memcpy(values.data() + before, file->data.get() + start, bytes);
  return std::nullopt;
}

}  // namespace

Result<Input> load_tensors(const std::string& paths, const Card& card, Links links) {
  const double start = now_ms();
  const std::vector<std::string> files = split_paths(paths);
  if (files.size() != card.inputs.size()) {
    return tensor_error(paths, format("names %zu files, the network has %zu inputs", files.size(),
                                      card.inputs.size()));
  }
  Input input;
  input.values.reserve(card.values());
  for (size_t i = 0; i < files.size(); ++i) {
    if (auto error = append(files[i], card.inputs[i], links, input.values)) return *error;
  }
  input.decode_ms = now_ms() - start;
  return input;
}

bool write_npy(const std::string& path, const Tensor& tensor) {
  std::string header = header_for(tensor.shape);
  // Values begin at a multiple of 64 bytes, as NumPy has it.
  const size_t before = magic_bytes + 4;
  header.append(63 - (before + header.size()) % 64, ' ');
  header += '\n';
  const char prefix[] = {1, 0, static_cast<char>(header.size() & 0xFF),
                         static_cast<char>(header.size() >> 8)};
  FILE* file = std::fopen(path.c_str(), "wb");
  if (file == nullptr) return false;
  bool written = std::fwrite(magic, 1, magic_bytes, file) == magic_bytes &&
                 std::fwrite(prefix, 1, sizeof prefix, file) == sizeof prefix &&
                 std::fwrite(header.data(), 1, header.size(), file) == header.size() &&
                 std::fwrite(tensor.values.data(), sizeof(float), tensor.values.size(), file) ==
                     tensor.values.size();
  written = std::fclose(file) == 0 && written;
  return written;
}

}  // namespace edge
