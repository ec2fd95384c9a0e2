#include "sdk/cpus.h"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <set>
#include <string>
#include <tuple>

namespace xst {
namespace {

// What the system says of a CPU, empty if nothing.
std::string Read(int cpu, const char* what) {
  const std::string path = "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/" + what;
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return "";
  char text[256];
  const ssize_t n = read(file, text, sizeof text);
  close(file);
  return n > 0 ? std::string(text, static_cast<size_t>(n)) : "";
}

}  // namespace

std::vector<int> ChooseCpus(uint32_t count) {
  cpu_set_t allowed;
  const int home = sched_getcpu();
  if (home < 0 || sched_getaffinity(0, sizeof allowed, &allowed) != 0) return {};
  struct Candidate {
    int cpu;
    std::string core, l3;
  };
  std::vector<Candidate> candidates;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (cpu != home && !CPU_ISSET(cpu, &allowed)) continue;
    candidates.push_back({cpu, Read(cpu, "topology/thread_siblings_list"),
                          Read(cpu, "cache/index3/shared_cpu_list")});
  }
  std::vector<int> chosen;
  std::set<std::string> cores;  // taken
  const auto take = [&](std::vector<Candidate>::iterator c) {
    chosen.push_back(c->cpu);
    if (!c->core.empty()) cores.insert(c->core);
    candidates.erase(c);
  };
  const auto at_home = std::find_if(candidates.begin(), candidates.end(),
                                    [&](const Candidate& c) { return c.cpu == home; });
  const std::string l3 = at_home->l3;
  take(at_home);
  while (chosen.size() < count && !candidates.empty()) {
    take(std::min_element(
        candidates.begin(), candidates.end(), [&](const Candidate& a, const Candidate& b) {
          const auto rank = [&](const Candidate& c) {
            return std::tuple(cores.contains(c.core), c.l3 != l3, std::abs(c.cpu - home));
          };
          return rank(a) < rank(b);
        }));
  }
  return chosen;
}

}  // namespace xst
