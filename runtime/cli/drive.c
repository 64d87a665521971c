#include "cli/drive.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/alloc.h"
#include "net/loop.h"

struct vr_drive {
    struct vr_loop *loop;
    struct vr_poll *poll;
    int fd; /* counts notices; written from any thread */
    void (*turn)(void *payload);
    void *payload;
};

static void noticed(void *payload, int events)
{
    (void)events;
    struct vr_drive *drive = payload;
    uint64_t count;
    if (read(drive->fd, &count, sizeof(count)) == (ssize_t)sizeof(count) && drive->turn)
        drive->turn(drive->payload);
}

static void notify(void *payload)
{
    struct vr_drive *drive = payload;
    uint64_t one = 1;
    while (write(drive->fd, &one, sizeof(one)) < 0) {
        /* interrupted; a full counter means that a notice is there already, and cannot happen with
         * ones */
    }
}

static double now(void *payload)
{
    struct vr_drive *drive = payload;
    return (double)vr_loop_now(drive->loop) / 1000;
}

struct vr_drive *vr_drive_new(struct vr_loop *loop, struct vr_error *err)
{
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (fd < 0) {
        vr_error_set(err, "io", "no event descriptor: %m");
        return NULL;
    }
    struct vr_drive *drive = vr_alloc(sizeof(*drive));
    drive->loop = loop;
    drive->fd = fd;
    return drive;
}

void vr_drive_free(struct vr_drive *drive)
{
    if (!drive)
        return;
    vr_poll_free(drive->poll);
    close(drive->fd);
    free(drive);
}

struct vr_host vr_drive_host(struct vr_drive *drive)
{
    return (struct vr_host){.notify = notify, .now = now, .payload = drive};
}

void vr_drive_run(struct vr_drive *drive, void (*turn)(void *payload), void *payload)
{
    drive->turn = turn;
    drive->payload = payload;
    drive->poll = vr_poll_new(drive->loop, drive->fd, noticed, drive);
    vr_poll_set(drive->poll, VR_POLL_READ);
    notify(drive);
    vr_loop_run(drive->loop);
    vr_poll_free(drive->poll);
    drive->poll = NULL;
    drive->turn = NULL;
}

void vr_drive_stop(struct vr_drive *drive)
{
    vr_loop_stop(drive->loop);
}
