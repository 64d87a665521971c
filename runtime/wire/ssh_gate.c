/* Who may log in when: at each address a few at a time, since an sshd drops strangers from ten on,
 * and in the whole process as many as the loop serves without keeping others. */
#include "wire/ssh_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

#define PASSING 1.0 /* seconds that a host may take to have counted a login as one */

static struct vr_turnstile handshakes = {.limit = 32};
static unsigned at_address = 8;
static struct ssh_gate *gates;

void vr_ssh_limit(unsigned handshakes_limit, unsigned at_address_limit)
{
    if (handshakes_limit)
        vr_turnstile_limit(&handshakes, handshakes_limit);
    if (!at_address_limit)
        return;
    at_address = at_address_limit;
    for (struct ssh_gate *gate = gates; gate; gate = gate->next)
        vr_turnstile_limit(&gate->turnstile, at_address);
}

/* The gate of an address; takes the text. */
static struct ssh_gate *gate_of(char *address)
{
    struct ssh_gate *gate = gates;
    while (gate && strcmp(gate->address, address) != 0)
        gate = gate->next;
    if (gate) {
        free(address);
    } else {
        gate = vr_alloc(sizeof(*gate));
        *gate = (struct ssh_gate){.next = gates, .address = address, .turnstile.limit = at_address};
        gates = gate;
    }
    gate->users++;
    return gate;
}

void ssh_gate_leave(struct vr_ssh *ssh)
{
    struct ssh_gate *gate = ssh->gate, **at = &gates;
    if (!gate)
        return;
    ssh->gate = NULL;
    vr_timer_cancel(ssh->passing);
    ssh->passing = NULL;
    vr_turnstile_leave(&gate->turnstile, &ssh->pass);
    if (--gate->users > 0)
        return;
    while (*at != gate)
        at = &(*at)->next;
    *at = gate->next;
    free(gate->address);
    free(gate);
}

static void has_passed(void *payload)
{
    struct vr_ssh *ssh = payload;
    ssh->passing = NULL;
    ssh_gate_leave(ssh);
}

/* The sshd that counts its strangers hears of a login a little later than we do: certainly before
 * it says anything more. */
void ssh_gate_pass(struct vr_ssh *ssh)
{
    ssh->heard = false;
    ssh->passing = vr_timer_start(ssh->loop, PASSING, has_passed, ssh);
}

void ssh_gate_forget_via(const struct vr_ssh *ssh)
{
    for (struct ssh_gate *gate = gates; gate; gate = gate->next) {
        for (struct vr_turnstile_ticket *t = gate->turnstile.first; t; t = t->next) {
            struct vr_ssh *other = t->payload;
            if (other->via == ssh)
                other->via = NULL;
        }
    }
}

bool ssh_gate_enter(struct vr_ssh *ssh, char *address, void (*let_through)(void *))
{
    ssh->gate = gate_of(address);
    return vr_turnstile_enter(&ssh->gate->turnstile, &ssh->pass, let_through, ssh);
}

bool ssh_line_enter(struct vr_ssh *ssh, void (*let_in)(void *))
{
    return vr_turnstile_enter(&handshakes, &ssh->ticket, let_in, ssh);
}

void ssh_line_leave(struct vr_ssh *ssh)
{
    vr_turnstile_leave(&handshakes, &ssh->ticket);
}
