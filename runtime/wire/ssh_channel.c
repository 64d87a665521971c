/* A channel's step tries its calls of libssh2 in a fixed order: what was stuck, then reading, then
 * writing. Each call is a function `act_...` that comes to nothing (it would block, or there is
 * nothing to do), to progress, or to the channel's end; the end of the whole session is left in
 * ssh->fatal. */
#include "wire/ssh_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

#define IN_LIMIT 1048576 /* bytes of a stream that wait for the owner; then the host waits */
#define CHUNK 32000      /* what libssh2 sends in one packet is a little more */

/* --- the list of a session --- */

static void leave_turns(struct vr_ssh_channel *channel)
{
    struct vr_ssh *ssh = channel->ssh;
    if (ssh->opener == channel)
        ssh->opener = NULL;
    if (ssh->asker == channel)
        ssh->asker = NULL;
}

static void unlink_channel(struct vr_ssh_channel *channel)
{
    struct vr_ssh *ssh = channel->ssh;
    struct vr_ssh_channel **at = &ssh->first;
    while (*at != channel)
        at = &(*at)->next;
    *at = channel->next;
    if (ssh->holder == channel)
        ssh->holder = NULL;
    leave_turns(channel);
    channel->ssh = NULL;
}

static void channel_delete(struct vr_ssh_channel *channel)
{
    fifo_free(&channel->in[0]);
    fifo_free(&channel->in[1]);
    fifo_free(&channel->out);
    vr_error_clear(&channel->err);
    free(channel->chunk);
    free(channel->command);
    free(channel->term);
    free(channel->host);
    free(channel->signal);
    free(channel);
}

void ssh_channel_tell(struct vr_ssh_channel *channel)
{
    if (!channel->news)
        return;
    channel->news = false;
    if (channel->changed)
        channel->changed(channel->payload);
}

void ssh_channel_drop(struct vr_ssh_channel *channel, const struct vr_error *err)
{
    unlink_channel(channel);
    channel->held = NULL;
    fifo_free(&channel->out);
    if (err && !channel->known && !channel->err.message)
        vr_error_copy(&channel->err, err);
    channel->phase = channel->err.message ? BROKEN : CLOSED;
    channel->at_end = true;
    channel->news = true;
    if (channel->owned)
        ssh_channel_tell(channel);
    else
        channel_delete(channel);
}

/* --- calls of libssh2 --- */

/* A call has returned rc < 0. */
static int call_failed(struct vr_ssh_channel *channel, int rc, const char *what)
{
    struct vr_ssh *ssh = channel->ssh;
    if (rc == LIBSSH2_ERROR_EAGAIN || (rc == LIBSSH2_ERROR_BAD_USE && ssh->send_blocked))
        return STEP_NOTHING;
    if (ssh_is_fatal(ssh, rc)) {
        ssh->fatal = rc;
        return STEP_NOTHING;
    }
    vr_error_set(&channel->err, "channel", "%s: %s: %s", ssh->label, what, ssh_last_error(ssh));
    leave_turns(channel);
    channel->phase = FREEING;
    channel->news = true;
    return STEP_DONE;
}

static const char *opening_what(const struct vr_ssh_channel *channel, char *text, size_t size)
{
    if (channel->kind == TCP)
        snprintf(text, size, "cannot reach %s port %d from there", channel->host, channel->port);
    else
        snprintf(text, size, "cannot open a channel");
    return text;
}

static int act_open(struct vr_ssh_channel *channel)
{
    struct vr_ssh *ssh = channel->ssh;
    if (channel->kind == TCP)
        channel->raw = libssh2_channel_direct_tcpip_ex(ssh->raw, channel->host, channel->port,
                                                       "127.0.0.1", 22);
    else if (channel->kind == POKE)
        channel->raw =
            libssh2_channel_open_ex(ssh->raw, "poke@vmrun", 10, LIBSSH2_CHANNEL_WINDOW_DEFAULT,
                                    LIBSSH2_CHANNEL_PACKET_DEFAULT, NULL, 0);
    else
        channel->raw = libssh2_channel_open_session(ssh->raw);
    if (!channel->raw) {
        char what[320];
        return call_failed(channel, libssh2_session_last_errno(ssh->raw),
                           opening_what(channel, what, sizeof(what)));
    }
    leave_turns(channel);
    channel->phase = channel->kind == SESSION ? (channel->pty ? PTY : START) : OPEN;
    channel->news = true;
    return STEP_DONE;
}

static int act_pty(struct vr_ssh_channel *channel)
{
    int rc =
        libssh2_channel_request_pty_ex(channel->raw, channel->term, (unsigned)strlen(channel->term),
                                       NULL, 0, channel->columns, channel->rows, 0, 0);
    if (rc < 0)
        return call_failed(channel, rc, "no terminal");
    leave_turns(channel);
    channel->phase = START;
    return STEP_DONE;
}

static int act_start(struct vr_ssh_channel *channel)
{
    const char *request = channel->command ? "exec" : "shell";
    int rc = libssh2_channel_process_startup(
        channel->raw, request, (unsigned)strlen(request), channel->command,
        channel->command ? (unsigned)strlen(channel->command) : 0);
    if (rc < 0)
        return call_failed(channel, rc, "the command was not started");
    leave_turns(channel);
    channel->phase = OPEN;
    channel->news = true;
    return STEP_DONE;
}

static int read_stream(struct vr_ssh_channel *channel, int stream)
{
    char bytes[65536];
    ssize_t rc = libssh2_channel_read_ex(channel->raw, stream, bytes, sizeof(bytes));
    if (rc < 0)
        return call_failed(channel, (int)rc, "reading failed");
    if (rc == 0)
        return STEP_NOTHING;
    if (channel->owned)
        fifo_add(&channel->in[stream], bytes, (size_t)rc);
    channel->news = true;
    return STEP_DONE;
}

static int act_read_out(struct vr_ssh_channel *channel)
{
    return read_stream(channel, 0);
}

static int act_read_err(struct vr_ssh_channel *channel)
{
    return read_stream(channel, SSH_EXTENDED_DATA_STDERR);
}

static int act_write(struct vr_ssh_channel *channel)
{
    size_t length = fifo_length(&channel->out);
    if (length == 0)
        return STEP_NOTHING;
    if (!channel->chunk)
        channel->chunk = vr_alloc(CHUNK);
    length = length < CHUNK ? length : CHUNK;
    memcpy(channel->chunk, fifo_data(&channel->out), length);
    ssize_t rc = libssh2_channel_write_ex(channel->raw, 0, channel->chunk, length);
    if (rc < 0)
        return call_failed(channel, (int)rc, "writing failed");
    fifo_drop(&channel->out, (size_t)rc);
    if (fifo_length(&channel->out) == 0) {
        free(channel->chunk);
        channel->chunk = NULL;
    }
    channel->news = rc > 0 || channel->news;
    return rc > 0 ? STEP_DONE : STEP_NOTHING;
}

static int act_eof(struct vr_ssh_channel *channel)
{
    int rc = libssh2_channel_send_eof(channel->raw);
    /* It says "send" where another packet is still on its way. */
    if (rc == LIBSSH2_ERROR_SOCKET_SEND && channel->ssh->send_blocked && !channel->ssh->gone)
        return STEP_NOTHING;
    if (rc < 0)
        return call_failed(channel, rc, "ending the input failed");
    channel->eof_sent = true;
    return STEP_DONE;
}

static int act_resize(struct vr_ssh_channel *channel)
{
    int rc =
        libssh2_channel_request_pty_size_ex(channel->raw, channel->columns, channel->rows, 0, 0);
    if (rc < 0)
        return call_failed(channel, rc, "changing the terminal's size failed");
    channel->resize = false;
    return STEP_DONE;
}

/* The host has said all; now it says how it ended. */
static int act_settle(struct vr_ssh_channel *channel)
{
    int rc = libssh2_channel_wait_closed(channel->raw);
    if (rc < 0)
        return call_failed(channel, rc, "waiting for its end failed");
    char *signal = NULL;
    libssh2_channel_get_exit_signal(channel->raw, &signal, NULL, NULL, NULL, NULL, NULL);
    channel->signal = vr_strdup(signal);
    if (signal)
        libssh2_free(channel->ssh->raw, signal);
    channel->code = libssh2_channel_get_exit_status(channel->raw);
    channel->known = true;
    channel->phase = FREEING;
    channel->news = true;
    return STEP_DONE;
}

static int act_free(struct vr_ssh_channel *channel)
{
    if (channel->raw) {
        int rc = libssh2_channel_free(channel->raw);
        if (rc == LIBSSH2_ERROR_EAGAIN)
            return STEP_NOTHING;
        channel->raw = NULL;
        if (rc < 0 && ssh_is_fatal(channel->ssh, rc)) {
            channel->ssh->fatal = rc;
            return STEP_NOTHING;
        }
    }
    ssh_channel_drop(channel, NULL);
    return STEP_OVER;
}

/* --- steps --- */

static int run(struct vr_ssh_channel *channel, int (*act)(struct vr_ssh_channel *))
{
    struct vr_ssh *ssh = channel->ssh;
    int rc = act(channel);
    if (rc == STEP_OVER)
        return rc;
    channel->held = NULL;
    /* When a write met a packet of another kind that is stuck (an answer to the host, sent while
     * reading), it is reading that goes on with it. */
    if (ssh->send_blocked)
        channel->held = act == act_write && rc == STEP_NOTHING &&
                                libssh2_session_last_errno(ssh->raw) == LIBSSH2_ERROR_BAD_USE
                            ? act_read_out
                            : act;
    return rc;
}

static bool room(const struct vr_ssh_channel *channel, int stream)
{
    return fifo_length(&channel->in[stream]) < IN_LIMIT;
}

/* Whether it has the turn, or can have it. */
static bool take_turn(struct vr_ssh_channel **turn, struct vr_ssh_channel *channel)
{
    if (*turn && *turn != channel)
        return false;
    *turn = channel;
    return true;
}

static int (*next_act(struct vr_ssh_channel *channel))(struct vr_ssh_channel *)
{
    switch (channel->phase) {
    case WAIT:
    case OPENING:
        if (!take_turn(&channel->ssh->opener, channel))
            return NULL;
        channel->phase = OPENING;
        return act_open;
    case PTY:
        return take_turn(&channel->ssh->asker, channel) ? act_pty : NULL;
    case START:
        return take_turn(&channel->ssh->asker, channel) ? act_start : NULL;
    case FREEING:
        return act_free;
    default:
        return NULL;
    }
}

/* True: the channel may go on with the next of its calls. */
static bool try(struct vr_ssh_channel *channel, int (*act)(struct vr_ssh_channel *), int *sum)
{
    int rc = run(channel, act);
    if (rc > *sum)
        *sum = rc;
    return rc != STEP_OVER && !channel->ssh->send_blocked && !channel->ssh->fatal &&
           channel->phase == OPEN;
}

static int step_open(struct vr_ssh_channel *channel)
{
    int sum = STEP_NOTHING;
    if (room(channel, 0) && !try(channel, act_read_out, &sum))
        return sum;
    if (room(channel, 1) && !try(channel, act_read_err, &sum))
        return sum;
    if (!channel->at_end && libssh2_channel_eof(channel->raw) == 1) {
        channel->at_end = channel->news = true;
        sum = STEP_DONE;
    }
    if (channel->resize && !try(channel, act_resize, &sum))
        return sum;
    if (fifo_length(&channel->out) && !try(channel, act_write, &sum))
        return sum;
    if (channel->eof_wanted && !channel->eof_sent && fifo_length(&channel->out) == 0 &&
        !try(channel, act_eof, &sum))
        return sum;
    if (channel->at_end)
        try(channel, act_settle, &sum);
    return sum;
}

int ssh_channel_step(struct vr_ssh_channel *channel)
{
    int sum = STEP_NOTHING;
    if (channel->held) {
        int rc = run(channel, channel->held);
        if (rc == STEP_OVER || channel->held || channel->ssh->fatal)
            return rc;
        sum = rc;
    }
    if (!channel->owned && channel->phase > OPENING && channel->phase < FREEING &&
        channel->ssh->asker != channel)
        channel->phase = FREEING;
    int (*act)(struct vr_ssh_channel *) = next_act(channel);
    int rc = act ? run(channel, act) : channel->phase == OPEN ? step_open(channel) : STEP_NOTHING;
    return rc > sum ? rc : sum;
}

bool ssh_channel_wants_input(const struct vr_ssh_channel *channel)
{
    if (channel->phase == WAIT)
        return false;
    return channel->phase != OPEN || channel->at_end || room(channel, 0) || room(channel, 1);
}

/* --- what others see --- */

static struct vr_ssh_channel *channel_new(struct vr_ssh *ssh, enum channel_kind kind,
                                          vr_ssh_changed changed, void *payload)
{
    struct vr_ssh_channel *channel = vr_alloc(sizeof(*channel));
    channel->kind = kind;
    channel->changed = changed;
    channel->payload = payload;
    channel->owned = true;
    if (ssh->phase != READY) {
        channel->phase = BROKEN;
        channel->at_end = true;
        if (ssh->err.message)
            vr_error_copy(&channel->err, &ssh->err);
        else
            vr_error_set(&channel->err, "lost", "%s: not logged in", ssh->label);
        return channel;
    }
    channel->ssh = ssh;
    struct vr_ssh_channel **at = &ssh->first;
    while (*at)
        at = &(*at)->next;
    *at = channel;
    ssh_kick(ssh);
    return channel;
}

struct vr_ssh_channel *vr_ssh_exec(struct vr_ssh *ssh, const char *command,
                                   const struct vr_ssh_pty *pty, vr_ssh_changed changed,
                                   void *payload)
{
    struct vr_ssh_channel *channel = channel_new(ssh, SESSION, changed, payload);
    channel->command = vr_strdup(command);
    if (pty) {
        channel->pty = true;
        channel->term = vr_strdup(pty->term ? pty->term : "xterm-256color");
        channel->columns = pty->columns ? pty->columns : 80;
        channel->rows = pty->rows ? pty->rows : 24;
    }
    return channel;
}

struct vr_ssh_channel *vr_ssh_forward(struct vr_ssh *ssh, const char *host, int port,
                                      vr_ssh_changed changed, void *payload)
{
    struct vr_ssh_channel *channel = channel_new(ssh, TCP, changed, payload);
    channel->host = vr_strdup(host);
    channel->port = port;
    return channel;
}

struct vr_ssh_channel *ssh_channel_poke(struct vr_ssh *ssh)
{
    struct vr_ssh_channel *channel = channel_new(ssh, POKE, NULL, NULL);
    channel->owned = false;
    return channel;
}

void vr_ssh_channel_free(struct vr_ssh_channel *channel)
{
    if (!channel)
        return;
    struct vr_ssh *ssh = channel->ssh;
    channel->owned = false;
    channel->changed = NULL;
    if (!ssh) {
        channel_delete(channel);
        return;
    }
    fifo_free(&channel->in[0]);
    fifo_free(&channel->in[1]);
    if (channel->phase == WAIT)
        ssh_channel_drop(channel, NULL);
    else
        ssh_kick(ssh);
}

enum vr_ssh_channel_state vr_ssh_channel_state(const struct vr_ssh_channel *channel)
{
    if (channel->err.message)
        return VR_SSH_BROKEN;
    if (channel->known || channel->phase == CLOSED)
        return VR_SSH_FINISHED;
    return channel->phase == OPEN ? VR_SSH_OPEN : VR_SSH_OPENING;
}

const struct vr_error *vr_ssh_channel_error(const struct vr_ssh_channel *channel)
{
    return &channel->err;
}

struct vr_ssh *vr_ssh_channel_session(const struct vr_ssh_channel *channel)
{
    return channel->ssh;
}

const char *vr_ssh_channel_peek(struct vr_ssh_channel *channel, int stream, size_t *length)
{
    *length = fifo_length(&channel->in[stream]);
    return fifo_data(&channel->in[stream]);
}

void vr_ssh_channel_take(struct vr_ssh_channel *channel, int stream, size_t length)
{
    bool full = !room(channel, stream);
    fifo_drop(&channel->in[stream], length);
    if (full && channel->ssh)
        ssh_kick(channel->ssh);
}

bool vr_ssh_channel_at_end(const struct vr_ssh_channel *channel)
{
    return channel->at_end;
}

bool vr_ssh_channel_write(struct vr_ssh_channel *channel, const void *data, size_t length)
{
    if (!channel->ssh || channel->known || channel->err.message || channel->eof_wanted)
        return false;
    fifo_add(&channel->out, data, length);
    ssh_kick(channel->ssh);
    return true;
}

size_t vr_ssh_channel_unsent(const struct vr_ssh_channel *channel)
{
    return fifo_length(&channel->out);
}

void vr_ssh_channel_eof(struct vr_ssh_channel *channel)
{
    channel->eof_wanted = true;
    if (channel->ssh)
        ssh_kick(channel->ssh);
}

void vr_ssh_channel_resize(struct vr_ssh_channel *channel, int columns, int rows)
{
    channel->columns = columns;
    channel->rows = rows;
    channel->resize = channel->pty;
    if (channel->ssh)
        ssh_kick(channel->ssh);
}

int vr_ssh_channel_exit_code(const struct vr_ssh_channel *channel)
{
    return channel->code;
}

const char *vr_ssh_channel_exit_signal(const struct vr_ssh_channel *channel)
{
    return channel->signal;
}
