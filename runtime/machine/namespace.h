/* A machine's namespaces: user, mounts, host name. They live in three file descriptors and need no
 * process of their own. */
#ifndef VR_MACHINE_NAMESPACE_H
#define VR_MACHINE_NAMESPACE_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"

struct vr_namespace {
    int user, mounts, names; /* -1: closed */
    ino_t inode;             /* of the mount namespace: which processes are inside */
};

/* Makes namespaces whose root is the folder `root`, with the machine's own commands from `commands`
 * at /usr/local/sbin and the rest of /usr from this system, read-only; /dev, /proc and /sys are
 * there, /proc/sys read-only, with the boot id of ROOT/run/machine-boot-id if that is a file. The
 * user in there is root, and outside still who we are. False with an error (code "namespace") that
 * says what the kernel refused. */
bool vr_namespace_new(struct vr_namespace *space, const char *root, const char *commands,
                      const char *hostname, struct vr_error *err);
void vr_namespace_free(struct vr_namespace *space);

/* Moves the calling process (a fresh child) inside; / becomes the root. Answers setgroups() with
 * success from then on, since a user namespace with one user has none to set (sshd insists on it).
 * False with errno. */
bool vr_namespace_enter(const struct vr_namespace *space);

/* Sends a signal to every process inside; returns how many there were. */
int vr_namespace_kill(const struct vr_namespace *space, int signal);

#endif
