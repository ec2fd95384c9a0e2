/* step MODEL.xst < samples.txt: a row of numbers in, a row of numbers out. */
#include <stdio.h>
#include <stdlib.h>

#include <xst.h>

static int fail(void) {
  fprintf(stderr, "step: %s\n", xst_last_error());
  return 1;
}

int main(int argc, char** argv) {
  xst_model* model = NULL;
  xst_session* session = NULL;
  xst_model_info info = {.struct_bytes = sizeof info};
  if (argc != 2) return 2;
  if (xst_model_open(argv[1], NULL, &model) != XST_OK) return fail();
  if (xst_model_get_info(model, &info) != XST_OK) return fail();
  if (xst_session_create(model, &session) != XST_OK) return fail();
  xst_model_destroy(model); /* the session keeps it */
  float* in = malloc(info.input_width * sizeof *in);
  float* out = malloc(info.output_width * sizeof *out);
  for (uint32_t n = 0; in && out && scanf("%f", &in[n]) == 1;) {
    if (++n < info.input_width) continue;
    n = 0;
    if (XST_FAILED(xst_session_step(session, in, info.input_width, out, info.output_width))) {
      return fail();
    }
    for (uint32_t i = 0; i < info.output_width; ++i) printf(i ? " %.9g" : "%.9g", out[i]);
    putchar('\n');
  }
  xst_session_destroy(session);
  free(in);
  free(out);
  return 0;
}
