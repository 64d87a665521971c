/* Child processes, each the leader of a session and process group of its own, so that a signal
 * reaches all it started. */
#ifndef VR_NET_PROCESS_H
#define VR_NET_PROCESS_H

#include <stdbool.h>

#include "base/error.h"

struct vr_loop;
struct vr_stream;
struct vr_process;

enum vr_stdio_kind {
    VR_STDIO_NULL,
    VR_STDIO_PIPE,    /* vr_process_stream gives our end */
    VR_STDIO_INHERIT, /* ours */
    VR_STDIO_FILE,    /* `path`: read from for stdin, else made 0600 and appended to */
    VR_STDIO_FD,      /* `fd`: stays the caller's */
};
struct vr_stdio {
    enum vr_stdio_kind kind;
    const char *path;
    int fd;
};

struct vr_process_options {
    const char *const *argv;  /* ends with NULL; argv[0] is looked up in the child's PATH */
    const char *cwd;          /* NULL: ours */
    const char *const *env;   /* "NAME=value", ends with NULL; NULL: ours */
    struct vr_stdio stdio[4]; /* 0, 1, 2; and 3 if extra */
    bool extra;               /* the child gets stdio[3] as descriptor 3 */
    bool detached;            /* outlives us: vr_process_free does not kill it */
};

/* exited: on the loop, once; code is -1 if a signal ended it, else signal is 0. */
typedef void (*vr_process_cb)(void *payload, int code, int signal);
struct vr_process *vr_process_start(struct vr_loop *loop, const struct vr_process_options *options,
                                    vr_process_cb exited, void *payload, struct vr_error *err);
int vr_process_pid(const struct vr_process *process);
/* Our end of a pipe; owned by the process unless vr_process_take_stream took it. NULL: not a pipe.
 */
struct vr_stream *vr_process_stream(struct vr_process *process, int number);
struct vr_stream *vr_process_take_stream(struct vr_process *process, int number);
bool vr_process_running(const struct vr_process *process);
/* A signal for its whole group. False: it is gone, or not ours to signal. */
bool vr_process_kill(struct vr_process *process, int signal, struct vr_error *err);
/* Closes the pipes; kills the group if it still runs and is not detached; exited is not called any
 * more. NULL is fine. */
void vr_process_free(struct vr_process *process);

#endif
