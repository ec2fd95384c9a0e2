/* threads MODEL.xst: ten threads with a session each on one model, against one thread alone; opens,
 * failures, the log and the last error go on beside them. Exit status 0: all outputs are the same
 * bits. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "xst.h"

enum { kThreads = 10, kSteps = 200 };

static const char* path;
static xst_model* model;
static xst_model_info info = {.struct_bytes = sizeof(xst_model_info)};

static float sample(unsigned t, unsigned i) { return (float)((t * 31 + i * 17) % 23) / 8 - 1; }

static void log_line(void* user, int32_t level, const char* message) {
  (void)user;
  if (level < XST_LOG_INFO || level > XST_LOG_ERROR || !message) abort();
}

/* The outputs of kSteps steps, or null. */
static void* run(void* reverse) {
  float* all = calloc((size_t)kSteps * info.output_width, sizeof *all);
  float* in = calloc(info.input_width, sizeof *in);
  xst_session* session = NULL;
  int good = all && in && xst_session_create(model, &session) == XST_OK;
  for (unsigned t = 0; good && t < kSteps; ++t) {
    float* out = all + (size_t)t * info.output_width;
    for (unsigned i = 0; i < info.input_width; ++i) in[i] = sample(t, i);
    if (info.tokens) {
      good = xst_session_step_token(session, (int64_t)(t % info.output_width), out,
                                    info.output_width) == XST_OK;
    } else {
      good = xst_session_step(session, in, info.input_width, out, info.output_width) == XST_OK;
    }
    if (t % 50 == 7) { /* this thread's error is its own */
      xst_model* other = NULL;
      if (xst_model_open(reverse ? "/nowhere" : "/nobody", NULL, &other) != XST_NOT_FOUND ||
          !strstr(xst_last_error(), reverse ? "/nowhere" : "/nobody")) {
        good = 0;
      }
      if (xst_model_open(path, NULL, &other) != XST_OK) good = 0;
      xst_model_destroy(other);
    }
  }
  xst_session_destroy(session);
  free(in);
  if (good) return all;
  fprintf(stderr, "thread: %s\n", xst_last_error());
  free(all);
  return NULL;
}

int main(int argc, char** argv) {
  pthread_t thread[kThreads];
  if (argc != 2) return 2;
  path = argv[1];
  xst_log_set(log_line, NULL);
  if (xst_model_open(path, NULL, &model) != XST_OK || xst_model_get_info(model, &info) != XST_OK) {
    fprintf(stderr, "%s\n", xst_last_error());
    return 1;
  }
  float* alone = run(NULL);
  int same = alone != NULL;
  for (int i = 0; i < kThreads; ++i) {
    if (pthread_create(&thread[i], NULL, run, i % 2 ? &thread[0] : NULL) != 0) return 1;
  }
  for (int i = 0; i < kThreads; ++i) {
    void* got = NULL;
    pthread_join(thread[i], &got);
    same =
        same && got && memcmp(got, alone, (size_t)kSteps * info.output_width * sizeof(float)) == 0;
    free(got);
  }
  free(alone);
  xst_model_destroy(model);
  puts(same ? "same" : "different");
  return same ? 0 : 1;
}
