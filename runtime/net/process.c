#include "net/process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include "base/alloc.h"
#include "net/loop.h"
#include "net/stream.h"

struct vr_process {
    uv_process_t uv; /* data: this */
    struct vr_stream *streams[4];
    int opened[4]; /* files opened for the child; -1: none */
    bool running, detached, freed;
    vr_process_cb exited;
    void *payload;
};

static void free_process(uv_handle_t *handle)
{
    free(handle->data);
}

static void exited(uv_process_t *uv, int64_t code, int signal)
{
    struct vr_process *process = uv->data;
    process->running = false;
    if (process->freed)
        uv_close((uv_handle_t *)uv, free_process);
    else if (process->exited)
        process->exited(process->payload, signal ? -1 : (int)code, signal);
}

/* Opens a file for the child. */
static bool open_file(struct vr_process *process, int number, const char *path,
                      struct vr_error *err)
{
    int flags = number == 0 ? O_RDONLY : O_WRONLY | O_CREAT | O_APPEND;
    process->opened[number] = open(path, flags | O_CLOEXEC, 0600);
    if (process->opened[number] >= 0)
        return true;
    return vr_error_system(err, errno, "cannot open %s", path);
}

/* A real pipe and not libuv's socket pair: programs that open /dev/stderr again cannot do so with a
 * socket. */
static bool open_pipe(struct vr_process *process, struct vr_loop *loop, int number,
                      struct vr_error *err)
{
    uv_file fds[2];
    bool in = number == 0;
    int rc = uv_pipe(fds, in ? 0 : UV_NONBLOCK_PIPE, in ? UV_NONBLOCK_PIPE : 0);
    if (rc != 0)
        return vr_error_uv(err, rc, "cannot make a pipe");
    process->opened[number] = fds[in ? 0 : 1];
    process->streams[number] = vr_stream_open_pipe(loop, fds[in ? 1 : 0], err);
    return process->streams[number] != NULL;
}

static bool set_stdio(struct vr_process *process, struct vr_loop *loop, int number,
                      const struct vr_stdio *given, uv_stdio_container_t *out, struct vr_error *err)
{
    switch (given->kind) {
    case VR_STDIO_NULL:
        out->flags = UV_IGNORE;
        break;
    case VR_STDIO_PIPE:
        if (number < 3) {
            if (!open_pipe(process, loop, number, err))
                return false;
            out->flags = UV_INHERIT_FD;
            out->data.fd = process->opened[number];
        } else {
            process->streams[number] = vr_stream_new_pipe(loop);
            out->flags = UV_CREATE_PIPE | UV_READABLE_PIPE | UV_WRITABLE_PIPE;
            out->data.stream = vr_stream_uv(process->streams[number]);
        }
        break;
    case VR_STDIO_INHERIT:
        out->flags = UV_INHERIT_FD;
        out->data.fd = number;
        break;
    case VR_STDIO_FILE:
        if (!open_file(process, number, given->path, err))
            return false;
        out->flags = UV_INHERIT_FD;
        out->data.fd = process->opened[number];
        break;
    case VR_STDIO_FD:
        out->flags = UV_INHERIT_FD;
        out->data.fd = given->fd;
        break;
    }
    return true;
}

static void close_opened(struct vr_process *process)
{
    for (int i = 0; i < 4; i++) {
        if (process->opened[i] >= 0)
            close(process->opened[i]);
        process->opened[i] = -1;
    }
}

static bool spawn_failed(int rc, const struct vr_process_options *options, struct vr_error *err)
{
    struct stat st;
    if (rc == UV_ENOENT && options->cwd && (stat(options->cwd, &st) != 0 || !S_ISDIR(st.st_mode)))
        return vr_error_set(err, "not_found", "cannot run %s: there is no folder %s",
                            options->argv[0], options->cwd);
    if (rc == UV_ENOENT)
        return vr_error_set(err, "not_found", "cannot run %s: there is no such program",
                            options->argv[0]);
    return vr_error_uv(err, rc, "cannot run %s", options->argv[0]);
}

struct vr_process *vr_process_start(struct vr_loop *loop, const struct vr_process_options *options,
                                    vr_process_cb cb, void *payload, struct vr_error *err)
{
    struct vr_process *process = vr_alloc(sizeof(*process));
    process->uv.data = process;
    process->detached = options->detached;
    process->exited = cb;
    process->payload = payload;
    for (int i = 0; i < 4; i++)
        process->opened[i] = -1;
    uv_stdio_container_t stdio[4] = {0};
    int count = options->extra ? 4 : 3;
    bool ok = true;
    for (int i = 0; ok && i < count; i++)
        ok = set_stdio(process, loop, i, &options->stdio[i], &stdio[i], err);
    if (!ok) {
        close_opened(process);
        for (int i = 0; i < 4; i++)
            vr_stream_close(process->streams[i]);
        free(process);
        return NULL;
    }
    uv_process_options_t uv = {
        .exit_cb = exited,
        .file = options->argv[0],
        .args = (char **)options->argv,
        .env = (char **)options->env,
        .cwd = options->cwd,
        .flags = UV_PROCESS_DETACHED, /* setsid: a group of its own */
        .stdio = stdio,
        .stdio_count = count,
    };
    int rc = uv_spawn(vr_loop_uv(loop), &process->uv, &uv);
    close_opened(process);
    process->running = rc == 0;
    if (rc == 0)
        return process;
    spawn_failed(rc, options, err);
    vr_process_free(process);
    return NULL;
}

int vr_process_pid(const struct vr_process *process)
{
    return process->uv.pid;
}

struct vr_stream *vr_process_stream(struct vr_process *process, int number)
{
    return process->streams[number];
}

struct vr_stream *vr_process_take_stream(struct vr_process *process, int number)
{
    struct vr_stream *stream = process->streams[number];
    process->streams[number] = NULL;
    return stream;
}

bool vr_process_running(const struct vr_process *process)
{
    return process->running;
}

bool vr_process_kill(struct vr_process *process, int signal, struct vr_error *err)
{
    /* The group may outlive its leader. */
    if (kill(-process->uv.pid, signal) == 0)
        return true;
    return vr_error_system(err, errno, "cannot signal process %d", process->uv.pid);
}

/* A process that still runs keeps its handle, so that it is waited for; the loop does not wait with
 * it. */
void vr_process_free(struct vr_process *process)
{
    if (!process || process->freed)
        return;
    process->freed = true;
    for (int i = 0; i < 4; i++) {
        vr_stream_close(process->streams[i]);
        process->streams[i] = NULL;
    }
    if (!process->running) {
        uv_close((uv_handle_t *)&process->uv, free_process);
        return;
    }
    if (!process->detached)
        kill(-process->uv.pid, SIGKILL);
    uv_unref((uv_handle_t *)&process->uv);
}
