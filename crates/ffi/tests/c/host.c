// A host in C. `host CASE` runs one case, and exits with 0 if everything holds. `host` lists them.
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sundown.h"

#define PLENTY 60000
#define HOLDS(condition)                                                                \
  do {                                                                                  \
    if (!(condition)) {                                                                 \
      fprintf(stderr, "%s:%d: %s (said: %s)\n", __FILE__, __LINE__, #condition, answer.text); \
      _exit(1);                                                                         \
    }                                                                                   \
  } while (0)
#define IS(call, expected)                                                              \
  do {                                                                                  \
    SundownCode code = (call);                                                          \
    if (code != SUNDOWN_CODE_##expected) {                                              \
      fprintf(stderr, "%s:%d: %s is %s (said: %s)\n", __FILE__, __LINE__, #call,         \
              sundown_error_name(code), answer.text);                                   \
      _exit(1);                                                                         \
    }                                                                                   \
  } while (0)

static SundownAnswer answer;
static SundownRuntime *runtime;
static atomic_int ran, destroyed, began, may_return;
static atomic_int from_inside = -1, free_inside = -1;

// Waits for another thread, for a minute at most.
static int comes(atomic_int *value, int expected) {
  for (int i = 0; i < 60000 && atomic_load(value) != expected; i++) usleep(1000);
  return atomic_load(value) == expected;
}

static void start(unsigned workers) {
  IS(sundown_start("host", workers, &runtime, &answer), OK);
  HOLDS(runtime);
}

static void count(void *data, const SundownJob *job) {
  (void)job;
  atomic_fetch_add((atomic_int *)data, 1);
}
static void destroy(void *data) {
  (void)data;
  atomic_fetch_add(&destroyed, 1);
}
static void block(void *data, const SundownJob *job) {
  (void)data, (void)job;
  atomic_fetch_add(&began, 1);
  comes(&may_return, 1);
}
static void until_stopped(void *data, const SundownJob *job) {
  (void)data;
  atomic_fetch_add(&began, 1);
  while (!sundown_job_should_stop(job)) usleep(1000);
}
static void stop_from_inside(void *data, const SundownJob *job) {
  (void)data, (void)job;
  SundownAnswer inside;
  atomic_store(&from_inside, sundown_stop(runtime, PLENTY, &inside));
  atomic_store(&free_inside, sundown_free(runtime));
}
static void submit_and_wait(void *data, const SundownJob *job) {
  (void)data, (void)job;
  IS(sundown_submit(runtime, "inner", count, &ran, destroy), OK);
  HOLDS(comes(&ran, 1));
}
static void *stop_on_a_thread(void *limit) {
  SundownAnswer mine;
  return (void *)(intptr_t)sundown_stop(runtime, (uintptr_t)limit, &mine);
}

static void end(void) {
  IS(sundown_stop(runtime, PLENTY, &answer), OK);
  IS(sundown_free(runtime), OK);
  IS(sundown_may_unload(&answer), OK);
}

static void jobs_run(void) {
  start(2);
  for (int i = 0; i < 100; i++) IS(sundown_submit(runtime, "count", count, &ran, destroy), OK);
  HOLDS(comes(&destroyed, 100));
  SundownStats stats;
  IS(sundown_state(runtime, &stats), OK);
  HOLDS(stats.state == SUNDOWN_STATE_RUNNING && stats.generation == 1 && stats.threads >= 1);
  IS(sundown_stop(runtime, PLENTY, &answer), OK);
  HOLDS(ran == 100 && answer.ran == 100 && answer.not_run == 0 && answer.still_running == 0);
  HOLDS(strstr(answer.text, "`host` has ended"));
  end();
}

static void a_job_is_told_to_stop(void) {
  start(1);
  IS(sundown_submit(runtime, "listens", until_stopped, 0, destroy), OK);
  HOLDS(comes(&began, 1));
  IS(sundown_submit(runtime, "waits", count, &ran, destroy), OK);
  IS(sundown_stop(runtime, PLENTY, &answer), OK);
  HOLDS(answer.ran == 1 && answer.not_run == 1 && ran == 0 && destroyed == 2);
  end();
}

static void a_job_that_blocks_is_named_and_its_end_can_be_waited_for(void) {
  start(1);
  IS(sundown_submit(runtime, "import", block, 0, destroy), OK);
  IS(sundown_submit(runtime, "export", count, &ran, destroy), OK);
  HOLDS(comes(&began, 1));
  IS(sundown_stop(runtime, 50, &answer), TIMED_OUT);
  HOLDS(strstr(answer.text, "`import`") && !strstr(answer.text, ".rs"));
  // The data of the other is destroyed now or later.
  HOLDS(answer.still_running >= 1 && answer.threads >= 1 && destroyed <= 1);
  IS(sundown_free(runtime), NOT_ENDED);
  IS(sundown_restart(runtime, &answer), NOT_ENDED);
  IS(sundown_may_unload(&answer), IN_USE);
  HOLDS(strstr(answer.text, "1 runtime"));
  atomic_store(&may_return, 1);
  IS(sundown_stop(runtime, UINT64_MAX, &answer), OK);
  HOLDS(answer.ran == 1 && answer.not_run == 1 && destroyed == 2 && ran == 0);
  end();
}

static void a_job_cannot_wait_for_its_own_end(void) {
  start(2);
  IS(sundown_submit(runtime, "stops", stop_from_inside, 0, destroy), OK);
  HOLDS(comes(&destroyed, 1));
  HOLDS(from_inside == SUNDOWN_CODE_FROM_INSIDE && free_inside == SUNDOWN_CODE_NOT_ENDED);
  IS(sundown_submit(runtime, "late", count, &ran, destroy), SHUT_DOWN);
  end();
  HOLDS(ran == 0 && destroyed == 2);
}

static void a_repeated_stop_gives_the_same_answer(void) {
  start(2);
  IS(sundown_stop(runtime, PLENTY, &answer), OK);
  IS(sundown_stop(runtime, 0, &answer), OK);
  IS(sundown_stop(runtime, PLENTY, NULL), OK);
  SundownStats stats;
  IS(sundown_state(runtime, &stats), OK);
  HOLDS(stats.state == SUNDOWN_STATE_ENDED);
  end();
}

static void stops_at_the_same_time_each_have_a_limit(void) {
  start(2);
  IS(sundown_submit(runtime, "blocks", block, 0, destroy), OK);
  HOLDS(comes(&began, 1));
  pthread_t threads[4];
  for (int i = 0; i < 4; i++)
    HOLDS(!pthread_create(&threads[i], 0, stop_on_a_thread, (void *)(uintptr_t)(i ? PLENTY : 50)));
  void *code;
  pthread_join(threads[0], &code);
  HOLDS((SundownCode)(intptr_t)code == SUNDOWN_CODE_TIMED_OUT);
  atomic_store(&may_return, 1);
  for (int i = 1; i < 4; i++) {
    pthread_join(threads[i], &code);
    HOLDS((SundownCode)(intptr_t)code == SUNDOWN_CODE_OK);
  }
  end();
}

static void data_is_destroyed_once_whatever_happens(void) {
  IS(sundown_submit(NULL, "no runtime", count, &ran, destroy), NULL_POINTER);
  HOLDS(destroyed == 1);
  start(1);
  IS(sundown_submit(runtime, "no function", NULL, &ran, destroy), NULL_POINTER);
  HOLDS(destroyed == 2);
  IS(sundown_submit(runtime, NULL, count, &ran, destroy), OK);
  HOLDS(comes(&destroyed, 3));
  IS(sundown_submit(runtime, "no destructor", count, &ran, NULL), OK);
  HOLDS(comes(&ran, 2));
  IS(sundown_submit(runtime, "blocks", block, 0, destroy), OK);
  HOLDS(comes(&began, 1));
  for (int i = 0; i < 50; i++) IS(sundown_submit(runtime, "waits", count, &ran, destroy), OK);
  IS(sundown_stop(runtime, 0, &answer), TIMED_OUT);
  atomic_store(&may_return, 1);
  IS(sundown_stop(runtime, PLENTY, &answer), OK);
  HOLDS(ran == 2 && destroyed == 54 && answer.ran == 3 && answer.not_run == 50);
  IS(sundown_submit(runtime, "late", count, &ran, destroy), SHUT_DOWN);
  HOLDS(destroyed == 55);
  IS(sundown_stop(runtime, PLENTY, &answer), OK);
  HOLDS(answer.not_run == 50);
  end();
}

static void a_job_may_wait_for_one_that_it_submits(void) {
  start(2);
  IS(sundown_submit(runtime, "outer", submit_and_wait, 0, destroy), OK);
  HOLDS(comes(&destroyed, 2));
  end();
}

// One that waits is not left to a thread that is busy while another one is free.
static void as_many_jobs_run_as_there_are_workers(void) {
  for (int round = 0; round < 50; round++) {
    start(2);
    atomic_store(&began, 0), atomic_store(&may_return, 0);
    IS(sundown_submit(runtime, "first", block, 0, destroy), OK);
    IS(sundown_submit(runtime, "second", block, 0, destroy), OK);
    HOLDS(comes(&began, 2));
    atomic_store(&may_return, 1);
    end();
  }
}

// How many threads the operating system refuses from now on. The library gets this function, too.
static atomic_int refused;
int pthread_create(pthread_t *thread, const pthread_attr_t *with, void *(*body)(void *), void *data) {
  int (*starts)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
  *(void **)&starts = dlsym(RTLD_NEXT, "pthread_create");
  for (int left = atomic_load(&refused); left > 0;)
    if (atomic_compare_exchange_weak(&refused, &left, left - 1)) return EAGAIN;
  return starts(thread, with, body, data);
}

static void a_job_waits_for_a_thread_that_the_system_refuses(void) {
  start(2);
  atomic_store(&refused, 5);
  IS(sundown_submit(runtime, "waits", count, &ran, destroy), OK);
  HOLDS(comes(&destroyed, 1) && ran == 1 && atomic_load(&refused) == 0);
  IS(sundown_stop(runtime, PLENTY, &answer), OK);
  HOLDS(answer.ran == 1 && answer.panicked == 0);
  IS(sundown_restart(runtime, &answer), OK);
  atomic_store(&refused, 1000000);
  IS(sundown_submit(runtime, "gets none", count, &ran, destroy), OK);
  for (int i = 0; i < 60000 && atomic_load(&refused) > 999997; i++) usleep(1000);
  HOLDS(ran == 1 && atomic_load(&refused) <= 999997);
  IS(sundown_stop(runtime, PLENTY, &answer), OK);
  HOLDS(answer.ran == 1 && answer.not_run == 1 && answer.panicked == 0 && destroyed == 2);
  IS(sundown_restart(runtime, &answer), NO_THREAD);
  atomic_store(&refused, 0);
  IS(sundown_restart(runtime, &answer), OK);
  end();
  atomic_store(&refused, 1);
  IS(sundown_start("host", 1, &runtime, &answer), NO_THREAD);
}

static void a_runtime_can_be_started_again(void) {
  start(0);
  IS(sundown_restart(runtime, &answer), NOT_ENDED);
  IS(sundown_stop(runtime, PLENTY, &answer), OK);
  IS(sundown_restart(runtime, &answer), OK);
  IS(sundown_submit(runtime, "count", count, &ran, destroy), OK);
  HOLDS(comes(&destroyed, 1));
  SundownStats stats;
  IS(sundown_state(runtime, &stats), OK);
  HOLDS(stats.generation == 2 && stats.ran == 1);
  end();
}

static void null_pointers_are_refused(void) {
  IS(sundown_start(NULL, 1, &runtime, &answer), NULL_POINTER);
  IS(sundown_start("host", 1, NULL, &answer), NULL_POINTER);
  IS(sundown_stop(NULL, 0, &answer), NULL_POINTER);
  IS(sundown_restart(NULL, &answer), NULL_POINTER);
  SundownStats stats;
  IS(sundown_state(NULL, &stats), NULL_POINTER);
  IS(sundown_free(NULL), OK);
  HOLDS(!sundown_job_should_stop(NULL));
  SundownEntry entry;
  IS(sundown_gate_new(NULL), NULL_POINTER);
  IS(sundown_gate_enter(NULL, &entry), NULL_POINTER);
  IS(sundown_gate_leave(&entry), NOT_INSIDE);
  IS(sundown_gate_enter(NULL, NULL), NULL_POINTER);
  IS(sundown_gate_leave(NULL), NULL_POINTER);
  IS(sundown_gate_close(NULL, NULL), NULL_POINTER);
  IS(sundown_gate_wait(NULL, 0, NULL), NULL_POINTER);
  IS(sundown_gate_free(NULL), OK);
  IS(sundown_start("host", 1, &runtime, NULL), OK);
  IS(sundown_state(runtime, NULL), NULL_POINTER);
  end();
  IS(sundown_may_unload(NULL), OK);
}

static void *leave_on_a_thread(void *entry) {
  return (void *)(intptr_t)sundown_gate_leave(entry);
}

static void a_gate_is_empty_when_all_have_left(void) {
  SundownGate *gate;
  SundownEntry first, second, late;
  size_t inside = 9;
  IS(sundown_gate_new(&gate), OK);
  IS(sundown_gate_enter(gate, &first), OK);
  IS(sundown_gate_enter(gate, &second), OK);
  IS(sundown_gate_close(gate, &inside), OK);
  HOLDS(inside == 2);
  IS(sundown_gate_enter(gate, &late), CLOSED);
  IS(sundown_gate_leave(&late), NOT_INSIDE);
  IS(sundown_gate_wait(gate, 0, &inside), STILL_INSIDE);
  HOLDS(inside == 2);
  IS(sundown_gate_leave(&first), OK);
  IS(sundown_gate_leave(&first), NOT_INSIDE);
  pthread_t thread;
  void *code;
  HOLDS(!pthread_create(&thread, 0, leave_on_a_thread, &second));
  IS(sundown_gate_wait(gate, PLENTY, &inside), OK);
  HOLDS(inside == 0);
  pthread_join(thread, &code);
  HOLDS((SundownCode)(intptr_t)code == SUNDOWN_CODE_OK);
  IS(sundown_gate_free(gate), OK);
  IS(sundown_may_unload(&answer), OK);
}

static void a_gate_outlives_its_handle_while_somebody_is_inside(void) {
  SundownGate *gate;
  SundownEntry entry;
  IS(sundown_gate_new(&gate), OK);
  IS(sundown_gate_enter(gate, &entry), OK);
  IS(sundown_gate_free(gate), OK);
  IS(sundown_may_unload(&answer), IN_USE);
  HOLDS(strstr(answer.text, "1 gate"));
  IS(sundown_gate_leave(&entry), OK);
  IS(sundown_may_unload(&answer), OK);
}

// Runs in a child, whose exit code it is.
static pid_t (*forks)(void) = fork;
static void in_a_child(void (*body)(void)) {
  pid_t child = forks();
  if (!child) {
    body();
    _exit(0);
  }
  int status;
  HOLDS(waitpid(child, &status, 0) == child);
  HOLDS(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void in_the_child_of_a_running_runtime(void) {
  SundownStats stats;
  IS(sundown_submit(runtime, "parent's", count, &ran, destroy), FORKED);
  IS(sundown_stop(runtime, PLENTY, &answer), FORKED);
  IS(sundown_state(runtime, &stats), OK);
  HOLDS(stats.state == SUNDOWN_STATE_FORKED && destroyed == 1);
  IS(sundown_restart(runtime, &answer), OK);
  IS(sundown_submit(runtime, "child's", count, &ran, destroy), OK);
  HOLDS(comes(&destroyed, 2));
  end();
}

static void free_in_a_child(void) {
  IS(sundown_free(runtime), OK);
  IS(sundown_may_unload(&answer), OK);
}

static void a_forked_child_has_a_runtime_of_its_own(void) {
  start(2);
  IS(sundown_submit(runtime, "blocks", block, 0, destroy), OK);
  HOLDS(comes(&began, 1));
  in_a_child(in_the_child_of_a_running_runtime);
  in_a_child(free_in_a_child);
  HOLDS(destroyed == 0);
  atomic_store(&may_return, 1);
  end();
  HOLDS(destroyed == 1 && ran == 0);
}

static SundownGate *shared_gate;
static atomic_int is_over;
static void *submit_and_enter(void *nothing) {
  SundownEntry entry;
  SundownStats stats = {0};
  while (!atomic_load(&is_over)) {
    sundown_state(runtime, &stats);
    // No more than the runtime keeps up with.
    if (stats.jobs < 16) sundown_submit(runtime, "busy", count, &ran, NULL);
    sundown_gate_enter(shared_gate, &entry);
    sundown_gate_leave(&entry);
  }
  return nothing;
}
static void free_all_in_a_child(void) {
  IS(sundown_free(runtime), OK);
  IS(sundown_gate_free(shared_gate), OK);
  IS(sundown_may_unload(&answer), OK);
}

static void a_forked_child_may_unload_whatever_its_parents_threads_were_doing(void) {
  start(1);
  IS(sundown_gate_new(&shared_gate), OK);
  pthread_t threads[2];
  for (int i = 0; i < 2; i++) HOLDS(!pthread_create(&threads[i], 0, submit_and_enter, 0));
  for (int i = 0; i < 100; i++) in_a_child(free_all_in_a_child);
  atomic_store(&is_over, 1);
  for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
  IS(sundown_gate_free(shared_gate), OK);
  end();
}

static void enters_in_a_child(void) {
  SundownEntry entry;
  size_t inside;
  IS(sundown_gate_enter(shared_gate, &entry), OK);
  IS(sundown_gate_close(shared_gate, &inside), OK);
  HOLDS(inside == 1);
  IS(sundown_gate_wait(shared_gate, 0, &inside), STILL_INSIDE);
  HOLDS(inside == 1);
  IS(sundown_gate_leave(&entry), OK);
  IS(sundown_gate_wait(shared_gate, 0, &inside), OK);
  IS(sundown_gate_free(shared_gate), OK);
}

// The child's only thread is the one that used the gate in the parent.
static void in_a_forked_child_a_gate_counts_who_enters_first(void) {
  SundownEntry entry;
  IS(sundown_gate_new(&shared_gate), OK);
  IS(sundown_gate_enter(shared_gate, &entry), OK);
  in_a_child(enters_in_a_child);
  IS(sundown_gate_leave(&entry), OK);
  in_a_child(enters_in_a_child);
  IS(sundown_gate_free(shared_gate), OK);
}

#ifdef __linux__
// The first process of a PID namespace, whose child is the first of another: both have the id 1.
static void in_a_child_with_the_same_id(void) {
  HOLDS(getpid() == 1);
  enters_in_a_child();
  in_the_child_of_a_running_runtime();
}
// No handler of the library has run.
static void in_a_child_without_handlers(void) {
  SundownStats stats;
  HOLDS(getpid() == 1);
  // What the function is for: without it nothing tells the two apart.
  IS(sundown_state(runtime, &stats), OK);
  HOLDS(stats.state == SUNDOWN_STATE_RUNNING);
  sundown_forked_child();
  in_a_child_with_the_same_id();
}
static int is_without_handlers;
static void in_a_namespace(void) {
  HOLDS(getpid() == 1);
  start(2);
  IS(sundown_submit(runtime, "blocks", block, 0, destroy), OK);
  HOLDS(comes(&began, 1));
  SundownEntry entry;
  IS(sundown_gate_new(&shared_gate), OK);
  IS(sundown_gate_enter(shared_gate, &entry), OK);
  IS(sundown_gate_leave(&entry), OK);
  HOLDS(!unshare(CLONE_NEWPID));
  *(void **)&forks = is_without_handlers ? dlsym(RTLD_DEFAULT, "_Fork") : dlsym(RTLD_DEFAULT, "fork");
  if (forks)
    in_a_child(is_without_handlers ? in_a_child_without_handlers : in_a_child_with_the_same_id);
  else
    dprintf(1, "skipped: a child that runs no handlers: there is no _Fork\n");
  forks = fork;
  IS(sundown_gate_free(shared_gate), OK);
  atomic_store(&may_return, 1);
  end();
}

static void makes_a_namespace(void) {
  if (unshare(CLONE_NEWPID))
    dprintf(1, "skipped: a child with the id of its parent: this user makes no PID namespaces\n");
  else
    in_a_child(in_a_namespace);
}

// AddressSanitizer needs the namespace of this process at its end, so each is a child.
static void a_forked_child_with_the_id_of_its_parent_is_known_to_be_one(void) {
  in_a_child(makes_a_namespace);
}
static void a_child_that_runs_no_handlers_says_that_it_is_one(void) {
  is_without_handlers = 1;
  in_a_child(makes_a_namespace);
}
#endif

// What the tools must find. Not among the cases.
static void control_wrong_access(void) {
  char *volatile freed = calloc(1, 1);
  free((char *)freed);
  HOLDS(*freed < 127);
}
static void control_leak(void) {
  void *volatile lost = malloc(32);
  lost = NULL;
  (void)lost;
}

static const struct {
  const char *name;
  void (*body)(void);
} CASES[] = {
#define CASE(name) {#name, name}
    CASE(jobs_run),
    CASE(a_job_is_told_to_stop),
    CASE(a_job_that_blocks_is_named_and_its_end_can_be_waited_for),
    CASE(a_job_cannot_wait_for_its_own_end),
    CASE(a_repeated_stop_gives_the_same_answer),
    CASE(stops_at_the_same_time_each_have_a_limit),
    CASE(data_is_destroyed_once_whatever_happens),
    CASE(a_job_may_wait_for_one_that_it_submits),
    CASE(as_many_jobs_run_as_there_are_workers),
    CASE(a_job_waits_for_a_thread_that_the_system_refuses),
    CASE(a_runtime_can_be_started_again),
    CASE(null_pointers_are_refused),
    CASE(a_gate_is_empty_when_all_have_left),
    CASE(a_gate_outlives_its_handle_while_somebody_is_inside),
    CASE(a_forked_child_has_a_runtime_of_its_own),
    CASE(a_forked_child_may_unload_whatever_its_parents_threads_were_doing),
    CASE(in_a_forked_child_a_gate_counts_who_enters_first),
#ifdef __linux__
    CASE(a_forked_child_with_the_id_of_its_parent_is_known_to_be_one),
    CASE(a_child_that_runs_no_handlers_says_that_it_is_one),
#endif
    CASE(control_wrong_access),
    CASE(control_leak),
};

int main(int count, char **arguments) {
  for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
    if (count == 1 && strncmp(CASES[i].name, "control", 7)) puts(CASES[i].name);
    if (count == 2 && !strcmp(CASES[i].name, arguments[1])) return CASES[i].body(), 0;
  }
  return count == 1 ? 0 : 2;
}
