// Lets one allocation or one file operation of this thread fail. Included by one source of a
// program: it defines malloc, open, read and the like.
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define XST_SANITIZED 1
#endif

namespace xst::test {

// How a file operation fails: with an error, or by moving half of the bytes.
enum class Io { eio, enospc, eintr, half };

struct Failure {
  long allocations = -1;  // that still succeed; negative: all do
  long operations = -1;
  Io io = Io::eio;
};
inline thread_local Failure failure;

inline bool Fails(long* until) { return *until >= 0 && (*until)-- == 0; }

inline bool Errs() {
  if (failure.io == Io::half || !Fails(&failure.operations)) return false;
  errno = failure.io == Io::eio ? EIO : failure.io == Io::enospc ? ENOSPC : EINTR;
  return true;
}

// The bytes that a transfer of `n` may move.
inline size_t Shortened(size_t n) {
  return failure.io == Io::half && n > 1 && Fails(&failure.operations) ? n / 2 : n;
}

}  // namespace xst::test

// How a system call takes an offset: 32-bit ARM wants a pair of registers, the first one even.
#ifdef __arm__
#define XST_OFFSET(at) 0L, static_cast<long>(at), static_cast<long>((at) >> 32)
#define XST_FTRUNCATE SYS_ftruncate64
#define XST_MMAP SYS_mmap2
#define XST_MMAP_OFFSET(at) static_cast<long>((at) / 4096)
#else
#define XST_OFFSET(at) at
#define XST_FTRUNCATE SYS_ftruncate
#define XST_MMAP SYS_mmap
#define XST_MMAP_OFFSET(at) at
#endif

// The program's own definitions win over libc's.
extern "C" {
#ifndef XST_SANITIZED
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);

void* malloc(size_t n) {
  return xst::test::Fails(&xst::test::failure.allocations) ? nullptr : __libc_malloc(n);
}
void* calloc(size_t n, size_t size) {
  return xst::test::Fails(&xst::test::failure.allocations) ? nullptr : __libc_calloc(n, size);
}
void* realloc(void* p, size_t n) {
  return xst::test::Fails(&xst::test::failure.allocations) ? nullptr : __libc_realloc(p, n);
}
#endif

int open(const char* path, int flags, ...) {
  va_list list;
  va_start(list, flags);
  const mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(list, mode_t) : 0;
  va_end(list);
  if (xst::test::Errs()) return -1;
  return static_cast<int>(syscall(SYS_openat, AT_FDCWD, path, flags, mode));
}
ssize_t read(int fd, void* to, size_t n) {
  return xst::test::Errs() ? -1 : syscall(SYS_read, fd, to, xst::test::Shortened(n));
}
ssize_t pread(int fd, void* to, size_t n, off_t at) {
  return xst::test::Errs() ? -1
                           : syscall(SYS_pread64, fd, to, xst::test::Shortened(n), XST_OFFSET(at));
}
ssize_t write(int fd, const void* from, size_t n) {
  return xst::test::Errs() ? -1 : syscall(SYS_write, fd, from, xst::test::Shortened(n));
}
ssize_t pwrite(int fd, const void* from, size_t n, off_t at) {
  return xst::test::Errs()
             ? -1
             : syscall(SYS_pwrite64, fd, from, xst::test::Shortened(n), XST_OFFSET(at));
}
int fsync(int fd) { return xst::test::Errs() ? -1 : static_cast<int>(syscall(SYS_fsync, fd)); }
int fdatasync(int fd) {
  return xst::test::Errs() ? -1 : static_cast<int>(syscall(SYS_fdatasync, fd));
}
int ftruncate(int fd, off_t size) noexcept {
  return xst::test::Errs() ? -1 : static_cast<int>(syscall(XST_FTRUNCATE, fd, XST_OFFSET(size)));
}
int rename(const char* from, const char* to) noexcept {
  return xst::test::Errs() ? -1
                           : static_cast<int>(syscall(SYS_renameat, AT_FDCWD, from, AT_FDCWD, to));
}
void* mmap(void* at, size_t n, int protection, int flags, int fd, off_t offset) noexcept {
  if (xst::test::Errs()) return MAP_FAILED;
  return reinterpret_cast<void*>(
      syscall(XST_MMAP, at, n, protection, flags, fd, XST_MMAP_OFFSET(offset)));
}
}
