/* A machine whose PID 1 is systemd: a root of its own over a shared base, and namespaces for
 * everything but users. It is there in two steps: its first process waits, with the root in place,
 * until the network is there and the disk is written; then it becomes systemd. */
#ifndef VR_MACHINE_SYSTEM_H
#define VR_MACHINE_SYSTEM_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"
#include "machine/cgroup.h"

struct vr_system {
    const struct vr_cgroups *cgroups;
    char *cgroup; /* its name */
    pid_t pid;    /* 0: none */
    int pidfd;
    int prepared; /* to be read from by vr_system_prepared when it can be */
    int hold;     /* what the first process waits for */
    int notify;   /* a datagram socket to which systemd says READY=1 */
};

struct vr_system_plan {
    const char *base;   /* the root that all share; never written to */
    const char *folder; /* the machine's own: upper, work, root, data; made when missing */
    const char *hostname;
};

/* Whether this system lets a machine be made: tries it in a folder that the caller removes. */
bool vr_system_try(const struct vr_cgroups *cgroups, const char *cgroup, const char *folder,
                   struct vr_error *err);
/* Starts the first process; the system's memory is the caller's, and so are `prepared` and `notify`
 * when it is true. */
bool vr_system_start(struct vr_system *system, const struct vr_cgroups *cgroups, const char *cgroup,
                     const struct vr_system_plan *plan, struct vr_error *err);
/* What the first process says of its root, when `prepared` can be read. */
bool vr_system_prepared(struct vr_system *system, struct vr_error *err);
void vr_system_go(struct vr_system *system);
/* For the child that becomes a command in it. Returns in a process inside. */
bool vr_system_enter(const struct vr_system *system);
/* A process that only has its network (not its root). */
bool vr_system_enter_network(const struct vr_system *system);
void vr_system_power_off(const struct vr_system *system);
void vr_system_kill(const struct vr_system *system);
/* The first process has been reaped; false while a cgroup cannot be removed yet. */
bool vr_system_gone(struct vr_system *system);
void vr_system_free(struct vr_system *system);

#endif
