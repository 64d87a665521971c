/* Tasks: Lua coroutines on the loop. A task waits on at most one operation at a time ("parks"); the
 * operation's callback wakes it, and the loop resumes it from its own stack, so that no callback
 * ever runs Lua.
 *
 * A binding that waits:
 *
 *     struct sleep { struct vr_park park; struct vr_timer *timer; };
 *     static void sleep_cancel(struct vr_park *park) { ... vr_timer_cancel(s->timer); }
 *     static void sleep_fired(void *payload) { vr_task_wake(&s->park); }
 *     static int sleep_finish(lua_State *L, int status, lua_KContext ctx) { ... push results,
 * return their number } static int task_sleep(lua_State *L) { s = lua_newuserdatauv(...); ...;
 * return vr_task_park(L, &s->park, sleep_finish, 0); }
 *
 * The userdata that holds the park must stay on the task's stack (or be anchored otherwise) until
 * finish has run.
 */
#ifndef VR_SCRIPT_TASK_H
#define VR_SCRIPT_TASK_H

#include <lua.h>
#include <stdbool.h>

struct vr_park {
    void (*cancel)(
        struct vr_park *park); /* stop the operation; its callback must not run afterwards. May be
                                  NULL. Runs without Lua: it may be called when the state closes */
    struct vr_task *task;      /* who waits; NULL when nobody does. Owned by task.c */
};

/* Ends a C function: `return vr_task_park(L, park, finish, ctx)`. Suspends the running task until
 * vr_task_wake(park); then calls finish(L, LUA_YIELD, ctx). When the task was cancelled, the
 * operation is cancelled first and an error (a table {message = reason, code = "cancelled"}) is
 * raised in the task instead of calling finish. Outside a task (main chunk of a REPL line run as a
 * task is inside), in a coroutine that the task made itself and below a C function that cannot
 * wait, the operation is cancelled and an error is raised. A result that came before the cancel is
 * not lost: finish runs, and the error is raised at the next park. */
int vr_task_park(lua_State *L, struct vr_park *park, lua_KFunction finish, lua_KContext ctx);

/* Queues the parked task for resumption. Safe when nobody is parked (does nothing). Never runs Lua
 * itself. */
void vr_task_wake(struct vr_park *park);

/* Starts a task from C: calls the function with nargs arguments on top of L's stack (popped) on the
 * loop, soon. done(payload, L, ok): on the loop, when it ended; L is the task's own thread with the
 * results (ok) or the error value (one, not ok) on its stack; done must not raise. Returns the
 * task, valid until done returned; done may be NULL (then the error of a failed task that nobody
 * joined is logged when its handle is collected). */
struct vr_task;
typedef void (*vr_task_done)(void *payload, lua_State *L, bool ok);
struct vr_task *vr_task_start(lua_State *L, int nargs, vr_task_done done, void *payload);
void vr_task_cancel(struct vr_task *task, const char *reason);

/* How many tasks exist: tests check that it comes back to its start. */
int vr_task_count(lua_State *L);

/* The task whose code runs now; NULL outside of tasks. */
struct vr_task *vr_task_current(lua_State *L);
/* Whether the code that called this C function may park: in a task, and not below a C function that
 * cannot wait (the load of a module, a sort, a gsub). */
bool vr_task_can_park(lua_State *L);

/* Pushes the task's handle, a userdata "vr.task" with join, cancel and status; it keeps the
 * results. */
void vr_task_push(lua_State *L, struct vr_task *task);
/* The task of the handle at index. */
struct vr_task *vr_task_check(lua_State *L, int index);
/* Parks until the task has ended, then returns true and its results, or false and its error. Ends a
 * C function. */
int vr_task_join(lua_State *L, struct vr_task *task);
/* "ready", "running", "waiting", "done", "failed" or "cancelled". */
const char *vr_task_status(const struct vr_task *task);

/* Calls the function below its nargs arguments on top of L, in this task. When `seconds` have
 * passed, what it waits for is cancelled and it unwinds; then nil, message, "timeout" are the
 * results. Ends a C function. */
int vr_task_deadline(lua_State *L, double seconds, int nargs);

#endif
