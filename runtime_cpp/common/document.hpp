#pragma once

#include <yyjson.h>

#include <memory>
#include <string>
#include <vector>

#include "common/result.hpp"

namespace edge {

/// A JSON object inside a `Document`. A handle: copies name the same object.
class Json {
 public:
  Json(yyjson_mut_doc* document, yyjson_mut_val* value) : document_(document), value_(value) {}

  // Keys are literals; their bytes are not copied.
  void set(const char* key, const std::string& text);  // bytes that are no UTF-8 are replaced
  void set(const char* key, const char* text) { set(key, std::string(text)); }
  void set(const char* key, double number);  // not a number: null
  void set(const char* key, int64_t number);
  void set(const char* key, uint64_t number);
  void set(const char* key, bool value);
  void set(const char* key, const std::vector<std::string>& texts);
  void set(const char* key, const std::vector<double>& numbers);
  void set(const char* key, const std::vector<int64_t>& numbers);
  void set_null(const char* key);

  Json object(const char* key);  // a new object
  Json list(const char* key);    // a new list
  Json append();                 // a new object at the end of this list

 private:
  yyjson_mut_doc* document_;
  yyjson_mut_val* value_;
};

/// A JSON document; the one of a run is {"version": 1, "command": …, …}.
class Document {
 public:
  explicit Document(const std::string& command);
  /// Without anything in it. What the allocator does not grant is left out, as it is there.
  explicit Document(const yyjson_alc& allocator) : Document(yyjson_mut_doc_new(&allocator)) {}
  Json top() { return Json(document_.get(), root_); }
  std::string text() const;  // on one line, ends in a newline

 private:
  explicit Document(yyjson_mut_doc* document);

  struct Deleter {
    void operator()(yyjson_mut_doc* document) const { yyjson_mut_doc_free(document); }
  };
  std::unique_ptr<yyjson_mut_doc, Deleter> document_;
  yyjson_mut_val* root_;
};

/// Adds "error": {"code", "message", "next"}.
void set_error(Json object, const Error& error);

/// Milliseconds to the microsecond, probabilities to 1e-6: no digits without meaning.
double round_ms(double ms);
double round_millionths(double value);
std::vector<double> round_probabilities(std::vector<double> probabilities);

}  // namespace edge
