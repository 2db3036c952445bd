// Loads a plugin, starts it, stops it and closes it, again and again:
//
//     host PLUGIN DESIGN here|elsewhere ROUNDS SEED
//
// `elsewhere` calls the plugin on a thread that has ended when the library is closed; `here` on the main thread.
// It looks into /proc right after the stop for threads, and right after the close for the library. It reports what
// it saw to the lab, and as a problem what must not be: threads, and with `elsewhere` a library that is still there.
#include <dirent.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef int Function(void);

static const char *path, *design;
static void *library;
static int failed;

static int descriptors(void) {
  DIR *directory = opendir("/proc/self/fd");
  int number = 0;
  for (struct dirent *entry; directory && (entry = readdir(directory));) number += entry->d_name[0] != '.';
  if (directory) closedir(directory);
  return number;
}

// The threads that can run code. One that was joined may still be listed while the kernel takes it apart.
static int threads(void) {
  enum { PF_EXITING = 4 };
  DIR *directory = opendir("/proc/self/task");
  int number = 0;
  for (struct dirent *entry; directory && (entry = readdir(directory));) {
    char name[300], stat[1024] = "", state;
    unsigned flags;
    snprintf(name, sizeof name, "/proc/self/task/%s/stat", entry->d_name);
    FILE *file = entry->d_name[0] == '.' ? NULL : fopen(name, "r");
    if (!file) continue;
    // `17 (a name) S 1 17 17 0 -1 4194304 …`: the state, five numbers, and the flags.
    char *fields = fgets(stat, sizeof stat, file) ? strrchr(stat, ')') : NULL;
    fclose(file);
    if (fields && sscanf(fields, ") %c %*d %*d %*d %*d %*d %u", &state, &flags) == 2)
      number += state != 'Z' && state != 'X' && !(flags & PF_EXITING);
  }
  if (directory) closedir(directory);
  return number;
}

static int is_mapped(void) {
  char real[4096], line[8192];
  if (!realpath(path, real)) return -1;
  FILE *maps = fopen("/proc/self/maps", "r");
  int found = 0;
  while (maps && fgets(line, sizeof line, maps)) found |= strstr(line, real) != NULL;
  if (maps) fclose(maps);
  return found;
}

// One line of the report, in one write.
static void report(const char *line) {
  const char *pipe = getenv("LAB_REPORT");
  if (pipe && write(atoi(pipe), line, strlen(line)) < 0) _exit(3);
}

static void record(const char *name, long value) {
  char line[256];
  snprintf(line, sizeof line, "{\"observation\":{\"name\":\"%s\",\"value\":{\"integer\":%ld}}}\n", name, value);
  report(line);
}

static int call(const char *what) {
  char name[128];
  snprintf(name, sizeof name, "%s_%s", what, design);
  Function *function = (Function *)dlsym(library, name);
  if (!function) fprintf(stderr, "%s\n", dlerror());
  return function ? function() : -1;
}

static void *start_and_stop(void *nothing) {
  failed = call("start") || call("stop");
  return nothing;
}

int main(int count, char **arguments) {
  if (count != 6) return 2;
  path = arguments[1], design = arguments[2];
  int here = !strcmp(arguments[3], "here"), rounds = atoi(arguments[4]);
  srand((unsigned)strtoul(arguments[5], NULL, 10));
  int with_threads = 0, stayed = 0;
  int before = descriptors();
  for (int round = 0; round < rounds && !failed; round++) {
    record("rounds", round);
    if (!(library = dlopen(path, RTLD_NOW | RTLD_LOCAL))) return fprintf(stderr, "%s\n", dlerror()), 2;
    pthread_t thread;
    if (here) {
      start_and_stop(NULL);
    } else {
      if (pthread_create(&thread, NULL, start_and_stop, NULL)) return 2;
      pthread_join(thread, NULL);
    }
    with_threads += threads() > 1;
    // A host closes the library at any time after the stop.
    usleep((useconds_t)(rand() % 200));
    if (dlclose(library)) return fprintf(stderr, "%s\n", dlerror()), 2;
    stayed += is_mapped() != 0;
  }
  record("rounds", rounds);
  record("rounds_with_threads", with_threads);
  record("rounds_that_kept_it", stayed);
  int left = descriptors() - before;
  record("descriptors_left", left);
  if (with_threads) report("{\"problem\":\"threads are left after the stop\"}\n");
  if (stayed && !here) report("{\"problem\":\"the library is still there after the close\"}\n");
  if (left) report("{\"problem\":\"descriptors are left\"}\n");
  puts("the last line");
  return failed != 0;
}
