#include "common/document.hpp"

#include <cmath>
#include <cstdlib>

#include "common/text.hpp"

namespace edge {
namespace {

/// The shortest text of at most 15 digits, so that 0.1 stays 0.1; null for what JSON cannot say.
yyjson_mut_val* number_value(yyjson_mut_doc* document, double number) {
  if (!std::isfinite(number)) return yyjson_mut_null(document);
  return yyjson_mut_rawcpy(document, format("%.15g", number).c_str());
}

}  // namespace

void Json::set(const char* key, const std::string& text) {
  const std::string clean = utf8(text);
  yyjson_mut_obj_add_strncpy(document_, value_, key, clean.data(), clean.size());
}

void Json::set(const char* key, double number) {
  yyjson_mut_obj_add_val(document_, value_, key, number_value(document_, number));
}

void Json::set(const char* key, int64_t number) {
  yyjson_mut_obj_add_sint(document_, value_, key, number);
}

void Json::set(const char* key, uint64_t number) {
  yyjson_mut_obj_add_uint(document_, value_, key, number);
}

void Json::set(const char* key, bool value) {
  yyjson_mut_obj_add_bool(document_, value_, key, value);
}

void Json::set(const char* key, const std::vector<std::string>& texts) {
  yyjson_mut_val* list = yyjson_mut_obj_add_arr(document_, value_, key);
  for (const auto& text : texts) {
    const std::string clean = utf8(text);
    yyjson_mut_arr_add_strncpy(document_, list, clean.data(), clean.size());
  }
}

void Json::set(const char* key, const std::vector<double>& numbers) {
  yyjson_mut_val* list = yyjson_mut_obj_add_arr(document_, value_, key);
  for (const double number : numbers) yyjson_mut_arr_add_val(list, number_value(document_, number));
}

void Json::set(const char* key, const std::vector<int64_t>& numbers) {
  yyjson_mut_val* list = yyjson_mut_obj_add_arr(document_, value_, key);
  for (const int64_t number : numbers) yyjson_mut_arr_add_sint(document_, list, number);
}

void Json::set_null(const char* key) {
  yyjson_mut_obj_add_null(document_, value_, key);
}

Json Json::object(const char* key) {
  return Json(document_, yyjson_mut_obj_add_obj(document_, value_, key));
}

Json Json::list(const char* key) {
  return Json(document_, yyjson_mut_obj_add_arr(document_, value_, key));
}

Json Json::append() {
  return Json(document_, yyjson_mut_arr_add_obj(document_, value_));
}

Document::Document(yyjson_mut_doc* document)
    : document_(document), root_(yyjson_mut_obj(document)) {
  yyjson_mut_doc_set_root(document_.get(), root_);
}

Document::Document(const std::string& command) : Document(yyjson_mut_doc_new(nullptr)) {
  top().set("version", int64_t{1});
  if (command.empty()) {
    top().set_null("command");
  } else {
    top().set("command", command);
  }
}

std::string Document::text() const {
  const std::unique_ptr<char, void (*)(void*)> written(
      yyjson_mut_write(document_.get(), YYJSON_WRITE_NEWLINE_AT_END, nullptr), std::free);
  return written ? written.get() : "";
}

void set_error(Json object, const Error& error) {
  Json entry = object.object("error");
  entry.set("code", error.code);
  entry.set("message", error.message());
  entry.set("next", error.next);
}

double round_ms(double ms) {
  return std::round(ms * 1e3) / 1e3;
}

double round_millionths(double value) {
  return std::round(value * 1e6) / 1e6;
}

std::vector<double> round_probabilities(std::vector<double> probabilities) {
  for (double& probability : probabilities) probability = round_millionths(probability);
  return probabilities;
}

}  // namespace edge
