/* Timers, polls and signals are libuv handles that this file allocates and frees in their close
 * callbacks. Deferred calls run from a check handle, which comes after the timers and the I/O of a
 * turn; while there are any, an idle handle keeps the poll from waiting. */
#include "net/loop.h"

#include <assert.h>
#include <stdlib.h>
#include <uv.h>

#include "base/alloc.h"

struct deferred {
    struct deferred *next;
    vr_timer_cb cb;
    void *payload;
};

struct vr_loop {
    uv_loop_t uv;
    uv_check_t check;
    uv_idle_t idle;
    uv_prepare_t prepare;
    void (*before_wait)(void *payload);
    void *before_payload;
    struct deferred *first, **last;
    bool stopped; /* by its own limit, while it was freed */
};

struct vr_timer {
    uv_timer_t uv; /* data: this */
    vr_timer_cb cb;
    void *payload;
};

static void run_deferred(uv_check_t *check)
{
    struct vr_loop *loop = check->data;
    struct deferred *list = loop->first;
    loop->first = NULL;
    loop->last = &loop->first;
    while (list) {
        struct deferred *item = list;
        list = item->next;
        item->cb(item->payload);
        free(item);
    }
    if (!loop->first) {
        uv_check_stop(&loop->check);
        uv_idle_stop(&loop->idle);
    }
}

static void keep_turning(uv_idle_t *idle)
{
    (void)idle;
}

struct vr_loop *vr_loop_new(void)
{
    struct vr_loop *loop = vr_alloc(sizeof(*loop));
    if (uv_loop_init(&loop->uv) != 0)
        abort(); /* only without memory or file descriptors at the very start */
    loop->uv.data = loop;
    uv_check_init(&loop->uv, &loop->check);
    uv_idle_init(&loop->uv, &loop->idle);
    uv_prepare_init(&loop->uv, &loop->prepare);
    uv_unref((uv_handle_t *)&loop->prepare);
    loop->check.data = loop->prepare.data = loop;
    loop->last = &loop->first;
    return loop;
}

static void before_wait(uv_prepare_t *prepare)
{
    struct vr_loop *loop = prepare->data;
    loop->before_wait(loop->before_payload);
}

void vr_loop_before_wait(struct vr_loop *loop, void (*cb)(void *payload), void *payload)
{
    loop->before_wait = cb;
    loop->before_payload = payload;
    if (cb)
        uv_prepare_start(&loop->prepare, before_wait);
    else
        uv_prepare_stop(&loop->prepare);
}

static void free_handle(uv_handle_t *handle)
{
    free(handle->data);
}

/* A process that was let go, or just killed, keeps its handle until it has ended: we end first. */
static void close_process(uv_handle_t *handle, void *payload)
{
    (void)payload;
    if (handle->type == UV_PROCESS && !uv_has_ref(handle) && !uv_is_closing(handle))
        uv_close(handle, free_handle);
}

static void stop_loop(void *payload)
{
    struct vr_loop *loop = payload;
    loop->stopped = true;
    uv_stop(&loop->uv);
}

void vr_loop_free(struct vr_loop *loop)
{
    if (!loop)
        return;
    if (loop->first)
        run_deferred(&loop->check);
    uv_close((uv_handle_t *)&loop->check, NULL);
    uv_close((uv_handle_t *)&loop->idle, NULL);
    uv_close((uv_handle_t *)&loop->prepare, NULL);
    uv_walk(&loop->uv, close_process, NULL);
    /* Closes handles, and waits for abandoned work of other threads; but a handle that was
     * forgotten must not hang us. */
    struct vr_timer *limit = vr_timer_start(loop, 10, stop_loop, loop);
    uv_unref((uv_handle_t *)&limit->uv);
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    if (!loop->stopped)
        vr_timer_cancel(limit);
    uv_run(&loop->uv, UV_RUN_NOWAIT);
    int rc = uv_loop_close(&loop->uv);
    assert(rc == 0 || loop->uv.active_reqs.count > 0); /* a name server that is slow */
    while (loop->first) {
        struct deferred *item = loop->first;
        loop->first = item->next;
        free(item);
    }
    if (rc == 0)
        free(loop);
}

struct uv_loop_s *vr_loop_uv(struct vr_loop *loop)
{
    return &loop->uv;
}

void vr_loop_run(struct vr_loop *loop)
{
    uv_run(&loop->uv, UV_RUN_DEFAULT);
}

void vr_loop_stop(struct vr_loop *loop)
{
    uv_stop(&loop->uv);
}

uint64_t vr_loop_now(struct vr_loop *loop)
{
    return uv_now(&loop->uv);
}

/* --- timers --- */

static void timer_fired(uv_timer_t *uv)
{
    struct vr_timer *timer = uv->data;
    vr_timer_cb cb = timer->cb;
    void *payload = timer->payload;
    uv_close((uv_handle_t *)uv, free_handle);
    cb(payload);
}

/* Never too short: the loop's clock stands still while callbacks run, and counts whole
 * milliseconds. */
static uint64_t milliseconds_until(struct vr_loop *loop, double seconds)
{
    if (!(seconds > 0))
        return 0;
    uv_update_time(&loop->uv);
    double end = (double)uv_hrtime() / 1e6 + (seconds < 1e9 ? seconds : 1e9) * 1e3;
    uint64_t whole = (uint64_t)end + 1, now = uv_now(&loop->uv);
    return whole > now ? whole - now : 0;
}

struct vr_timer *vr_timer_start(struct vr_loop *loop, double seconds, vr_timer_cb cb, void *payload)
{
    struct vr_timer *timer = vr_alloc(sizeof(*timer));
    timer->cb = cb;
    timer->payload = payload;
    uv_timer_init(&loop->uv, &timer->uv);
    timer->uv.data = timer;
    uv_timer_start(&timer->uv, timer_fired, milliseconds_until(loop, seconds), 0);
    return timer;
}

void vr_timer_cancel(struct vr_timer *timer)
{
    if (!timer)
        return;
    uv_timer_stop(&timer->uv);
    uv_close((uv_handle_t *)&timer->uv, free_handle);
}

void vr_loop_defer(struct vr_loop *loop, vr_timer_cb cb, void *payload)
{
    struct deferred *item = vr_alloc(sizeof(*item));
    item->cb = cb;
    item->payload = payload;
    *loop->last = item;
    loop->last = &item->next;
    uv_check_start(&loop->check, run_deferred);
    uv_idle_start(&loop->idle, keep_turning);
}

/* --- readiness --- */

struct vr_poll {
    uv_poll_t uv; /* data: this */
    vr_poll_cb cb;
    void *payload;
};

struct vr_poll *vr_poll_new(struct vr_loop *loop, int fd, vr_poll_cb cb, void *payload)
{
    struct vr_poll *poll = vr_alloc(sizeof(*poll));
    if (uv_poll_init(&loop->uv, &poll->uv, fd) != 0) {
        free(poll);
        return NULL;
    }
    poll->uv.data = poll;
    poll->cb = cb;
    poll->payload = payload;
    return poll;
}

static void poll_ready(uv_poll_t *uv, int status, int uv_events)
{
    struct vr_poll *poll = uv->data;
    int events = 0;
    if (status < 0) /* the owner's next read or write finds the reason */
        events = VR_POLL_READ | VR_POLL_WRITE;
    if (uv_events & UV_READABLE)
        events |= VR_POLL_READ;
    if (uv_events & UV_WRITABLE)
        events |= VR_POLL_WRITE;
    poll->cb(poll->payload, events);
}

void vr_poll_set(struct vr_poll *poll, int events)
{
    if (events == 0) {
        uv_poll_stop(&poll->uv);
        return;
    }
    int uv_events = 0;
    if (events & VR_POLL_READ)
        uv_events |= UV_READABLE;
    if (events & VR_POLL_WRITE)
        uv_events |= UV_WRITABLE;
    uv_poll_start(&poll->uv, uv_events, poll_ready);
}

void vr_poll_free(struct vr_poll *poll)
{
    if (!poll)
        return;
    uv_poll_stop(&poll->uv);
    uv_close((uv_handle_t *)&poll->uv, free_handle);
}

/* --- signals --- */

struct vr_signal {
    uv_signal_t uv; /* data: this */
    vr_signal_cb cb;
    void *payload;
};

static void signal_came(uv_signal_t *uv, int number)
{
    struct vr_signal *signal = uv->data;
    signal->cb(signal->payload, number);
}

struct vr_signal *vr_signal_start(struct vr_loop *loop, int number, vr_signal_cb cb, void *payload)
{
    struct vr_signal *signal = vr_alloc(sizeof(*signal));
    uv_signal_init(&loop->uv, &signal->uv);
    signal->uv.data = signal;
    signal->cb = cb;
    signal->payload = payload;
    uv_signal_start(&signal->uv, signal_came, number);
    uv_unref((uv_handle_t *)&signal->uv);
    return signal;
}

void vr_signal_stop(struct vr_signal *signal)
{
    if (!signal)
        return;
    uv_signal_stop(&signal->uv);
    uv_close((uv_handle_t *)&signal->uv, free_handle);
}
