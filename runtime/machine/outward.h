/* What machines ask of the world outside of their networks: connections, which the emulator says
 * where to take, and questions for names. */
#ifndef VR_MACHINE_OUTWARD_H
#define VR_MACHINE_OUTWARD_H

#include <jansson.h>
#include <stdbool.h>

#include "machine/network.h"
#include "machine/relay.h"
#include "machine/watch.h"

struct vr_caller; /* waits for the emulator's word */
struct vr_outward {
    int epoll;
    const struct vr_network *network;
    struct vr_relays *relays;
    struct vr_watch callers_in, questions;
    struct vr_caller *callers;
    json_int_t last_number;
};

void vr_outward_init(struct vr_outward *outward, int epoll, const struct vr_network *network,
                     struct vr_relays *relays);
/* "serve": listens in the router, which there must be; once. */
void vr_outward_serve(struct vr_outward *outward, const json_t *id, const json_t *message);
/* "connect" and "refuse": what becomes of a connection. */
void vr_outward_answer(struct vr_outward *outward, const json_t *message, bool wanted);
/* "reply": to a question. */
void vr_outward_reply(struct vr_outward *outward, const json_t *message);
void vr_outward_end(struct vr_outward *outward);

#endif
