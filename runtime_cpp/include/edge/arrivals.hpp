#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace edge {

/// Tells when a file of a folder is complete. One that was renamed into the folder is at once;
/// any other must be unchanged for some time, since who copies it may still write.
class Arrivals {
 public:
  /// Watches `folder`; `results` is watched for what is taken away, to wake up.
  Arrivals(const std::string& folder, const std::string& results);
  Arrivals(const Arrivals&) = delete;
  Arrivals& operator=(const Arrivals&) = delete;
  ~Arrivals();

  /// Sleeps until something happened in either folder, a file may be complete, or `most_ms`.
  void wait(int most_ms);

  bool is_complete(const std::string& name);
  size_t known() const { return patience_ms_.size(); }  // names that are remembered

 private:
  /// What was seen of a file, and since when it is so.
  struct File {
    int64_t size;
    int64_t changed_ns;
    uint64_t inode;
    double since_ms;
  };
  void read_events();
  void note(const std::string& name, uint32_t event);
  void forget_all();  // events were lost

  std::string folder_;
  int notifier_;
  int folder_watch_;
  std::map<std::string, int> patience_ms_;  // by the last event of each name
  std::map<std::string, File> files_;       // that are not complete yet
};

}  // namespace edge
