/* Tasks that wait for the same thing, in order, each with an optional timeout: what events, queues,
 * joins, reads and accepts are made of. The owner holds a list (zero-initialised) and wakes; it
 * must wake or outlive its waiters. */
#ifndef VR_SCRIPT_WAIT_H
#define VR_SCRIPT_WAIT_H

#include <lua.h>
#include <stdbool.h>

struct vr_waiter;
struct vr_waiters {
    struct vr_waiter *first, *last;
};

/* Ends a C function: parks until woken or until `timeout` seconds have passed (negative: for ever),
 * then calls finish, with one value more on the stack than before: for vr_wait_timed_out. */
int vr_wait(lua_State *L, struct vr_waiters *list, double timeout, lua_KFunction finish,
            lua_KContext ctx);
/* In finish: whether time ran out before the wake. */
bool vr_wait_timed_out(lua_State *L);
/* In finish: waits again for what is left of the time (a wake that another task was faster to use).
 */
int vr_wait_again(lua_State *L, struct vr_waiters *list, lua_KFunction finish, lua_KContext ctx);

bool vr_wait_wake(struct vr_waiters *list); /* the first; false: nobody waits */
void vr_wait_wake_all(struct vr_waiters *list);

/* An optional timeout argument: seconds, -1 if absent. */
double vr_wait_opt_timeout(lua_State *L, int index);

#endif
