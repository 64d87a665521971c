#include "script/wait.h"

#include <lauxlib.h>

#include "net/loop.h"
#include "script/task.h"
#include "script/value.h"

/* A userdata on the waiting task's stack. */
struct vr_waiter {
    struct vr_park park;
    struct vr_waiters *list; /* NULL: not in it any more */
    struct vr_waiter *next, *prev;
    struct vr_timer *timer;
    uint64_t until; /* loop's milliseconds */
    bool limited, timed_out;
};

static void leave(struct vr_waiter *w)
{
    if (!w->list)
        return;
    *(w->prev ? &w->prev->next : &w->list->first) = w->next;
    *(w->next ? &w->next->prev : &w->list->last) = w->prev;
    w->list = NULL;
}

static void enter(struct vr_waiter *w, struct vr_waiters *list)
{
    w->list = list;
    w->next = NULL;
    w->prev = list->last;
    *(list->last ? &list->last->next : &list->first) = w;
    list->last = w;
}

static void stop(struct vr_waiter *w)
{
    leave(w);
    vr_timer_cancel(w->timer);
    w->timer = NULL;
}

static void cancel(struct vr_park *park)
{
    stop((struct vr_waiter *)park);
}

static void time_is_over(void *payload)
{
    struct vr_waiter *w = payload;
    w->timer = NULL;
    w->timed_out = true;
    stop(w);
    vr_task_wake(&w->park);
}

int vr_wait(lua_State *L, struct vr_waiters *list, double timeout, lua_KFunction finish,
            lua_KContext ctx)
{
    struct vr_waiter *w = lua_newuserdatauv(L, sizeof(*w), 0);
    *w = (struct vr_waiter){.park.cancel = cancel, .limited = timeout >= 0};
    enter(w, list);
    if (w->limited) {
        struct vr_loop *loop = vr_script_loop(L);
        w->timer = vr_timer_start(loop, timeout, time_is_over, w);
        w->until = vr_loop_now(loop) + (uint64_t)(timeout < 1e12 ? timeout * 1000 : 1e15);
    }
    return vr_task_park(L, &w->park, finish, ctx);
}

bool vr_wait_timed_out(lua_State *L)
{
    return ((struct vr_waiter *)lua_touserdata(L, -1))->timed_out;
}

int vr_wait_again(lua_State *L, struct vr_waiters *list, lua_KFunction finish, lua_KContext ctx)
{
    struct vr_waiter *w = lua_touserdata(L, -1);
    enter(w, list);
    if (w->limited) {
        struct vr_loop *loop = vr_script_loop(L);
        uint64_t now = vr_loop_now(loop);
        double left = w->until > now ? (double)(w->until - now) / 1000 : 0;
        w->timer = vr_timer_start(loop, left, time_is_over, w);
    }
    return vr_task_park(L, &w->park, finish, ctx);
}

bool vr_wait_wake(struct vr_waiters *list)
{
    struct vr_waiter *w = list->first;
    if (!w)
        return false;
    stop(w);
    vr_task_wake(&w->park);
    return true;
}

void vr_wait_wake_all(struct vr_waiters *list)
{
    while (vr_wait_wake(list))
        ;
}

double vr_wait_opt_timeout(lua_State *L, int index)
{
    if (lua_isnoneornil(L, index))
        return -1;
    double timeout = luaL_checknumber(L, index);
    return timeout > 0 ? timeout : 0;
}
