#include "script/program.h"

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "net/loop.h"
#include "script/host.h"
#include "script/script.h"
#include "script/task.h"
#include "script/value.h"

/* A task that the program waits for. */
struct wait {
    struct vr_script *script;
    bool done, keep; /* keep: its result is wanted */
    json_t *result;
    struct vr_error error;
};

static void ended(void *payload, lua_State *L, bool ok)
{
    struct wait *wait = payload;
    wait->done = true;
    wait->script->waited = NULL; /* the task is gone when this returns */
    if (!ok)
        vr_script_error(L, -1, &wait->error);
    else if (wait->keep)
        wait->result = lua_gettop(L) == 0 ? json_null() : vr_value_get(L, -1, &wait->error);
    vr_loop_stop(wait->script->loop);
}

/* Starts the function below its arguments on the stack and runs the loop. `name` is for a message.
 */
static json_t *wait_for(struct vr_script *script, int arguments, bool keep, const char *name,
                        struct vr_error *err)
{
    struct wait *wait = vr_alloc(sizeof(*wait)); /* the task may outlive us: see below */
    wait->script = script;
    wait->keep = keep;
    script->waited = vr_task_start(script->L, arguments, ended, wait);
    vr_loop_run(script->loop);
    if (!wait->done) {
        /* Nothing is left on the loop that could wake it. It unwinds now, so that it is over. */
        vr_task_cancel(script->waited, "nobody will wake it");
        vr_loop_run(script->loop);
        vr_error_clear(&wait->error);
        vr_error_set(&wait->error, "deadlock", "%s waits for something that nobody will do", name);
    }
    script->waited = NULL;
    json_t *result = wait->result;
    if (wait->error.message) {
        vr_error_move(err, &wait->error);
        json_decref(result);
        result = NULL;
    } else if (!keep) {
        result = json_null();
    }
    if (wait->done)
        free(wait);
    return result;
}

/* (module, function) -> the function, or nil */
static int find_function(lua_State *L)
{
    lua_getglobal(L, "require");
    lua_pushvalue(L, 1);
    lua_call(L, 1, 1);
    if (!lua_istable(L, -1))
        return 0;
    lua_getfield(L, -1, lua_tostring(L, 2));
    return 1;
}

static bool push_function(lua_State *L, const char *module, const char *function,
                          struct vr_error *err)
{
    lua_pushcfunction(L, find_function);
    lua_pushstring(L, module);
    lua_pushstring(L, function);
    if (lua_pcall(L, 2, 1, 0) == LUA_OK)
        return true;
    vr_script_error(L, -1, err);
    lua_pop(L, 1);
    return false;
}

json_t *vr_script_call(struct vr_script *script, const char *module, const char *function,
                       json_t *argument, struct vr_error *err)
{
    bool found = push_function(script->L, module, function, err);
    if (found)
        vr_value_push(script->L, argument ? argument : json_null());
    json_decref(argument);
    return found ? wait_for(script, 1, true, module, err) : NULL;
}

json_t *vr_script_call_now(struct vr_script *script, const char *module, const char *function,
                           const char *text)
{
    lua_State *L = script->L;
    int top = lua_gettop(L);
    json_t *result = NULL;
    if (push_function(L, module, function, NULL)) {
        lua_pushstring(L, text);
        if (lua_pcall(L, 1, 1, 0) == LUA_OK)
            result = vr_value_get(L, -1, NULL);
    }
    lua_settop(L, top);
    return result;
}

bool vr_script_has(struct vr_script *script, const char *module, const char *function)
{
    lua_State *L = script->L;
    int top = lua_gettop(L);
    bool has = push_function(L, module, function, NULL) && lua_isfunction(L, -1);
    lua_settop(L, top);
    return has;
}

static void set_arg(lua_State *L, int argc, char **argv)
{
    lua_createtable(L, argc, 1);
    for (int i = 0; i < argc; i++) {
        lua_pushstring(L, argv[i]);
        lua_rawseti(L, -2, i);
    }
    lua_setglobal(L, "arg");
}

static void add_folder_of(lua_State *L, const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder =
        slash ? vr_strndup(path, slash == path ? 1 : (size_t)(slash - path)) : vr_strdup(".");
    vr_script_add_path(L, folder);
    free(folder);
}

bool vr_script_run_file(struct vr_script *script, int argc, char **argv, struct vr_error *err)
{
    lua_State *L = script->L;
    set_arg(L, argc, argv);
    add_folder_of(L, argv[0]);
    if (!vr_script_load_file(L, argv[0], err))
        return false;
    for (int i = 1; i < argc; i++)
        lua_pushstring(L, argv[i]);
    json_t *result = wait_for(script, argc - 1, false, argv[0], err);
    json_decref(result);
    return result != NULL;
}

bool vr_script_interrupt(struct vr_script *script, const char *reason)
{
    if (!script->waited)
        return false;
    vr_task_cancel(script->waited, reason);
    return true;
}
