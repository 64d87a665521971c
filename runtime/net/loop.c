/* Polls and signals are libuv handles that this file allocates and frees in their close callbacks.
 * Timers are a heap over one timerfd: libuv's count whole milliseconds, which adds up in a chain of
 * short steps. Deferred calls run from a check handle, which comes after the timers and the I/O of
 * a turn; while there are any, an idle handle keeps the poll from waiting. */
#include "net/loop.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>
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

    struct vr_timer **heap; /* the first to be due on top */
    size_t timers, room;
    uint64_t order, armed; /* armed: when the clock rings; 0: never */
    int clock;
    uv_poll_t ring;
};

struct vr_timer {
    struct vr_loop *loop;
    uint64_t due;   /* nanoseconds of the monotonic clock */
    uint64_t order; /* of two that are due together */
    size_t at;      /* in the loop's heap */
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

static void open_clock(struct vr_loop *loop);

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
    open_clock(loop);
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
    vr_timer_start(loop, 10, stop_loop, loop);
    uv_unref((uv_handle_t *)&loop->ring);
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    uv_close((uv_handle_t *)&loop->ring, NULL);
    uv_run(&loop->uv, UV_RUN_NOWAIT);
    for (size_t i = 0; i < loop->timers; i++)
        free(loop->heap[i]);
    free(loop->heap);
    close(loop->clock);
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

static uint64_t nanoseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static bool before(const struct vr_timer *a, const struct vr_timer *b)
{
    return a->due != b->due ? a->due < b->due : a->order < b->order;
}

static void place(struct vr_loop *loop, struct vr_timer *timer, size_t at)
{
    loop->heap[at] = timer;
    timer->at = at;
}

static void rise(struct vr_loop *loop, struct vr_timer *timer, size_t at)
{
    for (; at > 0 && before(timer, loop->heap[(at - 1) / 2]); at = (at - 1) / 2)
        place(loop, loop->heap[(at - 1) / 2], at);
    place(loop, timer, at);
}

static void sink(struct vr_loop *loop, struct vr_timer *timer, size_t at)
{
    for (size_t child; (child = 2 * at + 1) < loop->timers; at = child) {
        if (child + 1 < loop->timers && before(loop->heap[child + 1], loop->heap[child]))
            child++;
        if (!before(loop->heap[child], timer))
            break;
        place(loop, loop->heap[child], at);
    }
    place(loop, timer, at);
}

/* The one descriptor rings for the first; without timers it does not keep the loop running. */
static void arm(struct vr_loop *loop)
{
    uint64_t due = loop->timers > 0 ? loop->heap[0]->due : 0;
    if (due == loop->armed)
        return;
    struct itimerspec when = {
        .it_value = {.tv_sec = (time_t)(due / 1000000000), .tv_nsec = (long)(due % 1000000000)}};
    timerfd_settime(loop->clock, TFD_TIMER_ABSTIME, &when, NULL);
    if (due)
        uv_ref((uv_handle_t *)&loop->ring);
    else
        uv_unref((uv_handle_t *)&loop->ring);
    loop->armed = due;
}

static void take_out(struct vr_loop *loop, struct vr_timer *timer)
{
    size_t at = timer->at;
    struct vr_timer *last = loop->heap[--loop->timers];
    if (last == timer)
        return;
    if (at > 0 && before(last, loop->heap[(at - 1) / 2]))
        rise(loop, last, at);
    else
        sink(loop, last, at);
}

/* Those that are due when it rings; what they start themselves waits for the next turn. */
static void rang(uv_poll_t *ring, int status, int events)
{
    (void)status;
    (void)events;
    struct vr_loop *loop = ring->data;
    uint64_t count, now = nanoseconds(), last = loop->order;
    if (read(loop->clock, &count, sizeof(count)) < 0)
        return;
    loop->armed = UINT64_MAX; /* it rang: to be set anew, or let go */
    while (loop->timers > 0 && loop->heap[0]->due <= now && loop->heap[0]->order < last) {
        struct vr_timer *timer = loop->heap[0];
        vr_timer_cb cb = timer->cb;
        void *payload = timer->payload;
        take_out(loop, timer);
        free(timer);
        cb(payload);
    }
    arm(loop);
}

static void open_clock(struct vr_loop *loop)
{
    loop->clock = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (loop->clock < 0 || uv_poll_init(&loop->uv, &loop->ring, loop->clock) != 0)
        abort(); /* as above */
    loop->ring.data = loop;
    uv_poll_start(&loop->ring, UV_READABLE, rang);
    uv_unref((uv_handle_t *)&loop->ring);
}

struct vr_timer *vr_timer_start(struct vr_loop *loop, double seconds, vr_timer_cb cb, void *payload)
{
    struct vr_timer *timer = vr_alloc(sizeof(*timer));
    timer->loop = loop;
    timer->cb = cb;
    timer->payload = payload;
    timer->order = loop->order++;
    timer->due =
        nanoseconds() + (seconds > 0 ? (uint64_t)((seconds < 1e9 ? seconds : 1e9) * 1e9) : 0);
    if (loop->timers == loop->room) {
        loop->room = loop->room ? loop->room * 2 : 64;
        loop->heap = vr_realloc(loop->heap, loop->room * sizeof(struct vr_timer *));
    }
    rise(loop, timer, loop->timers++);
    arm(loop);
    return timer;
}

void vr_timer_cancel(struct vr_timer *timer)
{
    if (!timer)
        return;
    struct vr_loop *loop = timer->loop;
    take_out(loop, timer);
    free(timer);
    if (loop->timers == 0)
        arm(loop);
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
