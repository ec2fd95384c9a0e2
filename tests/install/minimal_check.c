/* Drives libxst_minimal.a over a model file.
 *   minimal_check steps MODEL IN OUT     float32 or int64 rows through a session, raw values out
 *   minimal_check hostile MODEL COUNT    truncated, flipped and resealed files, arenas too small
 *   minimal_check snapshots MODEL ARCHITECTURE WEIGHTS   of other models of the two kinds, and bad
 * Prints figures as NAME VALUE lines; exit 1 with one line where something does not hold. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>
#include <xst.h>
#include <xxhash.h>

#define CHECK(condition, ...)                \
  do {                                       \
    if (!(condition)) {                      \
      fprintf(stderr, "%d: ", __LINE__);     \
      fprintf(stderr, __VA_ARGS__);          \
      fprintf(stderr, ": %s\n", #condition); \
      exit(1);                               \
    }                                        \
  } while (0)

/* A sanitizer has an allocator and stacks of its own. */
#ifndef SANITIZED
static unsigned long allocations;
extern void* __libc_malloc(size_t);
extern void* __libc_calloc(size_t, size_t);
extern void* __libc_realloc(void*, size_t);
void* malloc(size_t n) { return ++allocations, __libc_malloc(n); }
void* calloc(size_t n, size_t m) { return ++allocations, __libc_calloc(n, m); }
void* realloc(void* p, size_t n) { return ++allocations, __libc_realloc(p, n); }

static unsigned char stack[1 << 20];
static ucontext_t back, there;
static void (*job)(void);
static void Enter(void) { job(); }
/* Runs f; what it took of a stack. */
static size_t StackOf(void (*f)(void)) {
  memset(stack, 0xa5, sizeof stack);
  getcontext(&there);
  there.uc_stack.ss_sp = stack;
  there.uc_stack.ss_size = sizeof stack;
  there.uc_link = &back;
  job = f;
  makecontext(&there, Enter, 0);
  swapcontext(&back, &there);
  size_t untouched = 0;
  while (untouched < sizeof stack && stack[untouched] == 0xa5) ++untouched;
  return sizeof stack - untouched;
}
#else
static unsigned long allocations;
static size_t StackOf(void (*f)(void)) { return f(), 0; }
#endif

static uint64_t seed = 1;
static uint64_t Random(uint64_t below) { /* splitmix64 */
  uint64_t z = seed += 0x9e3779b97f4a7c15;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
  z = (z ^ z >> 27) * 0x94d049bb133111eb;
  return (z ^ z >> 31) % below;
}

/* Where `bytes` of memory end, and nothing may be read behind: the kernels are not shown to a
 * sanitizer. */
static unsigned char* GuardedEnd(size_t bytes) {
  const size_t page = (size_t)sysconf(_SC_PAGESIZE), whole = (bytes + page - 1) / page * page;
  unsigned char* const p =
      mmap(NULL, whole + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(p != MAP_FAILED && mprotect(p + whole, page, PROT_NONE) == 0, "memory");
  return p + whole;
}

/* 64-byte aligned as near to such an end as that allows; a model file is at it. */
static unsigned char* Guarded(size_t bytes) {
  return GuardedEnd((bytes + 63) / 64 * 64) - (bytes + 63) / 64 * 64;
}

/* Of exactly `bytes`, so that a sanitizer sees what lies behind. */
static unsigned char* Aligned(size_t bytes) {
  void* p;
  CHECK(posix_memalign(&p, 64, bytes ? bytes : 1) == 0, "memory");
  return p;
}

static unsigned char* Read(const char* path, size_t* bytes) {
  FILE* f = fopen(path, "rb");
  CHECK(f, "%s", path);
  fseek(f, 0, SEEK_END);
  *bytes = (size_t)ftell(f);
  rewind(f);
  unsigned char* p = Guarded(*bytes);
  CHECK(fread(p, 1, *bytes, f) == *bytes, "%s", path);
  fclose(f);
  return p;
}

static const unsigned char* file;
static size_t file_bytes;
static xst_model_options options = {.struct_bytes = sizeof options, .in_place = 1};
static xst_model* model;
static xst_session* session;
static xst_status status;

static void Open(void) { status = xst_model_open_memory(file, file_bytes, &options, &model); }
static void Create(void) { status = xst_session_create(model, &session); }

static void SetArenaAt(size_t offset, size_t bytes) {
  static unsigned char* block;
  free(block);
  block = Aligned(offset + bytes);
  options.arena = block + offset;
  options.arena_bytes = bytes;
}
static void SetArena(size_t bytes) { SetArenaAt(Random(64), bytes); }

/* What the last error says is enough: always more. */
static size_t Wanted(void) {
  unsigned long long n = 0;
  CHECK(status == XST_OUT_OF_MEMORY, "%d %s", status, xst_last_error());
  CHECK(sscanf(xst_last_error(), "arena: expected %llu bytes", &n) == 1, "%s", xst_last_error());
  CHECK(n > options.arena_bytes && n < (1u << 30), "%s", xst_last_error());
  return (size_t)n;
}

/* An open model with a session in an arena of the size that the errors of smaller ones named. */
static void OpenAsTold(void) {
  SetArena(0);
  for (int rounds = 0;; ++rounds) {
    CHECK(rounds < 5, "%s", xst_last_error());
    Open();
    if (status == XST_OK) Create();
    if (status == XST_OK) return;
    SetArena(Wanted());
  }
}

static const void* in;
static float* out;
static xst_model_info info = {.struct_bytes = sizeof info};

static xst_status StepOf(xst_session* s, const void* row, float* to) {
  if (info.tokens) return xst_session_step_token(s, *(const int64_t*)row, to, info.output_width);
  return xst_session_step(s, row, info.input_width, to, info.output_width);
}
static void Step(void) { status = StepOf(session, in, out); }

static void GetInfo(void) {
  CHECK(xst_model_get_info(model, &info) == XST_OK, "%s", xst_last_error());
}

/* info.arena_bytes is enough wherever the arena begins, with and without a session. */
static void TryArenas(void) {
  Open();
  CHECK(status == XST_OK, "%s", xst_last_error());
  GetInfo();
  const uint64_t to_open = info.arena_bytes;
  Create();
  GetInfo();
  CHECK(to_open <= info.arena_bytes, "%" PRIu64, to_open);
  for (size_t offset = 0; offset < 64; offset += info.file_bytes < (1 << 18) ? 1 : 21) {
    SetArenaAt(offset, (size_t)to_open);
    Open();
    CHECK(status == XST_OK, "at %zu: %s", offset, xst_last_error());
    SetArenaAt(offset, (size_t)info.arena_bytes);
    Open();
    if (status == XST_OK) Create();
    CHECK(status == XST_OK, "at %zu: %s", offset, xst_last_error());
  }
}

/* A file that no alignment holds is refused in place, and else copied: it steps as `expected` when
 * its bytes are gone. */
static void StepCopied(const unsigned char* rows, size_t row, size_t count, const float* expected) {
  const unsigned char* const in_place = file;
  unsigned char* const block = Aligned(file_bytes + 1);
  memcpy(block + 1, file, file_bytes);
  file = block + 1;
  Open();
  CHECK(status == XST_INVALID_ARGUMENT && strstr(xst_last_error(), "aligned"), "%d %s", status,
        xst_last_error());
  options.in_place = 0;
  OpenAsTold();
  memset(block, 0xff, file_bytes + 1);
  const size_t width = info.output_width;
  float* const got = malloc(width * sizeof *got);
  for (size_t t = 0; t < count; ++t) {
    CHECK(!XST_FAILED(StepOf(session, rows + t * row, got)), "%s", xst_last_error());
    CHECK(memcmp(got, expected + t * width, width * sizeof *got) == 0, "row %zu of a copy", t);
  }
  free(got);
  free(block);
  file = in_place;
  options.in_place = 1;
}

static void Steps(const char* in_path, const char* out_path) {
  OpenAsTold();
  const size_t stack_to_open = StackOf(Open), stack_to_create = StackOf(Create);
  CHECK(status == XST_OK, "%s", xst_last_error());
  CHECK(stack_to_open <= 8192, "%zu bytes of stack", stack_to_open);
  TryArenas();

  size_t in_bytes;
  const unsigned char* const rows = Read(in_path, &in_bytes);
  const size_t row = info.tokens ? sizeof(int64_t) : info.input_width * sizeof(float);
  const size_t count = in_bytes / row, width = info.output_width;
  out = malloc(count * width * sizeof *out);
  float* const again = malloc(width * sizeof *again);
  void* const snapshot = malloc(info.snapshot_bytes);
  unsigned char* const memory = malloc(info.session_bytes);
  xst_session* other;

  const unsigned long before = allocations;
  float* const all = out;
  size_t stack_to_step = 0;
  for (size_t t = 0; t < count; ++t, out += width) {
    in = rows + t * row;
    if (t != count / 2) {
      Step();
    } else { /* a saved stream goes on elsewhere as it does here */
      CHECK(xst_session_save(session, snapshot, info.snapshot_bytes) == XST_OK, "save");
      CHECK(xst_session_create_in(model, memory, info.session_bytes, &other) == XST_OK, "other");
      CHECK(xst_session_load(other, snapshot, info.snapshot_bytes, 0) == XST_OK, "%s",
            xst_last_error());
      stack_to_step = StackOf(Step);
      CHECK(!XST_FAILED(StepOf(other, in, again)), "%s", xst_last_error());
      CHECK(memcmp(again, out, width * sizeof *out) == 0, "a loaded stream's step");
    }
    CHECK(!XST_FAILED(status), "%s", xst_last_error());
  }
  CHECK(xst_session_step(session, NULL, 0, NULL, 0) == XST_INVALID_ARGUMENT, "null");
  CHECK(allocations == before, "%lu allocations after open", allocations - before);
  CHECK(stack_to_step <= 4096, "%zu bytes of stack", stack_to_step);
  const uint64_t arena = info.arena_bytes;
  FILE* f = fopen(out_path, "wb");
  CHECK(f && fwrite(all, width * sizeof *all, count, f) == count && !fclose(f), "%s", out_path);
  printf("isa %s\narithmetic %s\narena %" PRIu64 "\nstate %" PRIu64 "\n", info.isa, info.arithmetic,
         arena, info.state_bytes);
  printf("stack_to_open %zu\nstack_to_create %zu\nstack_to_step %zu\n", stack_to_open,
         stack_to_create, stack_to_step);
  StepCopied(rows, row, count < 16 ? count : 16, all);
}

/* The last error is of `wanted`, says `what`, and the session is where it was. */
static void CheckRefused(xst_status got, xst_status wanted, const char* what, const void* before) {
  CHECK(got == wanted && strstr(xst_last_error(), what), "%d %s", got, xst_last_error());
  unsigned char* const now = malloc(info.snapshot_bytes);
  CHECK(xst_session_save(session, now, info.snapshot_bytes) == XST_OK, "%s", xst_last_error());
  CHECK(memcmp(now, before, info.snapshot_bytes) == 0, "a stream after %s", what);
  free(now);
}

/* Some steps from where `session` is. */
static void StepSome(float* to) {
  float* const row = calloc(info.input_width, sizeof *row);
  for (int t = 0; t < 3; ++t) {
    for (uint32_t i = 0; i < info.input_width; ++i) row[i] = (float)(t + 1) / (float)(i + 2);
    CHECK(xst_session_step(session, row, info.input_width, to, info.output_width) == XST_OK, "%s",
          xst_last_error());
  }
  free(row);
}

/* A snapshot of a stream of that file. */
static unsigned char* SnapshotOf(const char* path, size_t* bytes) {
  file = Read(path, &file_bytes);
  OpenAsTold();
  GetInfo();
  *bytes = (size_t)info.snapshot_bytes;
  float* const to = malloc(info.output_width * sizeof *to);
  StepSome(to);
  free(to);
  unsigned char* const p = malloc(*bytes);
  CHECK(xst_session_save(session, p, *bytes) == XST_OK, "%s", xst_last_error());
  return p;
}

static void Snapshots(const char* path, const char* architecture, const char* weights) {
  size_t size, arch_size, weights_size;
  unsigned char* const other_arch = SnapshotOf(architecture, &arch_size);
  unsigned char* const other_weights = SnapshotOf(weights, &weights_size);
  unsigned char* const before = SnapshotOf(path, &size);
  const size_t bytes = info.output_width * sizeof(float);
  float* const expected = malloc(bytes);
  float* const got = malloc(bytes);
  StepSome(expected);
  CHECK(xst_session_load(session, before, size, 0) == XST_OK, "%s", xst_last_error());
  char hash[33];
  strcpy(hash, info.arch_hash);

  const unsigned long allocated = allocations;
  xst_status s = xst_session_load(session, other_arch, arch_size, 0);
  CHECK(allocations == allocated, "allocations of a load");
  CheckRefused(s, XST_OTHER_MODEL, hash, before);
  s = xst_session_load(session, other_arch, arch_size, XST_LOAD_OTHER_WEIGHTS);
  CheckRefused(s, XST_OTHER_MODEL, "arch_hash", before);
  s = xst_session_load(session, other_weights, weights_size, 0);
  CheckRefused(s, XST_OTHER_MODEL, info.source_hash, before);
  s = xst_session_load(session, before, size, 2);
  CheckRefused(s, XST_INVALID_ARGUMENT, "flags", before);

  unsigned char* const end = GuardedEnd(size);
  for (size_t n = 0; n < size; ++n) {
    memcpy(end - n, before, n);
    CheckRefused(xst_session_load(session, end - n, n, 0), XST_TRUNCATED, "snapshot", before);
  }
  unsigned char* const bad = end - size;
  memcpy(bad, before, size);
  for (size_t at = 0; at < size; ++at) {
    bad[at] ^= 1 << Random(8);
    /* the version, the count, and what only the magic and the checksum see */
    const xst_status wanted = at >= 4 && at < 8     ? XST_UNSUPPORTED_VERSION
                              : at >= 48 && at < 56 ? XST_TRUNCATED
                                                    : XST_CORRUPT;
    CheckRefused(xst_session_load(session, bad, size, XST_LOAD_OTHER_WEIGHTS), wanted, "snapshot",
                 before);
    bad[at] = before[at];
  }
  const float values[] = {NAN, INFINITY, -INFINITY};
  for (size_t at = 56; at < size - 8; at += 4) { /* sealed with what no state has */
    memcpy(bad + at, &values[at % 3], 4);
    const uint64_t sum = XXH3_64bits(bad, size - 8);
    memcpy(bad + size - 8, &sum, 8);
    CheckRefused(xst_session_load(session, bad, size, 0), XST_CORRUPT, "finite", before);
    memcpy(bad, before, size);
  }

  StepSome(got);
  CHECK(memcmp(got, expected, bytes) == 0, "a stream after loads that were refused");
  s = xst_session_load(session, other_weights, weights_size, XST_LOAD_OTHER_WEIGHTS);
  CHECK(s == XST_OK && xst_session_steps(session) == 3, "%s", xst_last_error());
  StepSome(got);
  CHECK(xst_session_load(session, bad, size, 0) == XST_OK, "%s", xst_last_error());
  StepSome(got);
  CHECK(memcmp(got, expected, bytes) == 0, "a stream loaded again");
}

/* Opens and, where it opens, steps; the status of opening. */
static xst_status Try(void) {
  Open();
  const xst_status opened = status;
  if (opened != XST_OK) {
    CHECK(strstr(xst_last_error(), "expected"), "%s", xst_last_error());
    return opened;
  }
  Create();
  if (status != XST_OK) return opened;
  GetInfo();
  void* const row = calloc(info.input_width + 1, sizeof(int64_t));
  float* const to = malloc((info.output_width + 1) * sizeof(float));
  CHECK(!XST_FAILED(StepOf(session, row, to)), "%s", xst_last_error());
  free(row);
  free(to);
  return opened;
}

static void Hostile(int count) {
  OpenAsTold();
  const size_t whole = file_bytes, arena = options.arena_bytes;
  const unsigned char* const good = file;
  uint64_t dir_bytes;
  memcpy(&dir_bytes, good + 16, sizeof dir_bytes);

  for (int i = 0; i < 64; ++i) { /* arenas of any size and alignment */
    SetArena(Random(arena));
    Open();
    if (status == XST_OK) Create();
    if (status != XST_OK) Wanted();
  }
  SetArena(arena);
  for (int i = 0; i < count; ++i) { /* a part of the file */
    file_bytes = i < 128 ? (size_t)i : Random(whole);
    unsigned char* const cut = Aligned(file_bytes);
    memcpy(cut, good, file_bytes);
    file = cut;
    CHECK(Try() != XST_OK, "%zu of %zu bytes", file_bytes, whole);
    free(cut);
  }
  file_bytes = whole;
  unsigned char* const bad = Guarded(whole);
  file = bad;
  memcpy(bad, good, whole);
  for (int i = 0; i < count; ++i) { /* one bit, first where a checksum is all that sees it */
    const size_t at = i < 64 ? whole - 1 - Random(whole / 2) : Random(64 + dir_bytes);
    bad[at] ^= 1 << Random(8);
    CHECK(Try() != XST_OK, "bit of byte %zu", at);
    bad[at] = good[at];
  }
  int opened = 0;
  for (int i = 0; i < count; ++i) { /* a directory that was written so */
    const size_t at = 64 + Random(dir_bytes);
    for (int n = 0; n < 4; ++n) {
      if (at + n < 64 + dir_bytes && Random(2)) bad[at + n] = (unsigned char)Random(256);
    }
    if (Random(2)) bad[64 + Random(dir_bytes)] ^= 1 << Random(8);
    const uint64_t dir = XXH3_64bits(bad + 64, dir_bytes);
    memcpy(bad + 32, &dir, 8);
    const uint64_t header = XXH3_64bits(bad, 56);
    memcpy(bad + 56, &header, 8);
    opened += Try() == XST_OK;
    memcpy(bad, good, 64 + dir_bytes);
  }
  CHECK(Try() == XST_OK, "%s", xst_last_error());
  printf("opened %d\n", opened);
}

int main(int argc, char** argv) {
  CHECK(argc >= 4, "usage");
  file = Read(argv[2], &file_bytes);
  if (!strcmp(argv[1], "steps")) {
    Steps(argv[3], argv[4]);
  } else if (!strcmp(argv[1], "snapshots")) {
    Snapshots(argv[2], argv[3], argv[4]);
  } else {
    Hostile(atoi(argv[3]));
  }
  return 0;
}
