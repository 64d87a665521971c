/* require "stream": TCP and Unix sockets. A stream here is also what processes and servers give. */
#include <lauxlib.h>

#include "base/buf.h"
#include "base/error.h"
#include "net/loop.h"
#include "net/stream.h"
#include "script/stream.h"
#include "script/task.h"
#include "script/value.h"
#include "script/wait.h"

#define STREAM "vr.stream"
#define LISTENER "vr.listener"
#define CONNECTING "vr.connecting"
#define PUMPING "vr.pumping"

int luaopen_vr_stream(lua_State *L);

/* --- streams --- */

struct handle {
    struct vr_stream *stream; /* NULL: closed */
    struct vr_waiters readers, writers;
};

static void wake_readers(void *payload)
{
    vr_wait_wake_all(&((struct handle *)payload)->readers);
}

static void wake_writers(void *payload)
{
    vr_wait_wake_all(&((struct handle *)payload)->writers);
}

void vr_script_stream_close(lua_State *L, int index)
{
    struct handle *handle = luaL_testudata(L, index, STREAM);
    if (!handle)
        return;
    vr_stream_close(handle->stream);
    handle->stream = NULL;
    wake_readers(handle);
    wake_writers(handle);
}

/*** Closes; what was not written yet is lost.
 * @function s:close */
static int stream_close(lua_State *L)
{
    luaL_checkudata(L, 1, STREAM);
    vr_script_stream_close(L, 1);
    return 0;
}

static int fail_closed(lua_State *L)
{
    lua_pushnil(L);
    lua_pushliteral(L, "the stream is closed");
    lua_pushliteral(L, "closed");
    return 3;
}

/* Results of a read; 0: nothing yet. */
static int push_read(lua_State *L, struct handle *handle)
{
    if (!handle->stream)
        return fail_closed(L);
    struct vr_buf data = {0};
    struct vr_error err = {0};
    switch (vr_stream_take(handle->stream, &data, &err)) {
    case VR_STREAM_DATA:
        lua_pushlstring(L, data.data, data.length);
        vr_buf_free(&data);
        return 1;
    case VR_STREAM_END:
        lua_pushnil(L);
        return 1;
    case VR_STREAM_ERROR:
        return vr_script_fail(L, &err);
    default:
        return 0;
    }
}

static int read_again(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    struct handle *handle = lua_touserdata(L, 1);
    bool over = vr_wait_timed_out(L);
    int count = push_read(L, handle);
    if (count > 0)
        return count;
    if (!over)
        return vr_wait_again(L, &handle->readers, read_again, 0);
    lua_pushnil(L);
    lua_pushfstring(L, "nothing came from %s in time", vr_stream_peer(handle->stream));
    lua_pushliteral(L, "timeout");
    return 3;
}

/*** What has come, waiting for it if there is nothing.
 * @function s:read
 * @tparam[opt] number timeout
 * @return the bytes; nil at the end; or nil, message, code */
int vr_script_stream_read(lua_State *L)
{
    struct handle *handle = luaL_checkudata(L, 1, STREAM);
    double timeout = vr_wait_opt_timeout(L, 2);
    lua_settop(L, 1);
    int count = push_read(L, handle);
    return count > 0 ? count : vr_wait(L, &handle->readers, timeout, read_again, 0);
}

static int write_again(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    struct handle *handle = lua_touserdata(L, 1);
    struct vr_error err = {0};
    if (!handle->stream)
        return fail_closed(L);
    if (!vr_stream_write(handle->stream, "", 0, &err))
        return vr_script_fail(L, &err);
    if (vr_stream_pending(handle->stream) >= VR_STREAM_HIGH)
        return vr_wait_again(L, &handle->writers, write_again, 0);
    lua_pushboolean(L, true);
    return 1;
}

/*** Writes; waits while the other side does not take it.
 * @function s:write
 * @tparam string text
 * @return true; or nil, message, code */
int vr_script_stream_write(lua_State *L)
{
    struct handle *handle = luaL_checkudata(L, 1, STREAM);
    size_t length;
    const char *text = luaL_checklstring(L, 2, &length);
    struct vr_error err = {0};
    lua_settop(L, 2);
    if (!handle->stream)
        return fail_closed(L);
    if (!vr_stream_write(handle->stream, text, length, &err))
        return vr_script_fail(L, &err);
    if (vr_stream_pending(handle->stream) >= VR_STREAM_HIGH)
        return vr_wait(L, &handle->writers, -1, write_again, 0);
    lua_pushboolean(L, true);
    return 1;
}

/*** Says that no more will be written.
 * @function s:shutdown */
int vr_script_stream_shutdown(lua_State *L)
{
    struct handle *handle = luaL_checkudata(L, 1, STREAM);
    struct vr_error err = {0};
    if (!handle->stream)
        return fail_closed(L);
    if (!vr_stream_shutdown(handle->stream, &err))
        return vr_script_fail(L, &err);
    lua_pushboolean(L, true);
    return 1;
}

/*** "address:port" or path of the other side.
 * @function s:peer */
static int stream_peer(lua_State *L)
{
    struct handle *handle = luaL_checkudata(L, 1, STREAM);
    if (!handle->stream)
        return fail_closed(L);
    lua_pushstring(L, vr_stream_peer(handle->stream));
    return 1;
}

static int stream_tostring(lua_State *L)
{
    struct handle *handle = luaL_checkudata(L, 1, STREAM);
    lua_pushfstring(L, "stream (%s)", handle->stream ? vr_stream_peer(handle->stream) : "closed");
    return 1;
}

/* A userdata, closed first, so that nothing is lost if there is no memory for it. */
static struct handle *push_handle(lua_State *L)
{
    struct handle *handle = lua_newuserdatauv(L, sizeof(*handle), 0);
    *handle = (struct handle){0};
    luaL_setmetatable(L, STREAM);
    return handle;
}

static void set_stream(struct handle *handle, struct vr_stream *stream)
{
    handle->stream = stream;
    vr_stream_watch(stream, wake_readers, wake_writers, handle);
}

/* --- connect --- */

struct connecting {
    struct vr_park park;
    struct vr_connect *connect;
    struct vr_stream *stream;
    struct vr_error error;
};

static void connect_cancel(struct vr_park *park)
{
    struct connecting *c = (struct connecting *)park;
    vr_connect_cancel(c->connect);
    c->connect = NULL;
}

static int connecting_gc(lua_State *L)
{
    struct connecting *c = lua_touserdata(L, 1);
    connect_cancel(&c->park);
    vr_stream_close(c->stream);
    c->stream = NULL;
    vr_error_clear(&c->error);
    return 0;
}

static void connected(void *payload, struct vr_stream *stream, struct vr_error *err)
{
    struct connecting *c = payload;
    c->connect = NULL;
    c->stream = stream;
    vr_error_move(&c->error, err);
    vr_task_wake(&c->park);
}

static int connect_done(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    struct connecting *c = lua_touserdata(L, -1);
    if (!c->stream)
        return vr_script_fail(L, &c->error);
    struct handle *handle = push_handle(L);
    set_stream(handle, c->stream);
    c->stream = NULL;
    return 1;
}

static double number_field(lua_State *L, const char *name, double otherwise)
{
    lua_getfield(L, 1, name);
    double value = lua_isnil(L, -1) ? otherwise : lua_tonumber(L, -1);
    lua_pop(L, 1);
    return value;
}

/* A text field of the options at index 1; it stays on the stack. */
static const char *text_field(lua_State *L, const char *name)
{
    lua_getfield(L, 1, name);
    return lua_tostring(L, -1);
}

/*** Connects.
 * @function connect
 * @tparam table options host and port, or path; timeout in seconds
 * @return a stream; or nil, message, code (resolve, refused, unreachable, timeout, not_found, ...)
 */
static int connect_to(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    const char *path = text_field(L, "path");
    const char *host = text_field(L, "host");
    luaL_argcheck(L, path || host, 1, "needs host and port, or path");
    int port = (int)number_field(L, "port", 0);
    double timeout = number_field(L, "timeout", 0);
    luaL_argcheck(L, path || port > 0, 1, "needs a port");
    struct connecting *c = lua_newuserdatauv(L, sizeof(*c), 0);
    *c = (struct connecting){.park.cancel = connect_cancel};
    luaL_setmetatable(L, CONNECTING);
    struct vr_loop *loop = vr_script_loop(L);
    c->connect = path ? vr_stream_connect_path(loop, path, timeout, connected, c)
                      : vr_stream_connect(loop, host, port, timeout, connected, c);
    return vr_task_park(L, &c->park, connect_done, 0);
}

/* --- listeners --- */

struct listening {
    struct vr_listener *listener; /* NULL: closed */
    struct vr_waiters acceptors;
};

static void wake_acceptor(void *payload)
{
    vr_wait_wake(&((struct listening *)payload)->acceptors);
}

/*** Listens on an address (host, port; port 0: a free one) or a path.
 * @function listen
 * @tparam table options host (127.0.0.1), port (0), path, backlog (512)
 * @return a listener: l:accept([timeout]), l:port(), l:close() */
static int listen_on(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    const char *path = text_field(L, "path");
    const char *host = text_field(L, "host");
    int port = (int)number_field(L, "port", 0), backlog = (int)number_field(L, "backlog", 512);
    struct listening *listening = lua_newuserdatauv(L, sizeof(*listening), 0);
    *listening = (struct listening){0};
    luaL_setmetatable(L, LISTENER);
    struct vr_loop *loop = vr_script_loop(L);
    struct vr_error err = {0};
    listening->listener = path ? vr_listener_new_path(loop, path, backlog, &err)
                               : vr_listener_new(loop, host, port, backlog, &err);
    if (!listening->listener)
        return vr_script_fail(L, &err);
    vr_listener_watch(listening->listener, wake_acceptor, listening);
    return 1;
}

/* Results of an accept; 0: nobody came yet. */
static int push_accepted(lua_State *L, struct listening *listening)
{
    if (!listening->listener) {
        lua_pushnil(L);
        lua_pushliteral(L, "the listener is closed");
        lua_pushliteral(L, "closed");
        return 3;
    }
    struct handle *handle = push_handle(L);
    struct vr_stream *stream = vr_listener_accept(listening->listener);
    if (stream) {
        set_stream(handle, stream);
        return 1;
    }
    lua_pop(L, 1);
    return 0;
}

static int accept_again(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    struct listening *listening = lua_touserdata(L, 1);
    int count = push_accepted(L, listening);
    if (count > 0)
        return count;
    if (!vr_wait_timed_out(L))
        return vr_wait_again(L, &listening->acceptors, accept_again, 0);
    lua_pushnil(L);
    lua_pushliteral(L, "nobody connected in time");
    lua_pushliteral(L, "timeout");
    return 3;
}

/*** The next connection.
 * @function l:accept
 * @tparam[opt] number timeout
 * @return a stream; or nil, message, "closed" or "timeout" */
static int listener_accept(lua_State *L)
{
    struct listening *listening = luaL_checkudata(L, 1, LISTENER);
    double timeout = vr_wait_opt_timeout(L, 2);
    lua_settop(L, 1);
    int count = push_accepted(L, listening);
    return count > 0 ? count : vr_wait(L, &listening->acceptors, timeout, accept_again, 0);
}

/*** The port (0 for a path).
 * @function l:port */
static int listener_port(lua_State *L)
{
    struct listening *listening = luaL_checkudata(L, 1, LISTENER);
    lua_pushinteger(L, listening->listener ? vr_listener_port(listening->listener) : 0);
    return 1;
}

/*** Stops listening; connections go on.
 * @function l:close */
static int listener_close(lua_State *L)
{
    struct listening *listening = luaL_checkudata(L, 1, LISTENER);
    vr_listener_close(listening->listener);
    listening->listener = NULL;
    vr_wait_wake_all(&listening->acceptors);
    return 0;
}

/* --- pipe --- */

struct pumping {
    struct vr_park park;
    struct vr_pump *pump;
};

static void pump_cancel(struct vr_park *park)
{
    struct pumping *p = (struct pumping *)park;
    vr_pump_cancel(p->pump);
    p->pump = NULL;
}

static int pumping_gc(lua_State *L)
{
    pump_cancel(lua_touserdata(L, 1));
    return 0;
}

static void pumped(void *payload)
{
    struct pumping *p = payload;
    p->pump = NULL;
    vr_task_wake(&p->park);
}

static int pipe_done(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    lua_pushboolean(L, true);
    return 1;
}

static struct vr_stream *steal(struct handle *handle)
{
    struct vr_stream *stream = handle->stream;
    handle->stream = NULL;
    wake_readers(handle);
    wake_writers(handle);
    return stream;
}

/* For what only behaves like a stream (a channel of ssh). */
static const char pipe_in_lua[] = "local task = require 'task'\n"
                                  "local function copy(from, to)\n"
                                  "  for data in function() return from:read() end do\n"
                                  "    if not to:write(data) then return false end\n"
                                  "  end\n"
                                  "  local finish = to.shutdown or to.eof\n"
                                  "  if finish then finish(to) end\n"
                                  "  return true\n"
                                  "end\n"
                                  "return function(a, b)\n"
                                  "  local there\n"
                                  "  local guard <close> = setmetatable({}, { __close = function() "
                                  "there:cancel() a:close() b:close() end })\n"
                                  "  there = task.spawn(copy, a, b)\n"
                                  "  if copy(b, a) then there:join() end\n"
                                  "  return true\n"
                                  "end\n";

/*** Copies both ways until both have ended or one failed, then closes both.
 * @function pipe
 * @param a a stream
 * @param b a stream
 * @return true */
static int pipe_streams(lua_State *L)
{
    struct handle *a = luaL_testudata(L, 1, STREAM), *b = luaL_testudata(L, 2, STREAM);
    lua_settop(L, 2);
    if (!a || !b) {
        lua_pushvalue(L, lua_upvalueindex(1));
        lua_insert(L, 1);
        lua_callk(L, 2, 1, 0, pipe_done);
        return 1;
    }
    if (!a->stream || !b->stream)
        return fail_closed(L);
    luaL_argcheck(L, a != b, 2, "is the same stream");
    struct pumping *p = lua_newuserdatauv(L, sizeof(*p), 0);
    *p = (struct pumping){.park.cancel = pump_cancel};
    luaL_setmetatable(L, PUMPING);
    p->pump = vr_pump_start(steal(a), steal(b), pumped, p);
    return vr_task_park(L, &p->park, pipe_done, 0);
}

/* --- set-up --- */

static void new_class(lua_State *L, const char *name, lua_CFunction close, const luaL_Reg *methods)
{
    if (luaL_newmetatable(L, name)) {
        lua_pushcfunction(L, close);
        lua_setfield(L, -2, "__gc");
        lua_pushcfunction(L, close);
        lua_setfield(L, -2, "__close");
        if (methods) {
            lua_newtable(L);
            luaL_setfuncs(L, methods, 0);
            lua_setfield(L, -2, "__index");
        }
    }
    lua_pop(L, 1);
}

static void open_stream_class(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"read", vr_script_stream_read},
        {"write", vr_script_stream_write},
        {"shutdown", vr_script_stream_shutdown},
        {"close", stream_close},
        {"peer", stream_peer},
        {NULL, NULL},
    };
    new_class(L, STREAM, stream_close, methods);
    luaL_getmetatable(L, STREAM);
    lua_pushcfunction(L, stream_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pop(L, 1);
}

void vr_script_push_stream(lua_State *L, struct vr_stream *stream)
{
    open_stream_class(L);
    struct handle *handle = push_handle(L);
    set_stream(handle, stream);
}

int luaopen_vr_stream(lua_State *L)
{
    static const luaL_Reg listener_methods[] = {{"accept", listener_accept},
                                                {"port", listener_port},
                                                {"close", listener_close},
                                                {NULL, NULL}};
    static const luaL_Reg functions[] = {
        {"connect", connect_to}, {"listen", listen_on}, {NULL, NULL}};
    open_stream_class(L);
    new_class(L, LISTENER, listener_close, listener_methods);
    new_class(L, CONNECTING, connecting_gc, NULL);
    new_class(L, PUMPING, pumping_gc, NULL);
    luaL_newlib(L, functions);
    if (luaL_loadbufferx(L, pipe_in_lua, sizeof(pipe_in_lua) - 1, "=stream.pipe", "t") != LUA_OK)
        return lua_error(L);
    lua_call(L, 0, 1);
    lua_pushcclosure(L, pipe_streams, 1);
    lua_setfield(L, -2, "pipe");
    return 1;
}
