/* xst.h: steps trained xLSTM models, sample by sample. C11 and C++; link libxst.
 *
 * Names. xst_NOUN_VERB(noun, inputs, outputs); a type is xst_NOUN, a constant XST_WORD. What
 * can fail returns an xst_status and writes its results through the last arguments, which are
 * untouched on an error unless said otherwise. What cannot fail returns its value.
 *
 * Ownership. xst_*_create, _open and _clone give an object that its xst_*_destroy takes; destroying
 * null does nothing. A stream (session, lanes, forecaster) keeps its model alive: a model may be
 * destroyed before its streams. Strings belong to the object that gave them, or are static. Buffers
 * are the caller's; counts are in values, of the buffer and not of what is meant to be used of it:
 * another count than the documented one is XST_SHAPE_MISMATCH.
 *
 * Threads. A model may be used by any number of threads. A stream belongs to one thread at a time.
 *
 * Errors. Nothing aborts, prints or throws. Null where an object or a buffer is expected is
 * XST_INVALID_ARGUMENT. xst_last_error() says in words what the last call of this thread that
 * failed expected and got.
 *
 * Real time. After its creation a stream on `cpu` allocates nothing, takes no lock, makes no system
 * call and causes no page fault in xst_session_step, _step_token, _reset, _quality, _steps, _save
 * and xst_forecaster_push, failing calls included.
 *
 * Minimal build. libxst_minimal.a (CMake -DXST_MINIMAL=ON) links with a C compiler and needs libc
 * and libm only. It has xst_version, _version_string, _status_string, _last_error,
 * xst_model_open_memory, _destroy, _get_info, xst_session_create, _create_in, _destroy, _step,
 * _step_token, _quality, _steps, _reset, _save and _load; a program that calls another function
 * does not link. Nothing allocates: options.arena, which open_memory takes from the caller, holds
 * the model, what opening it needs for a while, and the sessions of xst_session_create, and comes
 * back to the caller as a whole, at any time; the destroy functions do nothing, and a stream does
 * not keep its model. One thread at a time opens, creates and fails: xst_last_error is of the
 * process. The device is "cpu"; info.weight_bytes is 0.
 */
#ifndef XST_H
#define XST_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define XST_API __attribute__((visibility("default")))
#else
#define XST_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define XST_VERSION_MAJOR 0
#define XST_VERSION_MINOR 1
#define XST_VERSION_PATCH 0

/* The library's version, as MAJOR * 1000000 + MINOR * 1000 + PATCH, and in words. */
XST_API uint32_t xst_version(void);
XST_API const char* xst_version_string(void);

/* ---- Status -------------------------------------------------------------------------------- */

/* Bands: 0 success; 1-99 success with a remark; 100-199 the caller's arguments; 200-299 bytes from
 * outside; 300-399 this machine. XST_FAILED(s) is not 0 for an error. */
typedef int32_t xst_status;
enum {
  XST_OK = 0,
  XST_HELD = 1, /* an input value was not usable and was replaced */
  XST_INVALID_ARGUMENT = 100,
  XST_SHAPE_MISMATCH = 101,
  XST_NOT_FOUND = 200,
  XST_IO_ERROR = 201,
  XST_TRUNCATED = 202,
  XST_CORRUPT = 203,
  XST_UNSUPPORTED_VERSION = 204,
  XST_INVALID_CONFIG = 205,
  XST_TENSOR_MISMATCH = 206,
  XST_OTHER_MODEL = 207, /* a snapshot of another architecture or other weights */
  XST_OUT_OF_MEMORY = 300,
  XST_NO_DEVICE = 301,
  XST_NO_INSTRUCTION_SET = 302,
  XST_DEVICE_FAILED = 303 /* the device is gone, and the streams on it */
};
#define XST_FAILED(status) ((status) >= 100)

/* One sentence on what a status means; static. Any number may be asked for. */
XST_API const char* xst_status_string(xst_status status);

/* "WHAT: expected ..., got ..." of the last failed call of this thread, "" before there is one.
 * Valid until the next call of this thread that fails. */
XST_API const char* xst_last_error(void);

/* Every model opened (XST_LOG_INFO), and every failure that a file, bytes, the device or a lack of
 * memory caused in opening, creating, verifying and loading (XST_LOG_ERROR), on the thread of that
 * call. One callback a process; null: none. It may be called by several threads at once, and must
 * neither throw nor call xst_log_set. */
enum { XST_LOG_INFO = 1, XST_LOG_ERROR = 2 };
typedef void (*xst_log_callback)(void* user, int32_t level, const char* message);
XST_API void xst_log_set(xst_log_callback callback, void* user);

/* ---- Model: weights, immutable, shared by its streams ---------------------------------------- */

typedef struct xst_model xst_model;

enum { XST_ARITHMETIC_AUTOMATIC = 0, XST_ARITHMETIC_SINGLE = 1, XST_ARITHMETIC_WIDE = 2 };

/* {.struct_bytes = sizeof(xst_model_options)} is the defaults. */
typedef struct xst_model_options {
  size_t struct_bytes;   /* sizeof(xst_model_options) */
  const char* device;    /* "cpu", "cpu:4", "cuda:0", "reference" (double, slow); null: "cpu" */
  const char* isa;       /* "scalar", "avx2", "avx512", "neon"; null: the best of this CPU */
  uint32_t arithmetic;   /* of activations; automatic: double in models up to 131,072 parameters */
  uint32_t resident;     /* cuda: not 0: a session's kernel stays on the device between steps */
  uint32_t bf16_forward; /* cuda, xLSTM Large: not 0: forward takes bf16 between products */
  uint32_t check_full;   /* not 0: verify every weight of a file of 64 MiB and more */
  uint32_t in_place;     /* open_memory: not 0: the bytes are used where they lie, 64-byte aligned,
                            and stay as they are until the model and its streams are gone */
  void* arena;           /* minimal build: all the memory that the model and its streams get */
  size_t arena_bytes;
} xst_model_options;

/* Opens a .xst file, or one in memory, which is copied unless used in place. `options` may be null,
 * but not in a minimal build, which needs the arena; XST_OUT_OF_MEMORY there names a larger one. A
 * minimal build has the one instruction set of XST_MINIMAL_ISA, takes the weights that
 * XST_MINIMAL_DTYPES names and steps in what XST_MINIMAL_ARITHMETIC names (f32 and single unless
 * configured otherwise): unless that has wide, automatic is single also for a small model. */
XST_API xst_status xst_model_open(const char* path, const xst_model_options* options,
                                  xst_model** model);
XST_API xst_status xst_model_open_memory(const void* bytes, size_t count,
                                         const xst_model_options* options, xst_model** model);
XST_API void xst_model_destroy(xst_model* model);

typedef struct xst_model_info {
  size_t struct_bytes;     /* sizeof(xst_model_info), set by the caller */
  uint32_t tokens;         /* not 0: the input is a token id */
  uint32_t input_width;    /* values of a step: channels (raw units), D, or 1 token */
  uint32_t output_width;   /* values of a step: outputs, D, or the vocabulary */
  uint32_t probe_steps;    /* 0: the file has no probe */
  double rate_hz;          /* 0: no clock */
  uint64_t parameters;     /* of the trained model */
  uint64_t flops;          /* of a step */
  uint64_t weight_bytes;   /* read by a step */
  uint64_t state_bytes;    /* of a stream, as float32 */
  uint64_t session_bytes;  /* what xst_session_create_in takes */
  uint64_t snapshot_bytes; /* what xst_session_save writes */
  uint64_t file_bytes;
  const char* family; /* "block_stack", "lm", "large", "tirex" */
  const char* dtype;  /* "f32", "i16", "bf16", "i8": of the stored matrices */
  const char* device; /* as opened */
  const char* isa;
  const char* arithmetic;  /* "single", "wide", "double" */
  const char* arch_hash;   /* hexadecimal: what a snapshot must share with its model */
  const char* source_hash; /* of the trained weights, whatever dtype stores them */
  const char* file_hash;
  const char* config_yaml; /* the resolved configuration */
  uint64_t arena_bytes;    /* minimal build: an arena that would have been enough so far; else 0 */
} xst_model_info;

/* Fills what the struct and this version share: struct_bytes may be of an older or newer header.
 * Strings live as long as the model. */
XST_API xst_status xst_model_get_info(const xst_model* model, xst_model_info* info);

/* Name and unit of a channel, 0 <= index < input_width or output_width; "" where a model has none,
 * null for a null model or an index out of range. */
XST_API const char* xst_model_input_name(const xst_model* model, uint32_t index);
XST_API const char* xst_model_input_unit(const xst_model* model, uint32_t index);
XST_API const char* xst_model_output_name(const xst_model* model, uint32_t index);
XST_API const char* xst_model_output_unit(const xst_model* model, uint32_t index);

typedef struct xst_probe_result {
  size_t struct_bytes; /* sizeof(xst_probe_result), set by the caller */
  uint32_t steps;
  uint32_t pass;          /* not 0: error <= bound */
  double error;           /* largest |output - float64 reference on the stored weights| */
  double error_full;      /* the same, reference on the trained weights */
  double error_framework; /* against the framework's own output; NaN if the file has none */
  double largest;         /* largest |reference| */
  double bound;           /* for this kind of device */
} xst_probe_result;

/* Replays the probe that the file carries. XST_NOT_FOUND if it has none. Failing the bound is a
 * result, not an error. */
XST_API xst_status xst_model_verify(const xst_model* model, xst_probe_result* result);

/* ---- Session: one stream --------------------------------------------------------------------- */

typedef struct xst_session xst_session;

/* Warms everything: what may be slow happens here. */
XST_API xst_status xst_session_create(const xst_model* model, xst_session** session);
/* The same in memory of the caller, at least info.session_bytes at any alignment, which must
 * outlive the session and not move. xst_session_destroy still has to be called. */
XST_API xst_status xst_session_create_in(const xst_model* model, void* memory, size_t bytes,
                                         xst_session** session);
XST_API void xst_session_destroy(xst_session* session);

/* One step (y_t, state_t) = f(x_t, state_{t-1}). in [input_width], in raw units for a wrapped
 * model, NaN where missing; out [output_width]. A value that is not finite or beyond 1e30 never
 * reaches the model: its policy replaces it, a bare model takes the channel's last usable one, and
 * the call returns XST_HELD. An error leaves the state as it was. */
XST_API xst_status xst_session_step(xst_session* session, const float* in, size_t in_count,
                                    float* out, size_t out_count);
/* The same for a model of tokens, 0 <= token < output_width. */
XST_API xst_status xst_session_step_token(xst_session* session, int64_t token, float* out,
                                          size_t out_count);

/* T steps: in [T][input_width], out [T][output_width], which must not overlap (in a step they may);
 * the outputs and the final state of T calls of step within rounding. T = 0 does nothing. */
XST_API xst_status xst_session_forward(xst_session* session, const float* in, size_t in_count,
                                       float* out, size_t out_count);
/* The same for tokens [T]; out [T][output_width], or one row for the last step alone. A token out
 * of range changes nothing. */
XST_API xst_status xst_session_forward_tokens(xst_session* session, const int64_t* tokens,
                                              size_t token_count, float* out, size_t out_count);

/* The last output's bits; 0 for null. */
enum {
  XST_QUALITY_HELD = 1,    /* an input value was replaced */
  XST_QUALITY_WARMING = 4, /* one of the model's first `warmup` outputs */
  XST_QUALITY_RESET = 32   /* the first output after a reset */
};
XST_API uint32_t xst_session_quality(const xst_session* session);
/* Steps since the last reset; part of a snapshot. 0 for null. */
XST_API uint64_t xst_session_steps(const xst_session* session);

/* Back to the state of a fresh session. */
XST_API xst_status xst_session_reset(xst_session* session);

/* The state as info.snapshot_bytes bytes: versioned, checksummed, the same on every device,
 * instruction set and weight type. On the same kind of device and build a loaded stream goes on bit
 * for bit. load checks everything before it changes anything: XST_OTHER_MODEL for a snapshot of
 * another architecture, or of other weights without XST_LOAD_OTHER_WEIGHTS. */
enum { XST_LOAD_OTHER_WEIGHTS = 1 };
XST_API xst_status xst_session_save(const xst_session* session, void* snapshot, size_t bytes);
XST_API xst_status xst_session_load(xst_session* session, const void* snapshot, size_t bytes,
                                    uint32_t flags);
/* A second stream in the same state. */
XST_API xst_status xst_session_clone(const xst_session* session, xst_session** clone);

/* ---- Lanes: many streams of one model, stepped together ----------------------------------------
 */

typedef struct xst_lanes xst_lanes;

/* Room for `capacity` streams, none attached. */
XST_API xst_status xst_lanes_create(const xst_model* model, uint32_t capacity, xst_lanes** lanes);
XST_API void xst_lanes_destroy(xst_lanes* lanes);
/* The lowest free lane, with a fresh stream in it; XST_INVALID_ARGUMENT if all are in use. */
XST_API xst_status xst_lanes_attach(xst_lanes* lanes, uint32_t* lane);
XST_API xst_status xst_lanes_detach(xst_lanes* lanes, uint32_t lane);
/* One step of the attached lanes whose mask byte is not 0: mask [capacity], in
 * [capacity][input_width], out [capacity][output_width], which must not overlap; rows of other
 * lanes are not touched. */
XST_API xst_status xst_lanes_step(xst_lanes* lanes, const uint8_t* mask, size_t mask_count,
                                  const float* in, size_t in_count, float* out, size_t out_count);
XST_API xst_status xst_lanes_step_tokens(xst_lanes* lanes, const uint8_t* mask, size_t mask_count,
                                         const int64_t* tokens, size_t token_count, float* out,
                                         size_t out_count);
/* T steps of those lanes: in [capacity][T][input_width], out [capacity][T][output_width].
 * Allocates. */
XST_API xst_status xst_lanes_forward(xst_lanes* lanes, const uint8_t* mask, size_t mask_count,
                                     const float* in, size_t in_count, float* out,
                                     size_t out_count);
XST_API xst_status xst_lanes_forward_tokens(xst_lanes* lanes, const uint8_t* mask,
                                            size_t mask_count, const int64_t* tokens,
                                            size_t token_count, float* out, size_t out_count);
/* As a session's, of one attached lane. */
XST_API uint32_t xst_lanes_quality(const xst_lanes* lanes, uint32_t lane);
XST_API uint64_t xst_lanes_steps(const xst_lanes* lanes, uint32_t lane);
XST_API xst_status xst_lanes_reset(xst_lanes* lanes, uint32_t lane);
XST_API xst_status xst_lanes_save(const xst_lanes* lanes, uint32_t lane, void* snapshot,
                                  size_t bytes);
XST_API xst_status xst_lanes_load(xst_lanes* lanes, uint32_t lane, const void* snapshot,
                                  size_t bytes, uint32_t flags);

/* ---- Forecaster: quantiles from a TiRex model --------------------------------------------------
 */

typedef struct xst_forecaster xst_forecaster;

/* XST_INVALID_ARGUMENT for a model of another family. */
XST_API xst_status xst_forecaster_create(const xst_model* model, xst_forecaster** forecaster);
XST_API void xst_forecaster_destroy(xst_forecaster* forecaster);
/* Quantiles of a sample, samples kept of a live stream, and samples that one forecast of it goes
 * ahead; 0 for null. */
XST_API uint32_t xst_forecaster_quantiles(const xst_forecaster* forecaster);
XST_API uint32_t xst_forecaster_context(const xst_forecaster* forecaster);
XST_API uint32_t xst_forecaster_horizon(const xst_forecaster* forecaster);
/* Of the `horizon` samples behind series [count] (NaN: missing), out [horizon][quantiles]; up to
 * `rollout` patches come from one pass over the context. */
XST_API xst_status xst_forecaster_forecast(xst_forecaster* forecaster, const float* series,
                                           size_t count, uint32_t horizon, uint32_t rollout,
                                           float* out, size_t out_count);

/* A live stream. push keeps the last `context` samples; due is not 0 behind every n-th, as the
 * model was packed to forecast; forecast_live is of the samples kept, out [horizon][quantiles]. */
XST_API xst_status xst_forecaster_push(xst_forecaster* forecaster, float sample);
XST_API uint32_t xst_forecaster_due(const xst_forecaster* forecaster);
XST_API xst_status xst_forecaster_forecast_live(xst_forecaster* forecaster, float* out,
                                                size_t out_count);
XST_API xst_status xst_forecaster_reset(xst_forecaster* forecaster);
/* The samples kept, as a session's state. */
XST_API uint64_t xst_forecaster_snapshot_bytes(const xst_forecaster* forecaster);
XST_API xst_status xst_forecaster_save(const xst_forecaster* forecaster, void* snapshot,
                                       size_t bytes);
XST_API xst_status xst_forecaster_load(xst_forecaster* forecaster, const void* snapshot,
                                       size_t bytes, uint32_t flags);

#ifdef __cplusplus
}
#endif

#endif /* XST_H */
