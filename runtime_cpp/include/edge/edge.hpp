// libedge for C++17: owners of what edge.h hands out. A header alone, so any compiler's programs
// may use it. It needs no exceptions; where there are some, `value()` throws.
//
//   auto card = libedge::Card::read("card.json");
//   if (!card) return fail(card.error());
//   auto image = libedge::Image::read(*card, "part.png");
//   ...
//   if (libedge::Error error = image->input(0, values)) return fail(error);
//   ... ONNX Runtime makes outputs of them ...
//   if (libedge::Error error = image->set_outputs(0, outputs)) return fail(error);
//   auto answer = image->answer();
//   std::puts(answer->json());
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>
#ifdef __cpp_exceptions
#include <stdexcept>
#endif

#include "edge/edge.h"

namespace libedge {

struct Deleter {
  void operator()(edge_error* error) const { edge_error_free(error); }
  void operator()(edge_card* card) const { edge_card_free(card); }
  void operator()(edge_image* image) const { edge_image_free(image); }
  void operator()(edge_result* result) const { edge_result_free(result); }
};
template <class T>
using Handle = std::unique_ptr<T, Deleter>;

/// Why something cannot be done; converts to false where it could.
class [[nodiscard]] Error {
 public:
  explicit Error(edge_error* error = nullptr) : error_(error) {}

  explicit operator bool() const { return error_ != nullptr; }
  edge_code code() const { return edge_error_code(error_.get()); }
  const char* word() const { return edge_error_word(error_.get()); }
  const char* message() const { return edge_error_message(error_.get()); }
  const char* next() const { return edge_error_next(error_.get()); }

 private:
  Handle<edge_error> error_;
};

#ifdef __cpp_exceptions
class Exception : public std::runtime_error {
 public:
  explicit Exception(const Error& error)
      : std::runtime_error(std::string(error.message()) + "\nnext: " + error.next()),
        code_(error.code()) {}
  edge_code code() const { return code_; }

 private:
  edge_code code_;
};
#endif

/// A value, or why there is none.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}
  Result(Error&& error) : error_(std::move(error)) {}

  explicit operator bool() const { return value_.has_value(); }
  T& operator*() { return *value_; }
  T* operator->() { return &*value_; }
  const T& operator*() const { return *value_; }
  const T* operator->() const { return &*value_; }
  const Error& error() const { return error_; }
#ifdef __cpp_exceptions
  T value() && {
    if (!value_) throw Exception(error_);
    return std::move(*value_);
  }
#endif

 private:
  std::optional<T> value_;
  Error error_;
};

class Card {
 public:
  static Result<Card> read(const std::string& path) {
    edge_card* card = nullptr;
    Error error(edge_card_read(path.c_str(), &card));
    return made(std::move(error), card);
  }
  static Result<Card> parse(std::string_view json) {
    edge_card* card = nullptr;
    Error error(edge_card_parse(json.data(), json.size(), &card));
    return made(std::move(error), card);
  }

  edge_task task() const { return edge_card_task(get()); }
  const char* name() const { return edge_card_name(get()); }
  std::vector<const char*> labels() const {
    std::vector<const char*> labels;
    while (const char* label = edge_card_label(get(), labels.size())) labels.push_back(label);
    return labels;
  }
  std::vector<edge_tensor_info> inputs() const { return tensors(edge_card_input); }
  std::vector<edge_tensor_info> outputs() const { return tensors(edge_card_output); }
  const edge_card* get() const { return card_.get(); }

 private:
  explicit Card(edge_card* card) : card_(card) {}
  static Result<Card> made(Error error, edge_card* card) {
    if (error) return error;
    return Card(card);
  }
  std::vector<edge_tensor_info> tensors(const edge_tensor_info* (*at)(const edge_card*,
                                                                      size_t)) const {
    std::vector<edge_tensor_info> tensors;
    while (const edge_tensor_info* tensor = at(get(), tensors.size())) tensors.push_back(*tensor);
    return tensors;
  }

  Handle<edge_card> card_;
};

/// What a task makes of an image, or of tensors.
class Answer {
 public:
  /// Of a card whose task is EDGE_TASK_TENSOR.
  static Result<Answer> of_tensors(const Card& card, const std::vector<edge_tensor>& outputs) {
    edge_result* result = nullptr;
    Error error(edge_tensor_result(card.get(), outputs.data(), outputs.size(), &result));
    if (error) return error;
    return Answer(result);
  }

  const char* json() const { return edge_result_json(result_.get()); }
  // Null where the answer is of another task.
  const edge_classification* classification() const {
    return edge_result_classification(result_.get());
  }
  const edge_anomaly* anomaly() const { return edge_result_anomaly(result_.get()); }
  std::vector<edge_detection> detections() const {
    size_t count = 0;
    const edge_detection* first = edge_result_detections(result_.get(), &count);
    return {first, first + count};
  }

 private:
  friend class Image;
  explicit Answer(edge_result* result) : result_(result) {}

  Handle<edge_result> result_;
};

class Image {
 public:
  static Result<Image> read(const Card& card, const std::string& path,
                            const edge_limits* limits = nullptr) {
    edge_image* image = nullptr;
    Error error(edge_image_read(card.get(), path.c_str(), limits, &image));
    return made(std::move(error), image);
  }
  static Result<Image> decode(const Card& card, const void* data, size_t size,
                              const edge_limits* limits = nullptr) {
    edge_image* image = nullptr;
    Error error(edge_image_decode(card.get(), data, size, limits, &image));
    return made(std::move(error), image);
  }
  static Result<Image> from_pixels(const Card& card, const edge_pixels& pixels,
                                   const edge_limits* limits = nullptr) {
    edge_image* image = nullptr;
    Error error(edge_image_from_pixels(card.get(), &pixels, limits, &image));
    return made(std::move(error), image);
  }

  size_t tiles() const { return edge_image_tiles(image_.get()); }
  /// `values` has as many as the card's input.
  Error input(size_t tile, std::vector<float>& values) const {
    return Error(edge_image_input(image_.get(), tile, values.data(), values.size()));
  }
  Error set_outputs(size_t tile, const std::vector<edge_tensor>& outputs) {
    return Error(edge_image_set_outputs(image_.get(), tile, outputs.data(), outputs.size()));
  }
  Result<Answer> answer() const {
    edge_result* result = nullptr;
    Error error(edge_image_result(image_.get(), &result));
    if (error) return error;
    return Answer(result);
  }

 private:
  explicit Image(edge_image* image) : image_(image) {}
  static Result<Image> made(Error error, edge_image* image) {
    if (error) return error;
    return Image(image);
  }

  Handle<edge_image> image_;
};

}  // namespace libedge
