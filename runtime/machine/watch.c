#include "machine/watch.h"

#include <sys/timerfd.h>
#include <unistd.h>

void vr_watch_begin(struct vr_watch *watch, int epoll, int fd, void *owner,
                    void (*ready)(struct vr_watch *watch, unsigned events))
{
    *watch = (struct vr_watch){epoll, fd, owner, ready};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = watch};
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

void vr_watch_for(struct vr_watch *watch, unsigned events)
{
    struct epoll_event event = {.events = events, .data.ptr = watch};
    epoll_ctl(watch->epoll, EPOLL_CTL_MOD, watch->fd, &event);
}

/* epoll is told first: a child that has not yet run its program holds a copy, which keeps a closed
 * one watched. */
void vr_watch_end(struct vr_watch *watch)
{
    if (watch->ready && watch->fd >= 0) {
        epoll_ctl(watch->epoll, EPOLL_CTL_DEL, watch->fd, NULL);
        close(watch->fd);
    }
    watch->fd = -1;
}

void vr_watch_timer(struct vr_watch *watch, int epoll, int milliseconds, void *owner,
                    void (*ready)(struct vr_watch *watch, unsigned events))
{
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    struct itimerspec when = {
        .it_value = {milliseconds / 1000, (long)(milliseconds % 1000) * 1000000 + 1}};
    timerfd_settime(fd, 0, &when, NULL);
    vr_watch_begin(watch, epoll, fd, owner, ready);
}

void vr_watch_wait(int epoll)
{
    struct epoll_event event;
    if (epoll_wait(epoll, &event, 1, -1) != 1)
        return;
    struct vr_watch *watch = event.data.ptr;
    watch->ready(watch, event.events);
}
