/* Limits of time and memory. Time is CPU time of the loop's thread, counted in rings of a timer of
 * that clock; memory is counted by the allocator, which notes the place of what it refuses: an
 * error for lack of memory has no message handler. */
#include <lauxlib.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "script/host.h"
#include "script/script.h"
#include "script/task.h"

/* A timer rings after each TICK of CPU time that this thread used. */
static const double TICK = 0.02;
static volatile sig_atomic_t ticks;

/* Threads made while a limit counts are looked at after as many instructions. */
enum { INSTRUCTIONS = 10000 };

/* The state whose time is limited, one at a time, and the tick that ends it. */
static lua_State *volatile limited;
static volatile sig_atomic_t end;

static void out_of_time(lua_State *L, lua_Debug *ar)
{
    (void)ar;
    struct vr_script *script = vr_script_of(L);
    if (script->limit.seconds <= 0 || ticks < end)
        return;
    lua_sethook(L, out_of_time, LUA_MASKCOUNT, 1);
    luaL_where(L, 0);
    lua_pushfstring(L, "%sstill running after %f s of CPU time: an endless loop?",
                    lua_tostring(L, -1), (lua_Number)script->limit.seconds);
    lua_error(L);
}

/* lua_sethook may be called from a signal handler. A hook that is there all the time would make Lua
 * look at each instruction. */
static void ring(int signal)
{
    (void)signal;
    ticks++;
    lua_State *L = limited;
    if (L && ticks >= end)
        lua_sethook(L, out_of_time, LUA_MASKCOUNT, 1);
}

static void start_timer(void)
{
    static bool started;
    if (started)
        return;
    started = true;
    struct sigaction action = {.sa_handler = ring, .sa_flags = SA_RESTART};
    /* To this thread: another one would set the hook while this one runs. */
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGRTMIN};
    event._sigev_un._tid = gettid();
    struct itimerspec when = {.it_value.tv_nsec = (long)(TICK * 1e9),
                              .it_interval.tv_nsec = (long)(TICK * 1e9)};
    timer_t timer;
    sigaction(SIGRTMIN, &action, NULL);
    if (timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &timer) == 0)
        timer_settime(timer, 0, &when, NULL);
}

void vr_script_limit(lua_State *L, double seconds, size_t bytes)
{
    struct vr_script *script = vr_script_of(L);
    script->limit.seconds = seconds;
    script->limit.bytes = bytes;
    script->limit.place[0] = '\0';
    limited = NULL;
    if (seconds > 0) {
        start_timer();
        end = ticks + (sig_atomic_t)(seconds / TICK) + 1;
        limited = L;
    } else {
        lua_sethook(L, NULL, 0, 0);
    }
}

void vr_limit_thread(lua_State *thread)
{
    if (vr_script_of(thread)->limit.seconds > 0)
        lua_sethook(thread, out_of_time, LUA_MASKCOUNT, INSTRUCTIONS);
}

/* coroutine.create and coroutine.wrap, whose threads the timer does not know. */
static int create(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, 1);
    lua_State *thread = lua_tothread(L, -1);
    if (!thread && lua_getupvalue(L, -1, 1)) {
        thread = lua_tothread(L, -1);
        lua_pop(L, 1);
    }
    if (thread)
        vr_limit_thread(thread);
    return 1;
}

void vr_limit_open(lua_State *L)
{
    static const char *const names[] = {"create", "wrap"};
    lua_getglobal(L, "coroutine");
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        lua_getfield(L, -1, names[i]);
        lua_pushcclosure(L, create, 1);
        lua_setfield(L, -2, names[i]);
    }
    lua_pop(L, 1);
}

/* Allocates nothing: lua_getinfo writes into the structure. */
static void note_place(struct vr_script *script)
{
    lua_State *L = script->running ? script->running : script->L;
    lua_Debug ar;
    for (int level = 0; L && lua_getstack(L, level, &ar); level++) {
        if (lua_getinfo(L, "Sl", &ar) && ar.currentline > 0) {
            snprintf(script->limit.place, sizeof(script->limit.place), "%s:%d: ", ar.short_src,
                     ar.currentline);
            return;
        }
    }
    script->limit.place[0] = '\0';
}

void *vr_limit_alloc(void *payload, void *old, size_t old_size, size_t size)
{
    struct vr_script *script = payload;
    size_t had = old ? old_size : 0;
    if (size == 0) {
        vr_pool_give(&script->pool, old, had);
        script->memory -= had;
        return NULL;
    }
    bool more = size > had;
    if (more && script->limit.bytes && script->limit.exempt == 0 &&
        script->memory + (size - had) > script->limit.bytes) {
        note_place(script);
        return NULL;
    }
    void *memory = vr_pool_resize(&script->pool, old, had, size);
    if (!memory)
        return NULL;
    script->memory += size;
    script->memory -= had;
    return memory;
}
