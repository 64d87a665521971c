/* Lets a number of holders in at once; the others stand in line, first come first served. */
#ifndef VR_WIRE_TURNSTILE_H
#define VR_WIRE_TURNSTILE_H

#include <stdbool.h>

struct vr_turnstile_ticket {
    struct vr_turnstile_ticket *next, *prev;
    void (*let_in)(void *payload);
    void *payload;
    bool waiting, inside;
};

struct vr_turnstile {
    unsigned limit, inside;
    struct vr_turnstile_ticket *first, *last;
};

/* True: inside at once. Else let_in is called when it is its turn, from another's leave or limit.
 */
bool vr_turnstile_enter(struct vr_turnstile *t, struct vr_turnstile_ticket *ticket,
                        void (*let_in)(void *), void *payload);
/* the line too; twice is fine */
void vr_turnstile_leave(struct vr_turnstile *t, struct vr_turnstile_ticket *ticket);
void vr_turnstile_limit(struct vr_turnstile *t, unsigned limit);

#endif
