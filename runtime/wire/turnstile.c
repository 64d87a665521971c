#include "wire/turnstile.h"

#include <stddef.h>

static void unlink_ticket(struct vr_turnstile *t, struct vr_turnstile_ticket *ticket)
{
    *(ticket->prev ? &ticket->prev->next : &t->first) = ticket->next;
    *(ticket->next ? &ticket->next->prev : &t->last) = ticket->prev;
    ticket->next = ticket->prev = NULL;
    ticket->waiting = false;
}

static void admit(struct vr_turnstile *t)
{
    while (t->first && t->inside < t->limit) {
        struct vr_turnstile_ticket *ticket = t->first;
        unlink_ticket(t, ticket);
        ticket->inside = true;
        t->inside++;
        ticket->let_in(ticket->payload);
    }
}

bool vr_turnstile_enter(struct vr_turnstile *t, struct vr_turnstile_ticket *ticket,
                        void (*let_in)(void *), void *payload)
{
    *ticket = (struct vr_turnstile_ticket){.let_in = let_in, .payload = payload};
    if (!t->first && t->inside < t->limit) {
        t->inside++;
        ticket->inside = true;
        return true;
    }
    ticket->waiting = true;
    ticket->prev = t->last;
    *(t->last ? &t->last->next : &t->first) = ticket;
    t->last = ticket;
    return false;
}

void vr_turnstile_leave(struct vr_turnstile *t, struct vr_turnstile_ticket *ticket)
{
    if (ticket->waiting)
        unlink_ticket(t, ticket);
    if (!ticket->inside)
        return;
    ticket->inside = false;
    t->inside--;
    admit(t);
}

void vr_turnstile_limit(struct vr_turnstile *t, unsigned limit)
{
    t->limit = limit;
    admit(t);
}
