/* embedded: a model that is part of the program, in memory that is part of the program. `xst pack
 * --c-array` makes model.c; compile this with it and link libxst_minimal.a and libm. Reads rows of
 * numbers, writes rows of numbers. */
#include <stdio.h>

#include <xst.h>

extern const unsigned char model_xst[];
extern const size_t model_xst_len;

#ifndef ARENA_BYTES
#define ARENA_BYTES (512 * 1024) /* info.arena_bytes says what is enough */
#endif
#define MOST_VALUES 4096

static unsigned char arena[ARENA_BYTES];
static float in[MOST_VALUES], out[MOST_VALUES];

static int fail(void) {
  fprintf(stderr, "embedded: %s\n", xst_last_error());
  return 1;
}

int main(void) {
  const xst_model_options options = {
      .struct_bytes = sizeof options, .in_place = 1, .arena = arena, .arena_bytes = sizeof arena};
  xst_model_info info = {.struct_bytes = sizeof info};
  xst_model* opened;
  xst_session* session;
  if (xst_model_open_memory(model_xst, model_xst_len, &options, &opened) != XST_OK) return fail();
  if (xst_session_create(opened, &session) != XST_OK) return fail();
  if (xst_model_get_info(opened, &info) != XST_OK) return fail();
  fprintf(stderr, "embedded: %s, %s, %llu bytes of arena\n", info.isa, info.arithmetic,
          (unsigned long long)info.arena_bytes);
  if (info.input_width > MOST_VALUES || info.output_width > MOST_VALUES) {
    fprintf(stderr, "embedded: model: expected at most %d values of a step, got %u in, %u out\n",
            MOST_VALUES, (unsigned)info.input_width, (unsigned)info.output_width);
    return 1;
  }
  unsigned long row = 1;
  uint32_t n = 0;
  int read;
  while ((read = scanf("%f", &in[n])) == 1) {
    if (++n < info.input_width) continue;
    n = 0;
    ++row;
    if (XST_FAILED(xst_session_step(session, in, info.input_width, out, info.output_width))) {
      return fail();
    }
    for (uint32_t i = 0; i < info.output_width; ++i) printf(i ? " %.9g" : "%.9g", out[i]);
    putchar('\n');
  }
  if (read != EOF || n != 0) {
    fprintf(stderr, "embedded: row %lu: expected %u numbers, got %u and then %s\n", row,
            (unsigned)info.input_width, (unsigned)n, read == EOF ? "no more" : "other text");
    return 1;
  }
  return 0;
}
