/* http: requests of a task. See ARCHITECTURE.md, "Lua modules given by C".
 *
 * http.request{...} parks until the answer is complete; http.open{...} until its head is there, and
 * gives an object whose read() parks for more of the body. Both share struct request: the userdata
 * is made first, the request started into it. */
#include <lauxlib.h>
#include <lua.h>
#include <string.h>

#include "script/task.h"
#include "script/value.h"
#include "wire/http.h"

int luaopen_vr_http(lua_State *L);

#define REQUEST "http.request"
#define CLIENT "http.client"

struct request {
    struct vr_park park;
    struct vr_loop *loop;
    struct vr_http *http;   /* NULL: closed */
    struct vr_timer *timer; /* of a read that waits */
    bool timed_out;
    int status;
};

static void stop_timer(struct request *r)
{
    vr_timer_cancel(r->timer);
    r->timer = NULL;
}

static void close_request(struct request *r)
{
    stop_timer(r);
    vr_http_free(r->http);
    r->http = NULL;
}

static void changed(void *payload)
{
    struct request *r = payload;
    vr_task_wake(&r->park);
}

static void cancel_request(struct vr_park *park)
{
    close_request((struct request *)park);
}

static void cancel_read(struct vr_park *park)
{
    stop_timer((struct request *)park);
}

static int push_failure(lua_State *L, const struct vr_error *failure)
{
    struct vr_error err = {0};
    vr_error_copy(&err, failure);
    return vr_script_fail(L, &err);
}

/* Options. Their strings stay on the stack (or in the table) until vr_http_start has copied them.
 */

static const char *text_option(lua_State *L, const char *name)
{
    int type = lua_getfield(L, 1, name);
    if (type == LUA_TNIL)
        return NULL;
    if (type != LUA_TSTRING)
        luaL_error(L, "http: '%s' wants a string, got %s", name, luaL_typename(L, -1));
    const char *text = lua_tostring(L, -1);
    if (strlen(text) != lua_rawlen(L, -1))
        luaL_error(L, "http: '%s' has a NUL byte in it", name);
    return text;
}

static double seconds_option(lua_State *L, const char *name)
{
    double seconds = 0;
    if (lua_getfield(L, 1, name) != LUA_TNIL) {
        if (lua_type(L, -1) != LUA_TNUMBER || !(lua_tonumber(L, -1) > 0))
            luaL_error(L, "http: '%s' wants seconds above zero", name);
        seconds = lua_tonumber(L, -1);
    }
    lua_pop(L, 1);
    return seconds < 1e6 ? seconds : 1e6;
}

static void check_line(lua_State *L, int index, const char *what)
{
    size_t length;
    const char *text = lua_tolstring(L, index, &length);
    if (strlen(text) != length || strpbrk(text, "\r\n"))
        luaL_error(L, "http: a header's %s has a line break or a NUL byte in it", what);
}

/* Pushes "Name: value" for the pair on the stack's top; the pair stays. */
static const char *push_line(lua_State *L)
{
    if (lua_type(L, -2) != LUA_TSTRING || !lua_isstring(L, -1))
        luaL_error(L, "http: 'headers' wants strings by name, got %s = %s", luaL_typename(L, -2),
                   luaL_typename(L, -1));
    lua_pushvalue(L, -1); /* a number becomes a string in the copy, not in the caller's table */
    check_line(L, -3, "name");
    check_line(L, -1, "value");
    const char *name = lua_tostring(L, -3), *value = lua_tostring(L, -1);
    if (!*name || strpbrk(name, ":; \t"))
        luaL_error(L, "http: '%s' is not a header's name", name);
    const char *line =
        *value ? lua_pushfstring(L, "%s: %s", name, value) : lua_pushfstring(L, "%s;", name);
    lua_remove(L, -2);
    return line;
}

/* Pushes the array of lines (a userdata) and, in a table, the lines themselves. */
static const char *const *headers_option(lua_State *L)
{
    int type = lua_getfield(L, 1, "headers");
    if (type == LUA_TNIL)
        return NULL;
    if (type != LUA_TTABLE)
        luaL_error(L, "http: 'headers' wants a table, got %s", luaL_typename(L, -1));
    int table = lua_gettop(L);
    size_t count = 0;
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1))
        count++;
    const char **lines = lua_newuserdatauv(L, (count + 1) * sizeof *lines, 0);
    lua_createtable(L, (int)count, 0);
    int anchor = lua_gettop(L);
    size_t at = 0;
    for (lua_pushnil(L); lua_next(L, table) && at < count; lua_pop(L, 1)) {
        lines[at] = push_line(L);
        lua_rawseti(L, anchor, (lua_Integer)++at);
    }
    lua_settop(L, anchor);
    lines[at] = NULL;
    return lines;
}

static const char *const known_options[] = {
    "method", "url",        "headers",  "body",     "timeout",    "connect_timeout",
    "ca",     "cert",       "key",      "insecure", "connect_to", "server_name",
    "proxy",  "user_agent", "max_body", NULL,
};

static void check_names(lua_State *L)
{
    for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) {
        const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
        const char *const *at = known_options;
        while (*at && strcmp(*at, name) != 0)
            at++;
        if (!*at)
            luaL_error(L, "http: there is no option '%s'", name);
    }
}

static void read_options(lua_State *L, struct vr_http_options *o)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_checkstack(L, 40, "http options");
    check_names(L);
    o->method = text_option(L, "method");
    if (o->method &&
        (!*o->method || strspn(o->method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ-") != strlen(o->method)))
        luaL_error(L, "http: 'method' wants a word in capitals, like GET");
    o->url = text_option(L, "url");
    if (!o->url)
        luaL_error(L, "http: 'url' is missing");
    o->headers = headers_option(L);
    int type = lua_getfield(L, 1, "body");
    if (type != LUA_TNIL && type != LUA_TSTRING)
        luaL_error(L, "http: 'body' wants a string, got %s", luaL_typename(L, -1));
    o->body = lua_tolstring(L, -1, &o->body_length);
    o->timeout = seconds_option(L, "timeout");
    o->connect_timeout = seconds_option(L, "connect_timeout");
    o->ca = text_option(L, "ca");
    o->cert = text_option(L, "cert");
    o->key = text_option(L, "key");
    lua_getfield(L, 1, "insecure");
    o->insecure = lua_toboolean(L, -1);
    o->connect_to = text_option(L, "connect_to");
    o->server_name = text_option(L, "server_name");
    o->proxy = text_option(L, "proxy");
    o->user_agent = text_option(L, "user_agent");
    lua_getfield(L, 1, "max_body");
    o->max_body =
        lua_isinteger(L, -1) && lua_tointeger(L, -1) > 0 ? (size_t)lua_tointeger(L, -1) : 0;
}

/* Leaves the options at 1 and the started request at 2. */
static struct request *start(lua_State *L, bool stream)
{
    lua_settop(L, 1);
    struct request *r = lua_newuserdatauv(L, sizeof *r, 1);
    *r = (struct request){.park = {.cancel = cancel_request}, .loop = vr_script_loop(L)};
    luaL_setmetatable(L, REQUEST);
    struct vr_http_options o = {.stream = stream};
    read_options(L, &o);
    r->http = vr_http_start(r->loop, &o, changed, r);
    lua_settop(L, 2);
    return r;
}

static int request_finish(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    struct request *r = lua_touserdata(L, 2);
    const struct vr_error *err = vr_http_error(r->http);
    if (err) {
        int count = push_failure(L, err);
        close_request(r);
        return count;
    }
    lua_createtable(L, 0, 3);
    lua_pushinteger(L, vr_http_status(r->http));
    lua_setfield(L, -2, "status");
    vr_value_push(L, vr_http_headers(r->http));
    lua_setfield(L, -2, "headers");
    /* The bytes stay the request's until Lua has its copy: pushing may raise. */
    size_t length;
    const char *body = vr_http_body(r->http, &length);
    lua_pushlstring(L, body, length);
    lua_setfield(L, -2, "body");
    close_request(r);
    return 1;
}

/*** Sends a request and waits for the whole answer.
@function request
@tparam table options `method, url, headers, body, timeout, connect_timeout, ca, cert, key,
insecure, connect_to, server_name, proxy, user_agent, max_body`
@treturn table `{status=, headers=, body=}`; or nil, a message and a code */
static int http_request(lua_State *L)
{
    struct request *r = start(L, false);
    return vr_task_park(L, &r->park, request_finish, 0);
}

static int open_finish(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    struct request *r = lua_touserdata(L, 2);
    const struct vr_error *err = vr_http_error(r->http);
    if (err && vr_http_status(r->http) == 0) {
        int count = push_failure(L, err);
        close_request(r);
        return count;
    }
    r->status = vr_http_status(r->http);
    vr_value_push(L, vr_http_headers(r->http));
    lua_setiuservalue(L, 2, 1);
    r->park.cancel = cancel_read;
    lua_settop(L, 2);
    return 1;
}

/*** Sends a request and waits for the head of the answer; the body is read in pieces, and the
sender waits for the reader.
@function open
@tparam table options as of `request`; `timeout` is for the head
@return an object with `status`, `headers`, `read`, `close`; or nil, a message and a code */
static int http_open(lua_State *L)
{
    struct request *r = start(L, true);
    return vr_task_park(L, &r->park, open_finish, 0);
}

static struct request *check_request(lua_State *L)
{
    return luaL_checkudata(L, 1, REQUEST);
}

static int read_finish(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    struct request *r = lua_touserdata(L, 1);
    stop_timer(r);
    if (!r->http) { /* closed, maybe by another task meanwhile: the end */
        luaL_pushfail(L);
        return 1;
    }
    size_t length;
    const char *body = vr_http_body(r->http, &length);
    if (length > 0) {
        lua_pushlstring(L, body, length);
        vr_http_consume(r->http);
        return 1;
    }
    const struct vr_error *err = vr_http_error(r->http);
    if (err)
        return push_failure(L, err);
    if (r->timed_out && !vr_http_ended(r->http)) {
        luaL_pushfail(L);
        lua_pushliteral(L, "nothing came in time");
        lua_pushliteral(L, "timeout");
        return 3;
    }
    luaL_pushfail(L);
    return 1;
}

static void read_timeout(void *payload)
{
    struct request *r = payload;
    r->timer = NULL;
    r->timed_out = true;
    vr_task_wake(&r->park);
}

/*** Waits for more of the body.
@function read
@tparam[opt] number timeout seconds
@treturn string what came; nil at the end; or nil, a message and a code (after "timeout" reading may
go on) */
static int request_read(lua_State *L)
{
    struct request *r = check_request(L);
    double timeout = luaL_optnumber(L, 2, -1);
    size_t length = 0;
    if (r->park.task)
        return luaL_error(L, "http: another task reads this answer already");
    if (r->http)
        vr_http_body(r->http, &length);
    r->timed_out = false;
    if (!r->http || length > 0 || vr_http_ended(r->http))
        return read_finish(L, LUA_OK, 0);
    if (timeout >= 0)
        r->timer = vr_timer_start(r->loop, timeout, read_timeout, r);
    return vr_task_park(L, &r->park, read_finish, 0);
}

static int request_close(lua_State *L)
{
    struct request *r = check_request(L);
    close_request(r);
    vr_task_wake(&r->park);
    return 0;
}

static int request_index(lua_State *L)
{
    struct request *r = check_request(L);
    const char *name = luaL_checkstring(L, 2);
    if (strcmp(name, "status") == 0) {
        lua_pushinteger(L, r->status);
    } else if (strcmp(name, "headers") == 0) {
        lua_getiuservalue(L, 1, 1);
    } else {
        lua_getfield(L, lua_upvalueindex(1), name);
    }
    return 1;
}

static int request_gc(lua_State *L)
{
    close_request(check_request(L));
    return 0;
}

/* Made first, so that it is collected last: after all requests. */
static int client_gc(lua_State *L)
{
    struct vr_loop **loop = luaL_checkudata(L, 1, CLIENT);
    vr_http_shutdown(*loop);
    return 0;
}

static const luaL_Reg functions[] = {
    {"request", http_request},
    {"open", http_open},
    {NULL, NULL},
};

static const luaL_Reg methods[] = {
    {"read", request_read},
    {"close", request_close},
    {NULL, NULL},
};

static const luaL_Reg metamethods[] = {
    {"__gc", request_gc},
    {"__close", request_close},
    {NULL, NULL},
};

int luaopen_vr_http(lua_State *L)
{
    struct vr_loop **loop = lua_newuserdatauv(L, sizeof(struct vr_loop *), 0);
    *loop = vr_script_loop(L);
    if (luaL_newmetatable(L, CLIENT)) {
        lua_pushcfunction(L, client_gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    lua_setfield(L, LUA_REGISTRYINDEX, CLIENT " anchor");
    luaL_newmetatable(L, REQUEST);
    luaL_setfuncs(L, metamethods, 0);
    luaL_newlib(L, methods);
    lua_pushcclosure(L, request_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    luaL_newlib(L, functions);
    return 1;
}
