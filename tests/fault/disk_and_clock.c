/* A disk that fails and a system time that jumps, for xstd under LD_PRELOAD: XST_FAULTS names a
   file of four int32, mapped, that a test changes while xstd runs: errno of opening for writing,
   errno of writing a regular file, errno of fsync, seconds added to the system time; 0: as it is.
   Files under XST_FAULTS_FOLDER alone fail. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static volatile const int32_t* faults;
static const char* folder;

__attribute__((constructor)) static void Open(void) {
  const char* path = getenv("XST_FAULTS");
  folder = getenv("XST_FAULTS_FOLDER");
  if (!path || !folder) return;
  const int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY);
  void* map = mmap(NULL, 16, PROT_READ, MAP_SHARED, fd, 0);
  if (map != MAP_FAILED) faults = map;
  close(fd);
}

static int Fault(int which) { return faults ? faults[which] : 0; }

static int InFolder(int fd) {
  char link[64], path[4096];
  snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
  const ssize_t n = readlink(link, path, sizeof(path) - 1);
  if (n <= 0) return 0;
  path[n] = 0;
  return strncmp(path, folder, strlen(folder)) == 0;
}

static int OpenFile(const char* path, int flags, mode_t mode) {
  const int number = Fault(0);
  if (number && (flags & O_ACCMODE) != O_RDONLY && strncmp(path, folder, strlen(folder)) == 0) {
    errno = number;
    return -1;
  }
  return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

#define OPEN(name)                             \
  int name(const char* path, int flags, ...) { \
    va_list more;                              \
    va_start(more, flags);                     \
    const mode_t mode = va_arg(more, mode_t);  \
    va_end(more);                              \
    return OpenFile(path, flags, mode);        \
  }
OPEN(open)
OPEN(open64)

/* Half is written before the disk is full. */
static ssize_t Full(int fd, const void* from, size_t bytes, off_t at) {
  static __thread int second;
  const int number = Fault(1);
  if (!number || !InFolder(fd)) {
    return at < 0 ? syscall(SYS_write, fd, from, bytes)
                  : syscall(SYS_pwrite64, fd, from, bytes, at);
  }
  second = !second;
  if (second && bytes > 1) {
    return at < 0 ? syscall(SYS_write, fd, from, bytes / 2)
                  : syscall(SYS_pwrite64, fd, from, bytes / 2, at);
  }
  errno = number;
  return -1;
}

ssize_t write(int fd, const void* from, size_t bytes) { return Full(fd, from, bytes, -1); }
ssize_t pwrite(int fd, const void* from, size_t bytes, off_t at) {
  return Full(fd, from, bytes, at);
}
ssize_t pwrite64(int fd, const void* from, size_t bytes, off64_t at) {
  return Full(fd, from, bytes, at);
}

static int Sync(int fd, long call) {
  const int number = Fault(2);
  if (number && InFolder(fd)) {
    errno = number;
    return -1;
  }
  return (int)syscall(call, fd);
}

int fsync(int fd) { return Sync(fd, SYS_fsync); }
int fdatasync(int fd) { return Sync(fd, SYS_fdatasync); }

int clock_gettime(clockid_t id, struct timespec* time) {
  const int status = (int)syscall(SYS_clock_gettime, id, time);
  if (id == CLOCK_REALTIME) time->tv_sec += Fault(3);
  return status;
}

time_t time(time_t* out) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (out) *out = now.tv_sec;
  return now.tv_sec;
}
