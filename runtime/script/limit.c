/* Limits of time and memory. Time is CPU time of the loop's thread, looked at every few thousand
 * instructions; memory is counted by the allocator, which notes the place of what it refuses: an
 * error for lack of memory has no message handler. */
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "script/host.h"
#include "script/script.h"
#include "script/task.h"

enum { INSTRUCTIONS = 10000 };

static double cpu_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void out_of_time(lua_State *L, lua_Debug *ar)
{
    (void)ar;
    struct vr_script *script = vr_script_of(L);
    if (script->limit.cpu_end == 0 || cpu_seconds() < script->limit.cpu_end)
        return;
    lua_sethook(L, out_of_time, LUA_MASKCOUNT, 1);
    luaL_where(L, 0);
    lua_pushfstring(L, "%sstill running after %f s of CPU time: an endless loop?",
                    lua_tostring(L, -1), (lua_Number)script->limit.seconds);
    lua_error(L);
}

void vr_script_limit(lua_State *L, double seconds, size_t bytes)
{
    struct vr_script *script = vr_script_of(L);
    script->limit.seconds = seconds;
    script->limit.cpu_end = seconds > 0 ? cpu_seconds() + seconds : 0;
    script->limit.bytes = bytes;
    script->limit.place[0] = '\0';
    if (seconds > 0)
        lua_sethook(L, out_of_time, LUA_MASKCOUNT, INSTRUCTIONS);
    else
        lua_sethook(L, NULL, 0, 0);
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
        free(old);
        script->memory -= had;
        return NULL;
    }
    bool more = size > had;
    if (more && script->limit.bytes && script->limit.exempt == 0 &&
        script->memory + (size - had) > script->limit.bytes) {
        note_place(script);
        return NULL;
    }
    void *memory = realloc(old, size);
    if (!memory)
        return NULL;
    script->memory += size;
    script->memory -= had;
    return memory;
}
