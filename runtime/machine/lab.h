/* The keeper's machines with systemd in them, and the network that they share.
 *
 *   {"id", "op": "try", "folder": DIR, "cgroup": "vmrun-x-try"}  whether machines can be made here
 *   {"op": "lab", "base": DIR, "prefix": "vmrun-x-"}          makes the router, removes cgroups
 * that a killed keeper left
 *   {"op": "serve", "address": IP, "redirect": PORT}          connections and questions to IP:53
 * that reach the router, whomever they are for
 *   {"op": "tool", "machine"?, "argv", "stdin"}               a program of the base in a machine's
 *                                                            network, or in the router
 *   {"op": "boot", "machine", "folder", "hostname"} -> {"pid"}   the root is there, and waits
 *   {"op": "go", "machine"}                                   answered when systemd is up
 *   {"op": "halt", "machine", "grace": MS}                    answered when nothing is left of it
 *   {"op": "run", "machine", "argv", "stdin"}                 a command in it
 *   {"op": "reach", "machine", "from", "host", "port", "address", "listen"}  tries a connection,
 * and hands on what comes to address:listen
 *   {"op": "connect", "connection", "host", "port"}, {"op": "refuse", "connection"}
 *   {"op": "reply", "to", "hex"}
 *
 * It tells by itself: {"event": "ended", "machine", "how": "reboot" | "halt" | "killed"}, {"event":
 * "connection", "connection", "from", "host", "port"} and {"event": "question", "from", "hex"}. */
#ifndef VR_MACHINE_LAB_H
#define VR_MACHINE_LAB_H

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

#include "machine/command.h"

struct vr_lab;

struct vr_lab *vr_lab_new(int epoll, struct vr_commands *commands);
/* True when the message was for the lab or one of its machines. */
bool vr_lab_obey(struct vr_lab *lab, const char *op, const json_t *id, const json_t *message);
void vr_lab_ended(struct vr_lab *lab, pid_t pid, int status);
void vr_lab_free(struct vr_lab *lab); /* kills what runs and waits for it */

#endif
