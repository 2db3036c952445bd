// A host that loads the library, uses it and closes it, and forks. `unload LIBRARY COPY CASE` runs one case, and exits
// with 0 if everything holds. COPY is the same library at another path. `unload` lists the cases.
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sundown.h"

#define HOLDS(condition)                                                   \
  do {                                                                     \
    if (!(condition)) {                                                    \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);      \
      _exit(1);                                                            \
    }                                                                      \
  } while (0)

static const char *path, *copy;

// A loaded library.
typedef struct {
  void *handle;
  SundownRuntime *runtime;
  SundownGate *gate;
} Library;

#define CALL(library, function) ((__typeof__(&function))dlsym((library)->handle, #function))

// Loads it, and makes a runtime and a gate.
static void begin(Library *library, const char *at) {
  library->handle = dlopen(at, RTLD_NOW | RTLD_LOCAL);
  HOLDS(library->handle);
  SundownEntry entry;
  HOLDS(CALL(library, sundown_start)("unload", 2, &library->runtime, NULL) == SUNDOWN_CODE_OK);
  HOLDS(CALL(library, sundown_gate_new)(&library->gate) == SUNDOWN_CODE_OK);
  HOLDS(CALL(library, sundown_gate_enter)(library->gate, &entry) == SUNDOWN_CODE_OK);
  HOLDS(CALL(library, sundown_gate_leave)(&entry) == SUNDOWN_CODE_OK);
}

static void end(Library *library) {
  HOLDS(CALL(library, sundown_stop)(library->runtime, 60000, NULL) == SUNDOWN_CODE_OK);
  HOLDS(CALL(library, sundown_free)(library->runtime) == SUNDOWN_CODE_OK);
  HOLDS(CALL(library, sundown_gate_free)(library->gate) == SUNDOWN_CODE_OK);
  HOLDS(CALL(library, sundown_may_unload)(NULL) == SUNDOWN_CODE_OK);
}

static void finds_out_in_a_child(Library *library) {
  SundownStats stats;
  SundownEntry entry;
  size_t inside;
  HOLDS(CALL(library, sundown_gate_enter)(library->gate, &entry) == SUNDOWN_CODE_OK);
  HOLDS(CALL(library, sundown_gate_close)(library->gate, &inside) == SUNDOWN_CODE_OK && inside == 1);
  HOLDS(CALL(library, sundown_gate_wait)(library->gate, 0, NULL) == SUNDOWN_CODE_STILL_INSIDE);
  HOLDS(CALL(library, sundown_gate_leave)(&entry) == SUNDOWN_CODE_OK);
  HOLDS(CALL(library, sundown_gate_wait)(library->gate, 0, NULL) == SUNDOWN_CODE_OK);
  HOLDS(CALL(library, sundown_state)(library->runtime, &stats) == SUNDOWN_CODE_OK);
  HOLDS(stats.state == SUNDOWN_STATE_FORKED);
  HOLDS(CALL(library, sundown_free)(library->runtime) == SUNDOWN_CODE_OK);
  HOLDS(CALL(library, sundown_gate_free)(library->gate) == SUNDOWN_CODE_OK);
  HOLDS(CALL(library, sundown_may_unload)(NULL) == SUNDOWN_CODE_OK);
  HOLDS(!dlclose(library->handle));
}

// What became of a child that does this, or nothing.
static int of_a_child(void (*does)(Library *), Library *library) {
  int status;
  pid_t child = fork();
  if (!child) {
    if (does) does(library);
    _exit(0);
  }
  HOLDS(waitpid(child, &status, 0) == child);
  return status;
}

static int is_loaded(const char *at) {
  void *handle = dlopen(at, RTLD_NOW | RTLD_NOLOAD);
  if (handle) dlclose(handle);
  return handle != NULL;
}

static void *use(void *library) {
  begin(library, path);
  end(library);
  return NULL;
}
static void *use_and_fork(void *library) {
  begin(library, path);
  HOLDS(!of_a_child(finds_out_in_a_child, library));
  end(library);
  return NULL;
}

// Closes the library after a thread that has used it has ended: before, glibc would keep it.
static void closed_after(void *(*body)(void *)) {
  Library library;
  pthread_t thread;
  HOLDS(!pthread_create(&thread, 0, body, &library));
  HOLDS(!pthread_join(thread, 0));
  HOLDS(!dlclose(library.handle));
#ifdef __GLIBC__
  HOLDS(!is_loaded(path));
#endif
}

static void a_fork_after_the_library_was_closed_calls_nothing_of_it(void) {
  for (int round = 0; round < 50; round++) {
    closed_after(round % 2 ? use : use_and_fork);
    HOLDS(!of_a_child(NULL, NULL));
  }
}

// Here the main thread keeps it in memory.
static void a_library_that_stays_in_memory_finds_out_again(void) {
  for (int round = 0; round < 3; round++) {
    Library library;
    use_and_fork(&library);
    HOLDS(!dlclose(library.handle));
    HOLDS(is_loaded(path));
    HOLDS(!of_a_child(NULL, NULL));
  }
}

static void of_two_copies_one_may_be_closed(void) {
  Library first, second;
  pthread_t thread;
  begin(&second, copy);
  HOLDS(!pthread_create(&thread, 0, use, &first));
  HOLDS(!pthread_join(thread, 0));
  HOLDS(!dlclose(first.handle));
  HOLDS(!of_a_child(finds_out_in_a_child, &second));
  end(&second);
  HOLDS(!dlclose(second.handle));
  HOLDS(!of_a_child(NULL, NULL));
}

static atomic_int is_over;
static void *closes_again_and_again(void *nothing) {
  for (int round = 0; round < 100; round++) closed_after(use);
  atomic_store(&is_over, 1);
  return nothing;
}
static void another_thread_may_fork_while_the_library_is_closed(void) {
  pthread_t thread;
  HOLDS(!pthread_create(&thread, 0, closes_again_and_again, 0));
  while (!atomic_load(&is_over)) HOLDS(!of_a_child(NULL, NULL));
  HOLDS(!pthread_join(thread, 0));
}

// What the header says that no host may do. Not among the cases: it exits with 0 if the child crashes.
static void *pass_the_function(void *data) {
  Library *library = data;
  begin(library, path);
  HOLDS(!pthread_atfork(NULL, NULL, CALL(library, sundown_forked_child)));
  end(library);
  return NULL;
}
static void control_of_a_handler_of_the_host(void) {
  closed_after(pass_the_function);
  if (is_loaded(path)) {
    puts("skipped: a fork after the library was closed: it stays in memory here");
    return;
  }
  int status = of_a_child(NULL, NULL);
  HOLDS(WIFSIGNALED(status) && (WTERMSIG(status) == SIGSEGV || WTERMSIG(status) == SIGBUS));
}

static const struct {
  const char *name;
  void (*body)(void);
} CASES[] = {
#define CASE(name) {#name, name}
    CASE(a_fork_after_the_library_was_closed_calls_nothing_of_it),
    CASE(a_library_that_stays_in_memory_finds_out_again),
    CASE(of_two_copies_one_may_be_closed),
    CASE(another_thread_may_fork_while_the_library_is_closed),
    CASE(control_of_a_handler_of_the_host),
};

int main(int count, char **arguments) {
  for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
    if (count == 1) puts(CASES[i].name);
    if (count == 4 && !strcmp(CASES[i].name, arguments[3])) {
      path = arguments[1], copy = arguments[2];
      return CASES[i].body(), 0;
    }
  }
  return count == 1 ? 0 : 2;
}
