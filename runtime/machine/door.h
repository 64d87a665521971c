/* Where people on loopback find ports of one machine. */
#ifndef VR_MACHINE_DOOR_H
#define VR_MACHINE_DOOR_H

#include <jansson.h>

#include "machine/network.h"
#include "machine/relay.h"

struct vr_door;
struct vr_doors {
    int epoll;
    const struct vr_network *network;
    struct vr_relays *relays;
    struct vr_door *first;
};

/* "reach": tries a connection, answers whether it came about, and hands on what comes. */
void vr_door_reach(struct vr_doors *doors, const json_t *id, const json_t *message);
/* Those who are through stay. */
void vr_doors_close(struct vr_doors *doors);

#endif
