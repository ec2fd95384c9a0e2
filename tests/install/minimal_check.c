/* Drives libxst_minimal.a over a model file.
 *   minimal_check steps MODEL IN OUT     float32 or int64 rows through a session, raw values out
 *   minimal_check hostile MODEL COUNT    truncated, flipped and resealed files, arenas too small
 * Prints figures as NAME VALUE lines; exit 1 with one line where something does not hold. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
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
  unsigned char* p = Aligned(*bytes);
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

static void SetArena(size_t bytes) {
  free(options.arena);
  options.arena = Aligned(bytes);
  options.arena_bytes = bytes;
}

/* What the last error says is enough. */
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
  Open();
  SetArena(Wanted());
  Open();
  CHECK(status == XST_OK, "%s", xst_last_error());
  Create();
  if (status == XST_OK) return;
  SetArena(Wanted());
  Open();
  CHECK(status == XST_OK, "%s", xst_last_error());
  Create();
  CHECK(status == XST_OK, "%s", xst_last_error());
}

static const void* in;
static float* out;
static xst_model_info info = {.struct_bytes = sizeof info};

static xst_status StepOf(xst_session* s, const void* row, float* to) {
  if (info.tokens) return xst_session_step_token(s, *(const int64_t*)row, to, info.output_width);
  return xst_session_step(s, row, info.input_width, to, info.output_width);
}
static void Step(void) { status = StepOf(session, in, out); }

static void Steps(const char* in_path, const char* out_path) {
  OpenAsTold();
  const size_t stack_to_open = StackOf(Open), stack_to_create = StackOf(Create);
  CHECK(status == XST_OK, "%s", xst_last_error());
  CHECK(xst_model_get_info(model, &info) == XST_OK, "%s", xst_last_error());
  CHECK(info.arena_bytes <= options.arena_bytes, "%" PRIu64, info.arena_bytes);
  SetArena(info.arena_bytes);
  Open();
  Create();
  CHECK(status == XST_OK, "info.arena_bytes: %s", xst_last_error());

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
  FILE* f = fopen(out_path, "wb");
  CHECK(f && fwrite(all, width * sizeof *all, count, f) == count && !fclose(f), "%s", out_path);
  printf("isa %s\narithmetic %s\narena %" PRIu64 "\nstate %" PRIu64 "\n", info.isa, info.arithmetic,
         info.arena_bytes, info.state_bytes);
  printf("stack_to_open %zu\nstack_to_create %zu\nstack_to_step %zu\n", stack_to_open,
         stack_to_create, stack_to_step);
}

static uint64_t seed = 1;
static uint64_t Random(uint64_t below) { /* splitmix64 */
  uint64_t z = seed += 0x9e3779b97f4a7c15;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
  z = (z ^ z >> 27) * 0x94d049bb133111eb;
  return (z ^ z >> 31) % below;
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
  CHECK(xst_model_get_info(model, &info) == XST_OK, "%s", xst_last_error());
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
  unsigned char* const bad = Aligned(whole);
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
  } else {
    Hostile(atoi(argv[3]));
  }
  return 0;
}
