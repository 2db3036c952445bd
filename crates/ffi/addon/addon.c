// An addon for Node with a Tokio runtime, which calls back into JavaScript from the runtime's threads.
//
//     start(callback, design, milliseconds)
//
// `design` says what the addon does when its environment ends:
//
// - "nothing";
// - "waits": it stops the runtime, within a limit, and closes the gate that each call back passes;
// - "hook": the same without the gate;
// - "blocks": as "waits", and the jobs block for so many milliseconds, which is longer, and then want to call back;
// - "ungated": the same without the gate;
// - "idle": nothing, and nobody ever calls back.
#define NAPI_VERSION 8
#include <dlfcn.h>
#include <node_api.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sundown.h"

// One for each environment: a worker thread of Node has its own.
typedef struct {
  SundownRuntime *runtime;
  SundownGate *gate;
  napi_threadsafe_function callback;
  bool is_gated, is_idle;
  atomic_int began;
  uint32_t blocked;
} Addon;

// How long an environment waits, in milliseconds.
enum { LIMIT = 1000 };

enum { JOBS = 2 };

// Calls back, unless the gate is closed.
static void call_back(Addon *addon) {
  SundownEntry entry;
  if (sundown_gate_enter(addon->gate, &entry) != SUNDOWN_CODE_OK) return;
  if (!addon->is_idle) napi_call_threadsafe_function(addon->callback, NULL, napi_tsfn_nonblocking);
  sundown_gate_leave(&entry);
}

// The jobs run on threads of the runtime. This one asks whether it should stop.
static void work(void *data, const SundownJob *job) {
  Addon *addon = data;
  atomic_fetch_add(&addon->began, 1);
  while (!sundown_job_should_stop(job)) {
    call_back(addon);
    usleep(50);
  }
}

// This one does not.
static void block(void *data, const SundownJob *job) {
  (void)job;
  Addon *addon = data;
  atomic_fetch_add(&addon->began, 1);
  usleep(addon->blocked * 1000);
  call_back(addon);
}

// Runs on the thread of the environment, while it still exists.
static void waits(void *data) {
  Addon *addon = data;
  SundownAnswer answer;
  SundownCode code = sundown_stop(addon->runtime, LIMIT, &answer);
  // A job that has not returned can call back no more.
  if (addon->is_gated) {
    sundown_gate_close(addon->gate, NULL);
    sundown_gate_wait(addon->gate, LIMIT, NULL);
  }
  if (code == SUNDOWN_CODE_OK) {
    sundown_free(addon->runtime);
    sundown_gate_free(addon->gate);
    free(addon);
    return;
  }
  // It keeps what the job uses: this memory, and this library, which Node closes with a worker.
  fprintf(stderr, "%s\n", answer.text);
  Dl_info here;
  if (dladdr((void *)waits, &here)) dlopen(here.dli_fname, RTLD_NOW | RTLD_NODELETE);
}

static napi_value start(napi_env env, napi_callback_info info) {
  size_t count = 3;
  napi_value arguments[3], name;
  char design[32] = "";
  Addon *addon = calloc(1, sizeof *addon);
  SundownAnswer answer;
  if (napi_get_cb_info(env, info, &count, arguments, NULL, NULL) != napi_ok || count != 3 || !addon) abort();
  napi_get_value_string_utf8(env, arguments[1], design, sizeof design, NULL);
  napi_get_value_uint32(env, arguments[2], &addon->blocked);
  napi_create_string_utf8(env, "addon", NAPI_AUTO_LENGTH, &name);
  bool blocks = !strcmp(design, "blocks") || !strcmp(design, "ungated");
  addon->is_gated = !strcmp(design, "blocks") || !strcmp(design, "waits");
  addon->is_idle = !strcmp(design, "idle");
  if (napi_create_threadsafe_function(env, arguments[0], NULL, name, 0, 1, NULL, NULL, NULL, NULL,
                                      &addon->callback) != napi_ok ||
      napi_unref_threadsafe_function(env, addon->callback) != napi_ok ||
      sundown_gate_new(&addon->gate) != SUNDOWN_CODE_OK ||
      sundown_start("addon", JOBS, &addon->runtime, &answer) != SUNDOWN_CODE_OK) {
    napi_throw_error(env, NULL, "cannot start");
    return NULL;
  }
  // Hooks run in reverse: this one before Node takes the callback away.
  if (addon->is_gated || blocks || !strcmp(design, "hook")) napi_add_env_cleanup_hook(env, waits, addon);
  SundownRun job = blocks ? block : work;
  for (int i = 0; i < JOBS; i++) sundown_submit(addon->runtime, "work", job, addon, NULL);
  while (atomic_load(&addon->began) < JOBS) usleep(100);
  return NULL;
}

NAPI_MODULE_INIT() {
  napi_value function;
  if (napi_create_function(env, "start", NAPI_AUTO_LENGTH, start, NULL, &function) != napi_ok ||
      napi_set_named_property(env, exports, "start", function) != napi_ok)
    return NULL;
  return exports;
}
