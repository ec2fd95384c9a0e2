// Counts a program's allocations, locks and page faults, and forbids it system calls. Included by
// one source of a program: it defines malloc.
#pragma once

#include <dlfcn.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define XST_SANITIZED 1
#endif

namespace {
std::atomic<uint64_t> allocations{0}, locks{0};
}

#ifndef XST_SANITIZED
// The program's own definitions win over libc's: every allocation and lock of the process is
// counted.
extern "C" {
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void __libc_free(void*);

void* malloc(size_t n) {
  ++allocations;
  return __libc_malloc(n);
}
void* calloc(size_t n, size_t size) {
  ++allocations;
  return __libc_calloc(n, size);
}
void* realloc(void* p, size_t n) {
  ++allocations;
  return __libc_realloc(p, n);
}
void free(void* p) {
  if (p) ++allocations;
  __libc_free(p);
}
int pthread_mutex_lock(pthread_mutex_t* m) {
  ++locks;
  static auto* const libc =
      reinterpret_cast<int (*)(pthread_mutex_t*)>(dlsym(RTLD_NEXT, "pthread_mutex_lock"));
  return libc(m);
}
}
#endif

namespace xst::test {

// From here on any system call but exit_group kills the process.
inline bool ForbidSystemCalls() {
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
  };
  const sock_fprog filter{4, program};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

// What f() in a child process came to, as waitpid says; f leaves by a bare exit_group or _exit.
template <class F>
int InChild(const F& f) {
  const pid_t child = fork();
  if (child == 0) {
    f();
    _exit(1);
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}
inline constexpr int kNoSeccomp = 77;  // the exit status where ForbidSystemCalls() cannot
inline bool Exited(int status, int code) {
  return WIFEXITED(status) && WEXITSTATUS(status) == code;
}

// Page faults of this thread in f().
template <class F>
int64_t PageFaults(const F& f) {
  rusage before, after;
  getrusage(RUSAGE_THREAD, &before);  // its own
  getrusage(RUSAGE_THREAD, &before);
  f();
  getrusage(RUSAGE_THREAD, &after);
  return after.ru_minflt - before.ru_minflt + after.ru_majflt - before.ru_majflt;
}

}  // namespace xst::test
