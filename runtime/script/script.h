/* What the files of script/ share about one Lua state. Bindings need host.h, task.h, wait.h and
 * value.h only. */
#ifndef VR_SCRIPT_SCRIPT_H
#define VR_SCRIPT_SCRIPT_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "script/pool.h"

struct vr_loop;
struct vr_task;

struct vr_script {
    lua_State *L; /* the main thread */
    struct vr_loop *loop;

    /* task.c */
    struct vr_task *tasks;                    /* all that have not ended */
    struct vr_task *ready_first, *ready_last; /* to be resumed, in order */
    struct vr_task *current;                  /* whose Lua code runs now; NULL outside of tasks */
    lua_State *running;                       /* its thread */
    int task_count;
    struct vr_timer *wind_up; /* the program ends: the loop is stopped with the last task */
    bool unseen_failure;      /* of a task that nobody waited for */
    uint64_t next_collect;    /* loop's milliseconds */
    bool turn_queued;         /* the loop will call us */
    bool closed;              /* and shall only free us then */

    struct vr_task *waited; /* program.c: whose end the program waits for; NULL: nobody's */

    /* limit.c */
    struct {
        double seconds;  /* what was asked for */
        size_t bytes;    /* 0: no limit */
        int exempt;      /* our own code runs: it must not see a failed allocation */
        char place[128]; /* "file:line: " of the code that asked for too much */
    } limit;
    size_t memory; /* bytes in use */
    struct vr_pool pool;
};

/* The state that L (any of its threads) belongs to. */
static inline struct vr_script *vr_script_of(lua_State *L)
{
    return *(struct vr_script **)lua_getextraspace(L);
}

/* limit.c: puts a thread that was just made under the limit that counts now, if any; lets
 * coroutine.create and coroutine.wrap do so; the allocator of the state. */
void vr_limit_thread(lua_State *thread);
void vr_limit_open(lua_State *L);
void *vr_limit_alloc(void *payload, void *old, size_t old_size, size_t size);

/* host.c: the message handler of tasks; adds a traceback if $VMRUN_TRACEBACK is set. */
int vr_script_traceback(lua_State *L);
/* The module whose chunk is being loaded on L's stack; NULL if none is. */
const char *vr_script_loading(lua_State *L);

/* value.c: metatables. */
void vr_values_open(lua_State *L);

/* task.c: vr_tasks_abandon drops every task without running it, before the state is closed. */
void vr_tasks_open(lua_State *L);
void vr_tasks_abandon(struct vr_script *script);

#endif
