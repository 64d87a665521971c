/* The network between machines: a namespace that is nobody's, where their cables end (the router).
 * A process may hold sockets of several namespaces; each belongs to where it was made. */
#ifndef VR_MACHINE_NETWORK_H
#define VR_MACHINE_NETWORK_H

#include <stdbool.h>

#include "base/error.h"

struct vr_network {
    int own;    /* the emulator's namespace */
    int router; /* it is gone when nobody holds it and no machine is on it */
};

bool vr_network_new(struct vr_network *network, struct vr_error *err);
void vr_network_free(struct vr_network *network);

/* `space`: a descriptor of a namespace, or -1 for the emulator's own (network may be NULL then). -1
 * and errno, or a socket. */
int vr_network_listen(const struct vr_network *network, int space, const char *address, int port);
int vr_network_datagrams(const struct vr_network *network, int space, const char *address,
                         int port);
/* Begins to connect; from: the address that it comes from, or NULL. */
int vr_network_connect(const struct vr_network *network, int space, const char *from,
                       const char *address, int port);

#endif
