/* A task is a userdata with its thread as user value; the registry holds it while it lives, its
 * handle afterwards (for the results, which stay on the thread's stack). The body runs in a pcall
 * inside of the thread, so that `<close>` variables unwind, and may wait, before the task has
 * ended.
 *
 * Two things interrupt a task: a cancel, once a request, and deadlines around calls, a list with
 * the innermost first. Both are delivered at a park: at once to a parked task, else when it parks
 * next. */
#include "script/task.h"

#include <assert.h>
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "net/loop.h"
#include "script/host.h"
#include "script/script.h"
#include "script/value.h"
#include "script/wait.h"

#define TASK "vr.task"

enum status { READY, RUNNING, WAITING, DONE, FAILED, CANCELLED };

struct deadline {
    struct deadline *outer;
    struct vr_task *task;
    struct vr_timer *timer;
    double seconds;
    bool over;   /* the time has passed */
    bool raised; /* and the task was told */
};

struct vr_task {
    struct vr_task *next, *prev; /* of all tasks */
    struct vr_task *next_ready;
    struct vr_script *script;
    lua_State *L;
    enum status status;
    int nargs; /* for the first resume */
    struct vr_park *park;
    lua_KFunction finish;
    lua_KContext ctx;
    char *reason;     /* a cancel that was not delivered yet */
    bool interrupted; /* resumed without its operation */
    bool started, failed, was_cancelled;
    bool seen; /* somebody took the result */
    struct deadline *deadlines;
    struct vr_waiters joiners;
    vr_task_done done;
    void *payload;
};

static char registry_key; /* registry[&registry_key]: light userdata of the task -> its userdata */

/* --- the queue of tasks that can go on --- */

static void turn(void *payload);

static void make_ready(struct vr_task *task)
{
    struct vr_script *script = task->script;
    task->status = READY;
    task->next_ready = NULL;
    if (script->ready_last)
        script->ready_last->next_ready = task;
    else
        script->ready_first = task;
    script->ready_last = task;
    if (!script->turn_queued) {
        script->turn_queued = true;
        vr_loop_defer(script->loop, turn, script);
    }
}

void vr_task_wake(struct vr_park *park)
{
    struct vr_task *task = park->task;
    if (!task)
        return;
    park->task = NULL;
    task->park = NULL;
    make_ready(task);
}

static void interrupt(struct vr_task *task)
{
    struct vr_park *park = task->park;
    if (!park)
        return;
    if (park->cancel)
        park->cancel(park);
    park->task = NULL;
    task->park = NULL;
    task->interrupted = true;
    make_ready(task);
}

/* --- interruptions --- */

static void push_failure(lua_State *L, const char *message, const char *code)
{
    lua_createtable(L, 0, 3);
    lua_pushstring(L, message);
    lua_setfield(L, -2, "message");
    lua_pushstring(L, code);
    lua_setfield(L, -2, "code");
    luaL_setmetatable(L, "vr.failure");
}

static struct deadline *next_deadline(struct vr_task *task)
{
    struct deadline *found = NULL;
    for (struct deadline *d = task->deadlines; d; d = d->outer) {
        if (d->over && !d->raised)
            found = d;
    }
    return found;
}

static bool has_interruption(struct vr_task *task)
{
    return task->reason || next_deadline(task);
}

static void push_cancelled(lua_State *L, struct vr_task *task)
{
    push_failure(L, task->reason, "cancelled");
    free(task->reason);
    task->reason = NULL;
    task->was_cancelled = true;
}

/* Raises what the task was to be told. */
static int raise_interruption(lua_State *L, struct vr_task *task)
{
    struct deadline *d;
    if (task->reason) {
        push_cancelled(L, task);
    } else if ((d = next_deadline(task))) {
        d->raised = true;
        lua_pushfstring(L, "no result within %f s", (lua_Number)d->seconds);
        push_failure(L, lua_tostring(L, -1), "timeout");
        lua_pushlightuserdata(L, d);
        lua_setfield(L, -2, "deadline");
    } else { /* the deadline ended meanwhile: cannot be, a task is in its call while it waits */
        push_failure(L, "interrupted", "cancelled");
    }
    return lua_error(L);
}

/* --- parking --- */

static int go_on(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    struct vr_task *task = vr_script_of(L)->current;
    if (task->interrupted) {
        task->interrupted = false;
        return raise_interruption(L, task);
    }
    return task->finish(L, LUA_YIELD, task->ctx);
}

static int cannot_park(lua_State *L, struct vr_task *task)
{
    if (!task)
        return luaL_error(L, "cannot wait here: this code does not run in a task");
    if (task->L != L)
        return luaL_error(
            L, "cannot wait inside of a coroutine: use task.spawn instead of coroutine.wrap");
    const char *module = vr_script_loading(L);
    if (module)
        return luaL_error(L, "module '%s' waits while it is loaded: do that in a function", module);
    return luaL_error(L, "cannot wait here: a C function that cannot wait (sort, gsub, a "
                         "finalizer) is on the stack");
}

bool vr_task_can_park(lua_State *L)
{
    struct vr_task *task = vr_script_of(L)->current;
    return task && task->L == L && lua_isyieldable(L);
}

int vr_task_park(lua_State *L, struct vr_park *park, lua_KFunction finish, lua_KContext ctx)
{
    struct vr_task *task = vr_script_of(L)->current;
    park->task = NULL;
    bool allowed = vr_task_can_park(L);
    if (!allowed || has_interruption(task)) {
        if (park->cancel)
            park->cancel(park);
        return allowed ? raise_interruption(L, task) : cannot_park(L, task);
    }
    park->task = task;
    task->park = park;
    task->finish = finish;
    task->ctx = ctx;
    task->status = WAITING;
    return lua_yieldk(L, 0, 0, go_on);
}

/* --- running --- */

static int body_done(lua_State *L, int status, lua_KContext ctx)
{
    (void)ctx;
    struct vr_task *task = vr_script_of(L)->current;
    if (status == LUA_OK || status == LUA_YIELD)
        return lua_gettop(L) - 1; /* all but the message handler */
    task->failed = true;
    return 1;
}

static int body(lua_State *L)
{
    lua_pushcfunction(L, vr_script_traceback);
    lua_insert(L, 1);
    return body_done(L, lua_pcallk(L, lua_gettop(L) - 2, LUA_MULTRET, 1, 0, body_done), 0);
}

static void unlink_task(struct vr_task *task)
{
    struct vr_script *script = task->script;
    *(task->prev ? &task->prev->next : &script->tasks) = task->next;
    if (task->next)
        task->next->prev = task->prev;
    script->task_count--;
    if (script->task_count == 0 && script->wind_up)
        vr_loop_stop(script->loop);
}

static void end_task(struct vr_task *task)
{
    struct vr_script *script = task->script;
    lua_State *L = script->L;
    task->status = !task->failed ? DONE : task->was_cancelled ? CANCELLED : FAILED;
    free(task->reason);
    task->reason = NULL;
    unlink_task(task);
    task->seen = task->done || task->joiners.first;
    if (task->status == FAILED && !task->seen)
        script->unseen_failure = true;
    vr_wait_wake_all(&task->joiners);
    if (task->done)
        task->done(task->payload, task->L, !task->failed);
    /* From here on only handles keep it. */
    luaL_checkstack(L, 3, NULL);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &registry_key);
    lua_pushnil(L);
    lua_rawsetp(L, -2, task);
    lua_pop(L, 1);
}

static void resume(struct vr_task *task)
{
    struct vr_script *script = task->script;
    lua_State *L = task->L;
    int nresults = 0;
    script->current = task;
    if (!task->started && task->reason) {
        lua_settop(L, 0);
        push_cancelled(L, task);
        task->failed = true;
        script->current = NULL;
        end_task(task);
        return;
    }
    task->started = true;
    task->status = RUNNING;
    script->running = L;
    script->limit.exempt--;
    int status = lua_resume(L, script->L, task->nargs, &nresults);
    script->limit.exempt++;
    task->nargs = 0;
    script->running = NULL;
    script->current = NULL;
    if (status == LUA_YIELD) {
        if (task->status != WAITING) { /* coroutine.yield: others first */
            lua_pop(L, nresults);
            make_ready(task);
        }
        return;
    }
    if (status != LUA_OK)
        task->failed = true;
    end_task(task);
}

/* A failure that nobody can see any more is told when its handle is collected: that should not take
 * until the memory runs full. Handles that are still held are asked after once a second at most. */
static void tell_lost_failures(struct vr_script *script)
{
    uint64_t now = vr_loop_now(script->loop);
    if (!script->unseen_failure || now < script->next_collect)
        return;
    script->unseen_failure = false;
    script->next_collect = now + 1000;
    lua_gc(script->L, LUA_GCCOLLECT);
}

/* Takes those that are ready now: what becomes ready meanwhile waits for the next turn, after the
 * I/O. */
static void turn(void *payload)
{
    struct vr_script *script = payload;
    script->turn_queued = false;
    if (script->closed) {
        free(script);
        return;
    }
    struct vr_task *task = script->ready_first;
    script->ready_first = script->ready_last = NULL;
    script->limit.exempt++;
    for (struct vr_task *next; task; task = next) {
        next = task->next_ready;
        resume(task);
    }
    tell_lost_failures(script);
    script->limit.exempt--;
}

struct vr_task *vr_task_start(lua_State *L, int nargs, vr_task_done done, void *payload)
{
    struct vr_script *script = vr_script_of(L);
    luaL_checkstack(L, 4, NULL);
    struct vr_task *task = lua_newuserdatauv(L, sizeof(*task), 1);
    *task = (struct vr_task){
        .script = script, .nargs = nargs, .done = done, .payload = payload, .status = DONE};
    luaL_setmetatable(L, TASK);
    task->L = lua_newthread(L);
    vr_limit_thread(task->L);
    lua_setiuservalue(L, -2, 1);
    luaL_checkstack(task->L, nargs + 2, NULL);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &registry_key);
    lua_pushvalue(L, -2);
    lua_rawsetp(L, -2, task);
    lua_pop(L, 2);
    lua_pushcfunction(task->L, body);
    lua_xmove(L, task->L, nargs + 1);
    task->nargs = nargs + 1;
    task->next = script->tasks;
    if (task->next)
        task->next->prev = task;
    script->tasks = task;
    script->task_count++;
    make_ready(task);
    return task;
}

void vr_task_cancel(struct vr_task *task, const char *reason)
{
    if (task->status >= DONE || task->reason)
        return;
    task->reason = vr_strdup(reason ? reason : "cancelled");
    interrupt(task);
}

void vr_script_cancel(struct vr_script *script, const char *reason)
{
    for (struct vr_task *task = script->tasks; task; task = task->next)
        vr_task_cancel(task, reason);
}

static void wind_up_over(void *payload)
{
    struct vr_script *script = payload;
    script->wind_up = NULL;
    vr_loop_stop(script->loop);
}

bool vr_script_wind_up(struct vr_script *script, double seconds)
{
    if (script->task_count == 0)
        return true;
    vr_script_cancel(script, "the program ends");
    script->wind_up = vr_timer_start(script->loop, seconds, wind_up_over, script);
    vr_loop_run(script->loop);
    vr_timer_cancel(script->wind_up);
    script->wind_up = NULL;
    return script->task_count == 0;
}

void vr_tasks_abandon(struct vr_script *script)
{
    for (struct vr_task *task = script->tasks; task; task = task->next) {
        if (task->park) {
            if (task->park->cancel)
                task->park->cancel(task->park);
            task->park->task = NULL;
            task->park = NULL;
        }
        for (struct deadline *d = task->deadlines; d; d = d->outer) {
            vr_timer_cancel(d->timer);
            d->timer = NULL;
        }
        free(task->reason);
        task->reason = NULL;
        task->status = CANCELLED;
    }
    script->tasks = script->ready_first = script->ready_last = NULL;
}

int vr_task_count(lua_State *L)
{
    return vr_script_of(L)->task_count;
}

struct vr_task *vr_task_current(lua_State *L)
{
    return vr_script_of(L)->current;
}

/* --- handles --- */

void vr_task_push(lua_State *L, struct vr_task *task)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &registry_key);
    lua_rawgetp(L, -1, task);
    lua_remove(L, -2);
}

struct vr_task *vr_task_check(lua_State *L, int index)
{
    return luaL_checkudata(L, index, TASK);
}

const char *vr_task_status(const struct vr_task *task)
{
    static const char *const names[] = {"ready", "running", "waiting",
                                        "done",  "failed",  "cancelled"};
    return names[task->status];
}

static int push_results(lua_State *L, struct vr_task *task)
{
    task->seen = true;
    int count = task->failed ? 1 : lua_gettop(task->L);
    luaL_checkstack(L, count + 1, "too many results");
    luaL_checkstack(task->L, count, "too many results");
    lua_pushboolean(L, !task->failed);
    int base = lua_gettop(task->L) - count;
    for (int i = 1; i <= count; i++)
        lua_pushvalue(task->L, base + i);
    lua_xmove(task->L, L, count);
    return count + 1;
}

static int joined(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    return push_results(L, (struct vr_task *)ctx);
}

int vr_task_join(lua_State *L, struct vr_task *task)
{
    if (task->status >= DONE)
        return push_results(L, task);
    if (task == vr_task_current(L))
        return luaL_error(L, "a task cannot join itself");
    vr_task_push(L, task); /* kept until joined has run */
    return vr_wait(L, &task->joiners, -1, joined, (lua_KContext)task);
}

/* An error that nobody has seen is told at the latest now. */
static int task_gc(lua_State *L)
{
    struct vr_task *task = lua_touserdata(L, 1);
    if (task->status == FAILED && !task->seen) {
        struct vr_error err = {0};
        vr_script_error(task->L, -1, &err);
        if (err.file)
            vr_log(VR_LOG_ERROR, "a task failed: %s:%d: %s", err.file, err.line, err.message);
        else
            vr_log(VR_LOG_ERROR, "a task failed: %s", err.message);
        vr_error_clear(&err);
    }
    task->seen = true;
    return 0;
}

/* --- deadlines --- */

static void deadline_over(void *payload)
{
    struct deadline *d = payload;
    d->timer = NULL;
    d->over = true;
    interrupt(d->task);
}

/* Also when the error passes through, or the task's results come: the list must not keep it. */
static int deadline_done(lua_State *L, int status, lua_KContext ctx)
{
    struct deadline *d = (struct deadline *)ctx;
    d->task->deadlines = d->outer;
    vr_timer_cancel(d->timer);
    d->timer = NULL;
    if (status == LUA_OK || status == LUA_YIELD)
        return lua_gettop(L) - 1; /* all but the deadline itself */
    bool mine = false;
    if (d->raised && lua_istable(L, -1)) {
        lua_pushstring(L, "deadline");
        lua_rawget(L, -2);
        mine = lua_touserdata(L, -1) == d;
        lua_pop(L, 1);
    }
    if (!mine)
        return lua_error(L);
    lua_pushnil(L);
    lua_getfield(L, -2, "message");
    lua_pushliteral(L, "timeout");
    return 3;
}

int vr_task_deadline(lua_State *L, double seconds, int nargs)
{
    struct vr_task *task = vr_task_current(L);
    if (!vr_task_can_park(L))
        return cannot_park(L, task);
    lua_rotate(L, 1, nargs + 1);
    lua_settop(L, nargs + 1);
    struct deadline *d = lua_newuserdatauv(L, sizeof(*d), 0);
    lua_insert(L, 1);
    *d = (struct deadline){.outer = task->deadlines, .task = task, .seconds = seconds};
    task->deadlines = d;
    d->timer = vr_timer_start(task->script->loop, seconds, deadline_over, d);
    int status = lua_pcallk(L, nargs, LUA_MULTRET, 0, (lua_KContext)d, deadline_done);
    return deadline_done(L, status, (lua_KContext)d);
}

/* --- set-up --- */

static int task_join(lua_State *L)
{
    return vr_task_join(L, vr_task_check(L, 1));
}

static int task_cancel(lua_State *L)
{
    struct vr_task *task = vr_task_check(L, 1);
    vr_task_cancel(task, luaL_optstring(L, 2, NULL));
    return 0;
}

static int task_status(lua_State *L)
{
    lua_pushstring(L, vr_task_status(vr_task_check(L, 1)));
    return 1;
}

static int task_tostring(lua_State *L)
{
    struct vr_task *task = vr_task_check(L, 1);
    lua_pushfstring(L, "task (%s): %p", vr_task_status(task), (void *)task);
    return 1;
}

static int failure_tostring(lua_State *L)
{
    lua_getfield(L, 1, "message");
    return 1;
}

void vr_tasks_open(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"join", task_join}, {"cancel", task_cancel}, {"status", task_status}, {NULL, NULL}};
    static const luaL_Reg meta[] = {{"__gc", task_gc}, {"__tostring", task_tostring}, {NULL, NULL}};
    luaL_newmetatable(L, TASK);
    luaL_setfuncs(L, meta, 0);
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    luaL_newmetatable(L, "vr.failure");
    lua_pushcfunction(L, failure_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pop(L, 1);
    lua_newtable(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &registry_key);
}
