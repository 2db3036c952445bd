// The same plugin in C, with the library linked into it.
#include <stdio.h>
#include <unistd.h>

#include "sundown.h"

static SundownRuntime *runtime;

static void work(void *data, const SundownJob *job) {
  (void)data;
  while (!sundown_job_should_stop(job)) usleep(100);
}

static int said(SundownCode code, const SundownAnswer *answer) {
  if (code != SUNDOWN_CODE_OK) fprintf(stderr, "%s: %s\n", sundown_error_name(code), answer->text);
  return code;
}

int start_c(void) {
  SundownAnswer answer;
  if (said(sundown_start("plugin", 4, &runtime, &answer), &answer)) return 1;
  for (int i = 0; i < 8; i++)
    if (sundown_submit(runtime, "work", work, NULL, NULL) != SUNDOWN_CODE_OK) return 1;
  return 0;
}

int stop_c(void) {
  SundownAnswer answer;
  return said(sundown_stop(runtime, 30000, &answer), &answer) || said(sundown_free(runtime), &answer) ||
         said(sundown_may_unload(&answer), &answer);
}
