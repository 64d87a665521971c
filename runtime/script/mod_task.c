/* require "task": coroutines on the loop, and what they wait for: time, events, queues, each other.
 */
#include <lauxlib.h>
#include <time.h>

#include "net/loop.h"
#include "script/task.h"
#include "script/value.h"
#include "script/wait.h"

#define QUEUE "vr.queue"
#define EVENT "vr.event"

int luaopen_vr_task(lua_State *L);

/*** Starts a function as a task of its own.
 * @function spawn
 * @tparam function fn
 * @param ... its arguments
 * @return the task: t:join() waits and gives true, results... or false, error; t:cancel(reason);
 * t:status() */
static int task_spawn(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    struct vr_task *task = vr_task_start(L, lua_gettop(L) - 1, NULL, NULL);
    vr_task_push(L, task);
    return 1;
}

/*** Waits.
 * @function sleep
 * @tparam number seconds */
static int slept(lua_State *L, int status, lua_KContext ctx)
{
    (void)L;
    (void)status;
    (void)ctx;
    return 0;
}

static int task_sleep(lua_State *L)
{
    double seconds = luaL_checknumber(L, 1);
    struct vr_waiters *nobody = lua_newuserdatauv(L, sizeof(*nobody), 0); /* only time wakes it */
    *nobody = (struct vr_waiters){0};
    return vr_wait(L, nobody, seconds > 0 ? seconds : 0, slept, 0);
}

/*** Calls a function that must be done in time: what it waits for then is cancelled and it unwinds.
 * @function deadline
 * @tparam number seconds
 * @tparam function fn
 * @param ... its arguments
 * @return its results; or nil, message, "timeout" */
static int task_deadline(lua_State *L)
{
    double seconds = luaL_checknumber(L, 1);
    luaL_checkany(L, 2);
    return vr_task_deadline(L, seconds > 0 ? seconds : 0, lua_gettop(L) - 2);
}

/*** Seconds of a clock that only goes forward.
 * @function now */
static int task_now(lua_State *L)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    lua_pushnumber(L, (lua_Number)now.tv_sec + (lua_Number)now.tv_nsec / 1e9);
    return 1;
}

/*** Seconds since 1970, with a fraction.
 * @function time */
static int task_time(lua_State *L)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    lua_pushnumber(L, (lua_Number)now.tv_sec + (lua_Number)now.tv_nsec / 1e9);
    return 1;
}

/*** The running task, or nil.
 * @function current */
static int task_current(lua_State *L)
{
    struct vr_task *task = vr_task_current(L);
    if (task)
        vr_task_push(L, task);
    else
        lua_pushnil(L);
    return 1;
}

/*** How many tasks have not ended.
 * @function count */
static int task_count(lua_State *L)
{
    lua_pushinteger(L, vr_task_count(L));
    return 1;
}

/* --- queues: the values are in the user value, a table, at first .. last --- */

struct queue {
    struct vr_waiters poppers;
    lua_Integer first, last;
    bool closed;
};

/*** A queue of values, first in, first out.
 * @function queue */
static int new_queue(lua_State *L)
{
    struct queue *queue = lua_newuserdatauv(L, sizeof(*queue), 1);
    *queue = (struct queue){.first = 1};
    luaL_setmetatable(L, QUEUE);
    lua_newtable(L);
    lua_setiuservalue(L, -2, 1);
    return 1;
}

/*** Adds a value (not nil); false when the queue is closed.
 * @function queue:push */
static int queue_push(lua_State *L)
{
    struct queue *queue = luaL_checkudata(L, 1, QUEUE);
    luaL_argcheck(L, !lua_isnoneornil(L, 2), 2, "nil cannot be queued");
    lua_settop(L, 2);
    if (!queue->closed) {
        lua_getiuservalue(L, 1, 1);
        lua_pushvalue(L, 2);
        lua_rawseti(L, -2, ++queue->last);
        vr_wait_wake(&queue->poppers);
    }
    lua_pushboolean(L, !queue->closed);
    return 1;
}

static int pop_value(lua_State *L, struct queue *queue)
{
    lua_getiuservalue(L, 1, 1);
    lua_rawgeti(L, -1, queue->first);
    lua_pushnil(L);
    lua_rawseti(L, -3, queue->first++);
    if (queue->first <= queue->last) /* a push that came while nobody had run yet woke only one */
        vr_wait_wake(&queue->poppers);
    return 1;
}

static int fail_pop(lua_State *L, const char *message, const char *code)
{
    lua_pushnil(L);
    lua_pushstring(L, message);
    lua_pushstring(L, code);
    return 3;
}

static int popped(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    struct queue *queue = lua_touserdata(L, 1);
    if (queue->first <= queue->last)
        return pop_value(L, queue);
    if (queue->closed)
        return fail_pop(L, "the queue is closed", "closed");
    if (vr_wait_timed_out(L))
        return fail_pop(L, "nothing came in time", "timeout");
    return vr_wait_again(L, &queue->poppers, popped, 0);
}

/*** Takes the oldest value, waiting for one if there is none.
 * @function queue:pop
 * @tparam[opt] number timeout
 * @return the value; or nil, message, "closed" or "timeout" */
static int queue_pop(lua_State *L)
{
    struct queue *queue = luaL_checkudata(L, 1, QUEUE);
    double timeout = vr_wait_opt_timeout(L, 2);
    lua_settop(L, 1);
    if (queue->first <= queue->last)
        return pop_value(L, queue);
    if (queue->closed)
        return fail_pop(L, "the queue is closed", "closed");
    return vr_wait(L, &queue->poppers, timeout, popped, 0);
}

/*** Ends the queue: what is in it can still be taken.
 * @function queue:close */
static int queue_close(lua_State *L)
{
    struct queue *queue = luaL_checkudata(L, 1, QUEUE);
    queue->closed = true;
    vr_wait_wake_all(&queue->poppers);
    return 0;
}

static int queue_length(lua_State *L)
{
    struct queue *queue = luaL_checkudata(L, 1, QUEUE);
    lua_pushinteger(L, queue->last - queue->first + 1);
    return 1;
}

/* --- events --- */

struct event {
    struct vr_waiters waiters;
    bool set;
};

/*** A flag that tasks can wait for.
 * @function event */
static int new_event(lua_State *L)
{
    struct event *event = lua_newuserdatauv(L, sizeof(*event), 0);
    *event = (struct event){0};
    luaL_setmetatable(L, EVENT);
    return 1;
}

/*** Sets the flag and wakes all who wait.
 * @function event:set */
static int event_set(lua_State *L)
{
    struct event *event = luaL_checkudata(L, 1, EVENT);
    event->set = true;
    vr_wait_wake_all(&event->waiters);
    return 0;
}

/*** Clears the flag.
 * @function event:clear */
static int event_clear(lua_State *L)
{
    struct event *event = luaL_checkudata(L, 1, EVENT);
    event->set = false;
    return 0;
}

static int event_came(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    lua_pushboolean(L, !vr_wait_timed_out(L)); /* woken counts, even if it was cleared meanwhile */
    return 1;
}

/*** Waits until the flag is set.
 * @function event:wait
 * @tparam[opt] number timeout
 * @return whether it was set */
static int event_wait(lua_State *L)
{
    struct event *event = luaL_checkudata(L, 1, EVENT);
    double timeout = vr_wait_opt_timeout(L, 2);
    lua_settop(L, 1);
    if (event->set) {
        lua_pushboolean(L, true);
        return 1;
    }
    return vr_wait(L, &event->waiters, timeout, event_came, 0);
}

static void new_class(lua_State *L, const char *name, const luaL_Reg *meta, const luaL_Reg *methods)
{
    luaL_newmetatable(L, name);
    luaL_setfuncs(L, meta, 0);
    lua_newtable(L);
    luaL_setfuncs(L, methods, 0);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}

int luaopen_vr_task(lua_State *L)
{
    static const luaL_Reg queue_meta[] = {{"__len", queue_length}, {NULL, NULL}};
    static const luaL_Reg queue_methods[] = {
        {"push", queue_push}, {"pop", queue_pop}, {"close", queue_close}, {NULL, NULL}};
    static const luaL_Reg event_meta[] = {{NULL, NULL}};
    static const luaL_Reg event_methods[] = {
        {"set", event_set}, {"clear", event_clear}, {"wait", event_wait}, {NULL, NULL}};
    static const luaL_Reg functions[] = {
        {"spawn", task_spawn}, {"sleep", task_sleep}, {"deadline", task_deadline},
        {"now", task_now},     {"time", task_time},   {"current", task_current},
        {"count", task_count}, {"queue", new_queue},  {"event", new_event},
        {NULL, NULL},
    };
    new_class(L, QUEUE, queue_meta, queue_methods);
    new_class(L, EVENT, event_meta, event_methods);
    luaL_newlib(L, functions);
    return 1;
}
