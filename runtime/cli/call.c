/* Lua code that the command line is made of, called from C: a task, and the loop until it ended. */
#include <jansson.h>
#include <lauxlib.h>
#include <signal.h>

#include "cli/session.h"
#include "net/loop.h"
#include "script/host.h"
#include "script/task.h"
#include "script/value.h"

struct call {
    struct vr_session *session;
    struct vr_task *task; /* NULL once it has ended */
    json_t *result;
    struct vr_error error;
    bool ended;
};

static void ended(void *payload, lua_State *L, bool ok)
{
    struct call *call = payload;
    call->ended = true;
    call->task = NULL;
    if (!ok)
        vr_script_error(L, -1, &call->error);
    else if (lua_gettop(L) == 0)
        call->result = json_null();
    else
        call->result = vr_value_get(L, -1, &call->error);
    vr_loop_stop(call->session->loop);
}

static void interrupted(void *payload, int number)
{
    struct call *call = payload;
    if (call->task)
        vr_task_cancel(call->task, number == SIGINT ? "interrupted" : "told to end");
}

/* (module, function) -> the function */
static int find_function(lua_State *L)
{
    lua_getglobal(L, "require");
    lua_pushvalue(L, 1);
    lua_call(L, 1, 1);
    lua_getfield(L, -1, lua_tostring(L, 2));
    return 1;
}

json_t *vr_session_call(struct vr_session *session, const char *module, const char *function,
                        json_t *argument, struct vr_error *err)
{
    lua_State *L = vr_script_lua(session->script);
    struct call call = {.session = session};
    lua_pushcfunction(L, find_function);
    lua_pushstring(L, module);
    lua_pushstring(L, function);
    if (lua_pcall(L, 2, 1, 0) != LUA_OK) {
        vr_script_error(L, -1, err);
        lua_pop(L, 1);
        json_decref(argument);
        return NULL;
    }
    vr_value_push(L, argument ? argument : json_null());
    json_decref(argument);
    struct vr_signal *signals[] = {
        vr_signal_start(session->loop, SIGINT, interrupted, &call),
        vr_signal_start(session->loop, SIGTERM, interrupted, &call),
        vr_signal_start(session->loop, SIGHUP, interrupted, &call),
    };
    call.task = vr_task_start(L, 1, ended, &call);
    vr_loop_run(session->loop);
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        vr_signal_stop(signals[i]);
    if (!call.ended && !call.error.message)
        vr_error_set(&call.error, "deadlock", "%s waits for something that nobody will do", module);
    if (call.error.message) {
        vr_error_move(err, &call.error);
        json_decref(call.result);
        return NULL;
    }
    return call.result;
}
