#pragma once

#include <yyjson.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/result.hpp"

namespace edge {

constexpr size_t max_json_bytes = 1u << 20;

struct JsonDeleter {
  void operator()(yyjson_doc* document) const { yyjson_doc_free(document); }
};
using JsonFile = std::unique_ptr<yyjson_doc, JsonDeleter>;

/// Reads a JSON file of at most 1 MiB (`max_json_bytes`) whose top is an object.
/// `missing` and `invalid` are the codes of the two ways in which that can go wrong.
Result<JsonFile> read_json(const std::string& path, const char* missing, const char* invalid);

/// Of text that is in memory; `name` is for messages.
Result<JsonFile> parse_json(const std::string& name, const char* text, size_t size,
                            const char* invalid);

/// A JSON object that is read field by field. Each defect is noted, none stops the reading,
/// so that one run tells all of them. A getter that finds a defect returns an empty value.
class Fields {
 public:
  Fields(yyjson_val* object, std::string where, std::vector<std::string>& problems)
      : object_(object), where_(std::move(where)), problems_(&problems) {}

  /// Whether there is a value, and it is not null.
  bool has(const char* key) const {
    yyjson_val* value = yyjson_obj_get(object_, key);
    return value != nullptr && !yyjson_is_null(value);
  }
  Fields object(const char* key);
  std::vector<Fields> objects(const char* key);
  std::string text(const char* key);
  std::vector<std::string> texts(const char* key);
  bool flag(const char* key);  // false where it is none
  double number(const char* key);
  uint64_t whole(const char* key, uint64_t low, uint64_t high);  // `low` where it is none
  std::vector<double> numbers(const char* key);

  /// Notes each key that is not one of these, or comes twice.
  void only(const std::vector<std::string>& keys);
  /// Notes "where.key: problem".
  void reject(const char* key, const std::string& problem);
  /// Notes a defect unless the text is the one that is expected.
  void expect(const char* key, const char* expected);
  /// Notes a defect unless `schema` is a whole number from 1 to `newest`. Returns it, or 1.
  int expect_schema(int newest = 1);

 private:
  yyjson_val* get(const char* key, bool (*is)(yyjson_val*), const char* kind);
  std::vector<yyjson_val*> items(const char* key, bool (*is)(yyjson_val*), const char* kind);

  yyjson_val* object_;
  std::string where_;  // path of this object in the document, ends in "." unless it is the top
  std::vector<std::string>* problems_;
};

/// One error that lists all defects of a file.
Error defects(const std::string& path, const char* code, const std::vector<std::string>& problems,
              const char* next);

}  // namespace edge
