// Imports files on two threads, and ends within five seconds.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sundown.h"

// Runs on a thread of the runtime. It may block, and asks now and then whether it should stop.
static void import(void *path, const SundownJob *job) {
  int row = 0;
  while (row < 1000 && !sundown_job_should_stop(job)) row++;
  printf("%s: %d rows\n", (const char *)path, row);
}

int main(int count, char **paths) {
  SundownRuntime *runtime;
  SundownAnswer answer;
  if (sundown_start("importer", 2, &runtime, &answer) != SUNDOWN_CODE_OK) {
    fprintf(stderr, "%s\n", answer.text);
    return 1;
  }
  // `free` is called exactly once for each path, whatever happens to its job.
  for (int i = 1; i < count; i++) sundown_submit(runtime, paths[i], import, strdup(paths[i]), free);

  // Jobs that have not begun would be dropped by the stop, and counted.
  SundownStats stats;
  while (sundown_state(runtime, &stats) == SUNDOWN_CODE_OK && stats.jobs > 0) usleep(1000);

  SundownCode code = sundown_stop(runtime, 5000, &answer);
  printf("%s: %s\n", sundown_error_name(code), answer.text);
  if (code != SUNDOWN_CODE_OK) return 1; // TIMED_OUT: the text names the jobs that have not returned
  printf("%llu ran, %llu did not\n", (unsigned long long)answer.ran, (unsigned long long)answer.not_run);
  sundown_free(runtime);
  return sundown_may_unload(&answer) != SUNDOWN_CODE_OK;
}
