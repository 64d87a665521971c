/* Descriptors that are waited for, each with what is called when something happens on it. */
#ifndef VR_MACHINE_WATCH_H
#define VR_MACHINE_WATCH_H

#include <sys/epoll.h>

struct vr_watch {
    int epoll;
    int fd; /* -1: nothing is watched */
    void *owner;
    void (*ready)(struct vr_watch *watch, unsigned events);
};

/* The descriptor is the watch's from now on. */
void vr_watch_begin(struct vr_watch *watch, int epoll, int fd, void *owner,
                    void (*ready)(struct vr_watch *watch, unsigned events));
void vr_watch_for(struct vr_watch *watch, unsigned events); /* instead of EPOLLIN */
void vr_watch_end(struct vr_watch *watch);                  /* closes it; safe to repeat */

/* Calls `ready` once, after so many milliseconds. */
void vr_watch_timer(struct vr_watch *watch, int epoll, int milliseconds, void *owner,
                    void (*ready)(struct vr_watch *watch, unsigned events));

/* Waits for one of them. One at a time, so that what is called may end any other. */
void vr_watch_wait(int epoll);

#endif
