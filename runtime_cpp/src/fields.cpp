#include "edge/fields.hpp"

#include <algorithm>
#include <cstring>

#include "common/text.hpp"
#include "edge/file.hpp"

namespace edge {
namespace {

// yyjson's own tests are inline functions; these have an address and one signature.
bool is_object(yyjson_val* value) {
  return yyjson_is_obj(value);
}
bool is_array(yyjson_val* value) {
  return yyjson_is_arr(value);
}
bool is_text(yyjson_val* value) {
  return yyjson_is_str(value);
}
bool is_flag(yyjson_val* value) {
  return yyjson_is_bool(value);
}
bool is_number(yyjson_val* value) {
  return yyjson_is_num(value);
}

}  // namespace

Result<JsonFile> read_json(const std::string& path, const char* missing, const char* invalid) {
  const auto bytes = read_file(path, {Exit::card, missing, invalid, max_json_bytes});
  if (!bytes) return bytes.error();
  return parse_json(path, reinterpret_cast<const char*>(bytes->data.get()), bytes->size, invalid);
}

Result<JsonFile> parse_json(const std::string& name, const char* text, size_t size,
                            const char* invalid) {
  yyjson_read_err fault{};
  // Read-only without the flag for reading in place.
  JsonFile document(yyjson_read_opts(const_cast<char*>(text), size, 0, nullptr, &fault));
  if (!document) {
    return Error{Exit::card, invalid, name,
                 format("is not JSON (%s at byte %zu of %zu)", fault.msg, fault.pos, size),
                 "copy the model's folder again"};
  }
  if (yyjson_is_obj(yyjson_doc_get_root(document.get()))) return document;
  return Error{Exit::card, invalid, name, "is not a JSON object", "copy the model's folder again"};
}

void Fields::reject(const char* key, const std::string& problem) {
  problems_->push_back(where_ + key + ": " + problem);
}

yyjson_val* Fields::get(const char* key, bool (*is)(yyjson_val*), const char* kind) {
  if (object_ == nullptr) return nullptr;  // told already, for the object itself
  yyjson_val* value = yyjson_obj_get(object_, key);
  if (value != nullptr && is(value)) return value;
  reject(key, value == nullptr ? "is missing" : std::string("is not ") + kind);
  return nullptr;
}

std::vector<yyjson_val*> Fields::items(const char* key, bool (*is)(yyjson_val*), const char* kind) {
  std::vector<yyjson_val*> values;
  yyjson_val* array = get(key, is_array, "a list");
  yyjson_arr_iter iterator = yyjson_arr_iter_with(array);
  while (yyjson_val* item = yyjson_arr_iter_next(&iterator)) {
    if (is(item)) {
      values.push_back(item);
    } else {
      reject(key, format("item %zu is not %s", iterator.idx - 1, kind));
    }
  }
  return values;
}

Fields Fields::object(const char* key) {
  return Fields(get(key, is_object, "an object"), where_ + key + ".", *problems_);
}

std::vector<Fields> Fields::objects(const char* key) {
  std::vector<Fields> objects;
  for (yyjson_val* item : items(key, is_object, "an object")) {
    objects.emplace_back(item, where_ + key + format("[%zu].", objects.size()), *problems_);
  }
  return objects;
}

std::string Fields::text(const char* key) {
  yyjson_val* value = get(key, is_text, "a text");
  return value != nullptr ? yyjson_get_str(value) : "";
}

std::vector<std::string> Fields::texts(const char* key) {
  std::vector<std::string> texts;
  for (yyjson_val* item : items(key, is_text, "a text")) texts.push_back(yyjson_get_str(item));
  return texts;
}

bool Fields::flag(const char* key) {
  return yyjson_get_bool(get(key, is_flag, "true or false"));
}

double Fields::number(const char* key) {
  yyjson_val* value = get(key, is_number, "a number");
  return value != nullptr ? yyjson_get_num(value) : 0;
}

uint64_t Fields::whole(const char* key, uint64_t low, uint64_t high) {
  yyjson_val* value = get(key, is_number, "a number");
  if (value == nullptr) return low;
  const uint64_t number = yyjson_get_uint(value);
  if (yyjson_is_uint(value) && number >= low && number <= high) return number;
  reject(key, format("expected a whole number from %llu to %llu",
                     static_cast<unsigned long long>(low), static_cast<unsigned long long>(high)));
  return low;
}

std::vector<double> Fields::numbers(const char* key) {
  std::vector<double> numbers;
  for (yyjson_val* item : items(key, is_number, "a number"))
    numbers.push_back(yyjson_get_num(item));
  return numbers;
}

void Fields::only(const std::vector<std::string>& keys) {
  std::vector<std::string> seen;
  yyjson_obj_iter iterator = yyjson_obj_iter_with(object_);
  while (yyjson_val* item = yyjson_obj_iter_next(&iterator)) {
    const std::string key = yyjson_get_str(item);
    if (std::find(keys.begin(), keys.end(), key) == keys.end()) {
      reject(key.c_str(), "is not known");
    } else if (std::find(seen.begin(), seen.end(), key) != seen.end()) {
      reject(key.c_str(), "comes twice");
    } else {
      seen.push_back(key);  // at most as many as `keys`: unknown ones do not make it slow
    }
  }
}

void Fields::expect(const char* key, const char* expected) {
  if (get(key, is_text, "a text") == nullptr) return;
  const std::string found = text(key);
  if (found != expected) reject(key, "expected " + std::string(expected) + ", found " + found);
}

int Fields::expect_schema(int newest) {
  if (get("schema", is_number, "a number") == nullptr) return 1;
  const double found = number("schema");
  for (int schema = 1; schema <= newest; ++schema) {
    if (found == schema) return schema;
  }
  const std::string expected = newest == 1 ? "1" : format("1 to %d", newest);
  reject("schema", format("expected %s, found %g", expected.c_str(), found));
  return 1;
}

Error defects(const std::string& path, const char* code, const std::vector<std::string>& problems,
              const char* next) {
  std::string text;
  for (const auto& problem : problems) text += "\n  " + problem;
  const char* count = problems.size() == 1 ? "1 defect" : "%zu defects";
  return {Exit::card, code, path, format(count, problems.size()) + text, next};
}

}  // namespace edge
