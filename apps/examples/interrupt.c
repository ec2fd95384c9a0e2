/* interrupt MODEL.xst: a sensor's interrupt fills one buffer while the main loop steps the other.
 *
 * The interrupt here is a timer's signal at 1 kHz; on a board it is the converter's, and nothing
 * else changes. All memory is static: the session lives in it, and no step allocates. */
#define _POSIX_C_SOURCE 200809L
#include <math.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include <xst.h>

enum { kBlock = 20, kBlocks = 10, kMaxOutputs = 64 };

static float buffer[2][kBlock];       /* one filling, one full */
static atomic_uint filled, taken;     /* blocks so far: filled by the interrupt, taken by main */
static atomic_uint overruns;          /* samples that found no room */
static unsigned char memory[1 << 22]; /* of the session */

static void on_sample(int signal) {
  static unsigned n, t; /* the interrupt's own */
  (void)signal;
  const float sample = sinf((float)t++ * 0.05f); /* the converter's register */
  const unsigned block = atomic_load_explicit(&filled, memory_order_relaxed);
  if (block - atomic_load_explicit(&taken, memory_order_acquire) == 2) {
    atomic_fetch_add_explicit(&overruns, 1, memory_order_relaxed);
    return;
  }
  buffer[block % 2][n++] = sample;
  if (n == kBlock) {
    n = 0;
    atomic_store_explicit(&filled, block + 1, memory_order_release);
  }
}

int main(int argc, char** argv) {
  xst_model* model = NULL;
  xst_session* session = NULL;
  xst_model_info info = {.struct_bytes = sizeof info};
  if (argc != 2) return 2;
  if (xst_model_open(argv[1], NULL, &model) != XST_OK ||
      xst_model_get_info(model, &info) != XST_OK ||
      xst_session_create_in(model, memory, sizeof memory, &session) != XST_OK) {
    fprintf(stderr, "interrupt: %s\n", xst_last_error());
    return 1;
  }
  if (info.tokens || info.input_width != 1 || info.output_width > kMaxOutputs) {
    fprintf(stderr, "interrupt: expected a model of one channel, got %u\n", info.input_width);
    return 1;
  }

  sigset_t timer_signal, before;
  sigemptyset(&timer_signal);
  sigaddset(&timer_signal, SIGALRM);
  sigprocmask(SIG_BLOCK, &timer_signal, &before); /* it comes in sigsuspend and between steps */
  struct sigaction action = {.sa_handler = on_sample};
  sigaction(SIGALRM, &action, NULL);
  timer_t timer;
  struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM};
  const struct itimerspec period = {{0, 1000000}, {0, 1000000}};
  timer_create(CLOCK_MONOTONIC, &event, &timer);
  timer_settime(timer, 0, &period, NULL);

  for (unsigned block = 0; block < kBlocks; ++block) {
    while (atomic_load_explicit(&filled, memory_order_acquire) == block) sigsuspend(&before);
    sigprocmask(SIG_SETMASK, &before, NULL); /* sample on while we step */
    float out[kMaxOutputs];
    for (unsigned i = 0; i < kBlock; ++i) {
      xst_session_step(session, &buffer[block % 2][i], 1, out, info.output_width);
    }
    sigprocmask(SIG_BLOCK, &timer_signal, NULL);
    atomic_store_explicit(&taken, block + 1, memory_order_release);
    printf("%llu samples, %s %g\n", (unsigned long long)xst_session_steps(session),
           xst_model_output_name(model, 0), out[0]);
  }
  printf("overruns %u\n", atomic_load(&overruns));
  timer_delete(timer);
  xst_session_destroy(session);
  xst_model_destroy(model);
  return 0;
}
