// Reads one map of a configuration: every key is taken once with its type and range, what is left
// is an error. Every failure is Error{invalid_config} with name, line and column.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <vector>

#include "formats/yaml.h"

namespace xst::formats {

// Where the text came from, and what it said without effect.
struct ConfigSource {
  std::string name;
  std::vector<std::string>* remarks = nullptr;  // may be null
};

class MapReader {
 public:
  // `path` names the map in messages, e.g. "slstm_block.slstm"; empty at the top. `node` must
  // outlive the reader.
  MapReader(const ConfigSource& source, const YamlNode& node, std::string path);

  const ConfigSource& source() const { return source_; }
  // Where to point when a key is absent.
  const YamlNode& place() const { return place_; }
  bool Has(const char* key) const { return Find(key) != nullptr; }
  // The node, marked as read; null if absent.
  const YamlNode* Take(const char* key);
  // As Take; absent is an error.
  const YamlNode& Require(const char* key);
  // The map under the key; nothing if absent, or if null and `nullable`.
  std::optional<MapReader> Map(const char* key, bool nullable);

  // The map under the key; one without keys if absent.
  MapReader MapOrEmpty(const char* key);

  // Absent leaves `value` alone; false if so.
  bool Integer(const char* key, int64_t low, int64_t high, uint32_t* value);
  bool Number(const char* key, double* value);    // finite
  bool Positive(const char* key, double* value);  // finite, above 0
  bool Bool(const char* key, bool* value);
  bool String(const char* key, std::string* value);
  bool Choice(const char* key, std::initializer_list<const char*> words, uint32_t* index);

  // Keys that have no effect: their type is checked, their presence remarked.
  enum class Type { any, boolean, integer, number, string, map };
  void Ignore(const char* key, Type type, bool nullable = false);
  void IgnoreChoice(const char* key, std::initializer_list<const char*> words,
                    bool nullable = false);

  // Every key must have been taken by now; those that start with '_' are remarked only.
  void Finish();
  // The same for configurations that others write: what is left is remarked.
  void FinishLeniently();

  [[noreturn]] void Fail(const YamlNode& at, const char* key, const std::string& expected,
                         const std::string& got) const;
  void Remark(const YamlNode& at, const std::string& key, const std::string& what) const;
  std::string PathOf(const std::string& key) const;

 private:
  MapReader(const ConfigSource& source, const YamlNode& node, const YamlNode& place,
            std::string path);
  const YamlNode* Find(const char* key) const;

  const ConfigSource& source_;
  const YamlNode& node_;
  const YamlNode& place_;
  std::string path_;
  std::vector<bool> taken_;
};

}  // namespace xst::formats
