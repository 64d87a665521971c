/* Connections that are handed on: what comes in on one side goes out on the other. */
#ifndef VR_MACHINE_RELAY_H
#define VR_MACHINE_RELAY_H

struct vr_relay;
struct vr_relays {
    int epoll;
    struct vr_relay *first;
};

/* Takes both: a client, and a connection that has begun to be made for it. A client whose other
 * side cannot be reached is reset. */
void vr_relay_start(struct vr_relays *relays, int client, int server);
void vr_relay_reset(int client); /* nobody is there for it */
void vr_relay_end_all(struct vr_relays *relays);

#endif
