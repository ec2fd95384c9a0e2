#include "bindings/c/last_error.h"

#include <pthread.h>

#include <atomic>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>

namespace xst::c {
namespace {

constexpr size_t kTextBytes = sizeof(Fault::message);

// Small enough for the static block of thread-local memory, which no access allocates.
struct Brief {
  const char* what = nullptr;  // null: the text is in the thread's buffer
  const char* relation = nullptr;
  uint64_t expected = 0;
  int64_t got = 0;
  Status status = Status::ok;
  bool numbers = false;
};
[[gnu::tls_model("initial-exec")]] thread_local constinit Brief brief;

// A thread's buffer for its text, made by its first failure outside a step. A pthread key rather
// than thread_local memory: that aborts when it finds no memory.
pthread_key_t key;
std::atomic<bool> key_gone{false};
bool HaveKey() {
  static const bool have = pthread_key_create(&key, std::free) == 0;
  return have && !key_gone;
}

char* Text() noexcept {
  if (!HaveKey()) return nullptr;
  auto* text = static_cast<char*>(pthread_getspecific(key));
  if (text) return text;
  text = static_cast<char*>(std::malloc(kTextBytes));
  if (text && pthread_setspecific(key, text) != 0) {
    std::free(text);
    return nullptr;
  }
  if (text) text[0] = '\0';
  return text;
}

// The key's destructor does not run for the thread that ends the process.
[[gnu::destructor]] void FreeOwnText() {
  if (HaveKey()) {
    std::free(pthread_getspecific(key));
    key_gone = true;
    pthread_key_delete(key);
  }
}

std::mutex log_mutex;
xst_log_callback log_callback = nullptr;
void* log_user = nullptr;

void Log(int32_t level, const char* message) noexcept {
  xst_log_callback callback;
  void* user;
  {
    const std::lock_guard lock(log_mutex);
    callback = log_callback;
    user = log_user;
  }
  if (callback) callback(user, level, message);
}

}  // namespace

xst_status Fail(Status status, const char* message) noexcept {
  brief = {.what = nullptr, .status = status};
  if (char* text = Text()) {
    std::snprintf(text, kTextBytes, "%s", message);
  } else {
    brief.what = Describe(status);
  }
  Log(XST_LOG_ERROR, message);
  return ToC(status);
}

xst_status FailQuietly(Status status, const char* what) noexcept {
  brief = {.what = what, .status = status};
  return ToC(status);
}

xst_status FailQuietly(Status status, const char* what, uint64_t expected, uint64_t got) noexcept {
  return FailQuietly(status, what, "", expected, static_cast<int64_t>(got));
}

xst_status FailQuietly(Status status, const char* what, const char* relation, uint64_t expected,
                       int64_t got) noexcept {
  brief = {what, relation, expected, got, status, true};
  return ToC(status);
}

void LogInfo(const char* message) noexcept { Log(XST_LOG_INFO, message); }

}  // namespace xst::c

using xst::c::brief;

const char* xst_last_error(void) {
  if (brief.status == xst::Status::ok) return "";
  char* const text = xst::c::Text();
  if (!text) return brief.what ? brief.what : xst::Describe(brief.status);
  if (brief.what && brief.numbers && !brief.relation) {
    std::snprintf(text, xst::c::kTextBytes, "%s, got %" PRId64, brief.what, brief.got);
  } else if (brief.what && brief.numbers) {
    std::snprintf(text, xst::c::kTextBytes, "%s: expected %s%" PRIu64 ", got %" PRId64, brief.what,
                  brief.relation, brief.expected, brief.got);
  } else if (brief.what && std::strstr(brief.what, "expected")) {
    std::snprintf(text, xst::c::kTextBytes, "%s", brief.what);
  } else if (brief.what) {
    std::snprintf(text, xst::c::kTextBytes, "%s: %s", brief.what, xst::Describe(brief.status));
  }
  brief.what = nullptr;
  return text;
}

const char* xst_status_string(xst_status status) {
  return xst::Describe(static_cast<xst::Status>(status));
}

void xst_log_set(xst_log_callback callback, void* user) {
  const std::lock_guard lock(xst::c::log_mutex);
  xst::c::log_callback = callback;
  xst::c::log_user = user;
}
