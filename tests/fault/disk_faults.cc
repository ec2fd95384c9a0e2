// LD_PRELOADed: calls on some files fail as on a bad disk. XST_FAULT_FILES is a glob of their
// paths, XST_FAULT_PLAN the failures as "write:2:28 fsync:1:5" (call, which of its calls, errno),
// and one byte is appended to the file XST_FAULT_LOG for every failure that happened.
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include <atomic>

namespace {

constexpr int kFiles = 1024;
std::atomic<bool> watched[kFiles];
struct Counter {
  const char* call;
  std::atomic<int> calls{0};
};
Counter counters[] = {{"open"}, {"write"}, {"ftruncate"}, {"fsync"}};

bool Watched(int fd) { return fd >= 0 && fd < kFiles && watched[fd]; }

// Whether this call is to fail, with errno set.
bool Fails(const char* call) {
  const char* plan = getenv("XST_FAULT_PLAN");
  if (!plan) return false;
  for (Counter& counter : counters) {
    if (strcmp(counter.call, call) != 0) continue;
    char wanted[32];
    snprintf(wanted, sizeof wanted, "%s:%d:", call, ++counter.calls);
    const char* at = strstr(plan, wanted);
    if (!at) return false;
    if (const char* log = getenv("XST_FAULT_LOG")) {
      const long fd =
          syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
      syscall(SYS_write, fd, "x", 1);
      syscall(SYS_close, fd);
    }
    errno = atoi(at + strlen(wanted));
    return true;
  }
  return false;
}

}  // namespace

#define EXPORT extern "C" __attribute__((visibility("default")))

EXPORT int open(const char* path, int flags, ...) {
  va_list list;
  va_start(list, flags);
  const mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(list, mode_t) : 0;
  va_end(list);
  const char* files = getenv("XST_FAULT_FILES");
  const bool of_ours = files && (flags & O_ACCMODE) != O_RDONLY && fnmatch(files, path, 0) == 0;
  if (of_ours && Fails("open")) return -1;
  const int fd = static_cast<int>(syscall(SYS_openat, AT_FDCWD, path, flags, mode));
  if (fd >= 0 && fd < kFiles) watched[fd] = of_ours;
  return fd;
}
EXPORT int close(int fd) {
  if (fd >= 0 && fd < kFiles) watched[fd] = false;
  return static_cast<int>(syscall(SYS_close, fd));
}
EXPORT ssize_t write(int fd, const void* from, size_t n) {
  return Watched(fd) && Fails("write") ? -1 : syscall(SYS_write, fd, from, n);
}
EXPORT int ftruncate(int fd, off_t size) noexcept {
  return Watched(fd) && Fails("ftruncate") ? -1
                                           : static_cast<int>(syscall(SYS_ftruncate, fd, size));
}
EXPORT int fsync(int fd) {
  return Watched(fd) && Fails("fsync") ? -1 : static_cast<int>(syscall(SYS_fsync, fd));
}
