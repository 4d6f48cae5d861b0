/* Ctrl-C. A signal handler may call next to nothing, so it only writes a byte to a pipe; a thread that sleeps
 * on the other end sets the cancel token. The handler is removed by the first signal: the second one kills.
 */
#include "cli.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

/* A handler has no user data; these live as long as the process. */
static int pipe_ends[2] = {-1, -1};
static pthread_t watcher;
static bool watching;

static void on_interrupt(int signal_number) {
  int saved = errno;
  (void)signal_number;
  ssize_t written = write(pipe_ends[1], "c", 1);
  (void)written; /* a full pipe already holds a byte to read */
  errno = saved;
}

static void *watch(void *cancel) {
  char byte;
  ssize_t n;
  do n = read(pipe_ends[0], &byte, 1);
  while (n < 0 && errno == EINTR);
  if (n == 1) tern_cancel_set(cancel);
  return NULL;
}

bool cli_signal_start(tern_cancel *cancel) {
  struct sigaction action = {0};
  if (pipe(pipe_ends)) return false;
  if (pthread_create(&watcher, NULL, watch, cancel)) return false;
  watching = true;
  action.sa_handler = on_interrupt;
  action.sa_flags = SA_RESETHAND;
  sigemptyset(&action.sa_mask);
  return sigaction(SIGINT, &action, NULL) == 0;
}

void cli_signal_stop(void) {
  if (!watching) return;
  watching = false;
  signal(SIGINT, SIG_DFL);
  close(pipe_ends[1]); /* the watcher reads the end of the file and returns */
  pthread_join(watcher, NULL);
  close(pipe_ends[0]);
}
