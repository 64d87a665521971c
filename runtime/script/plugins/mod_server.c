/* server: HTTP listeners whose handlers are tasks. See ARCHITECTURE.md, "Lua modules given by C".
 *
 * A request becomes a job: the exchange, and the task that answers it. The job is C memory in its
 * server's list, so that it is freed whichever way the task ends, also when the state is closed and
 * no task runs any more. The server's userdata is anchored in the registry from listen() until it
 * is closed and its last job is done. */
#include <lauxlib.h>
#include <lua.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "script/host.h"
#include "script/task.h"
#include "script/value.h"
#include "script/wait.h"
#include "wire/http_server.h"

int luaopen_vr_server(lua_State *L);

#define SERVER "server"
#define WRITER "server.writer"

enum { HANDLER = 1, SNI = 2, PROXY = 3, VALUES = 3 };
static const double default_grace = 5;

struct server {
    lua_State *L;             /* the main thread */
    struct vr_server *server; /* NULL: closed */
    int port;
    bool closing;
    struct job *jobs;
    struct vr_waiters closers;
};

struct job {
    struct server *server;
    struct job *next, *prev;
    struct vr_task *task;
    struct vr_exchange *exchange; /* a request */
    struct vr_ask *ask;           /* or a question */
    bool answered;
    struct job **writer;       /* the writer's pointer to this job */
    struct vr_waiters writers; /* tasks whose write waits */
};

static void release(struct server *s)
{
    if (s->server || s->jobs)
        return;
    lua_pushnil(s->L);
    lua_rawsetp(s->L, LUA_REGISTRYINDEX, s);
}

static struct job *job_new(struct server *s)
{
    struct job *job = vr_alloc(sizeof *job);
    job->server = s;
    job->next = s->jobs;
    if (job->next)
        job->next->prev = job;
    s->jobs = job;
    return job;
}

static void job_free(struct job *job)
{
    struct server *s = job->server;
    if (job->prev)
        job->prev->next = job->next;
    else
        s->jobs = job->next;
    if (job->next)
        job->next->prev = job->prev;
    if (job->writer)
        *job->writer = NULL;
    vr_wait_wake_all(&job->writers);
    if (job->exchange)
        vr_exchange_free(job->exchange);
    if (job->ask)
        vr_ask_answer_proxy(job->ask, false);
    free(job);
}

/* Pushes one of the server's functions. */
static void push_function(lua_State *L, struct server *s, int which)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, s);
    lua_getiuservalue(L, -1, which);
    lua_remove(L, -2);
}

/* Writers */

/* The peer reads again, or it has left: then a task that waits for something else is cancelled. */
static void changed(void *payload)
{
    struct job *job = payload;
    if (job->writers.first)
        vr_wait_wake_all(&job->writers);
    else if (vr_exchange_left(job->exchange))
        vr_task_cancel(job->task, "the peer has left");
}

static struct job *writer_job(lua_State *L)
{
    return *(struct job **)luaL_checkudata(L, 1, WRITER);
}

static int write_finish(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    struct job *job = writer_job(L);
    lua_pushboolean(L, job && !vr_exchange_left(job->exchange));
    return 1;
}

/*** Sends a piece of a streamed answer; waits while the peer is slow to read.
@function write
@tparam string text
@treturn boolean false when the peer has left */
static int writer_write(lua_State *L)
{
    struct job *job = writer_job(L);
    size_t length;
    const char *text = luaL_checklstring(L, 2, &length);
    if (!job || !vr_exchange_write(job->exchange, text, length)) {
        lua_pushboolean(L, false);
        return 1;
    }
    if (!vr_exchange_is_full(job->exchange)) {
        lua_pushboolean(L, true);
        return 1;
    }
    return vr_wait(L, &job->writers, -1, write_finish, 0);
}

static int writer_closed(lua_State *L)
{
    struct job *job = writer_job(L);
    lua_pushboolean(L, !job || vr_exchange_left(job->exchange));
    return 1;
}

static int writer_gc(lua_State *L)
{
    struct job *job = writer_job(L);
    if (job)
        job->writer = NULL;
    return 0;
}

static void push_writer(lua_State *L, struct job *job)
{
    struct job **writer = lua_newuserdatauv(L, sizeof(struct job *), 0);
    *writer = NULL;
    luaL_setmetatable(L, WRITER);
    *writer = job;
    job->writer = writer;
}

/* Requests */

static void push_pairs(lua_State *L, const struct vr_pair *pairs, size_t count)
{
    lua_createtable(L, 0, (int)count);
    for (size_t i = 0; i < count; i++) {
        lua_pushlstring(L, pairs[i].name, pairs[i].name_length);
        lua_pushlstring(L, pairs[i].value, pairs[i].value_length);
        lua_rawset(L, -3);
    }
}

static void push_client(lua_State *L, const struct vr_request *r)
{
    lua_createtable(L, 0, 2);
    lua_pushstring(L, r->client_name);
    lua_setfield(L, -2, "cn");
    lua_newtable(L);
    for (int i = 0; r->client_groups[i]; i++) {
        lua_pushstring(L, r->client_groups[i]);
        lua_rawseti(L, -2, i + 1);
    }
    lua_setfield(L, -2, "o");
}

static void push_request(lua_State *L, const struct vr_request *r)
{
    lua_createtable(L, 0, 9);
    lua_pushstring(L, r->method);
    lua_setfield(L, -2, "method");
    lua_pushstring(L, r->target);
    lua_setfield(L, -2, "target");
    lua_pushlstring(L, r->path, r->path_length);
    lua_setfield(L, -2, "path");
    push_pairs(L, r->query, r->query_count);
    lua_setfield(L, -2, "query");
    push_pairs(L, r->headers, r->header_count);
    lua_setfield(L, -2, "headers");
    lua_pushlstring(L, r->body, r->body_length);
    lua_setfield(L, -2, "body");
    lua_pushstring(L, r->host);
    lua_setfield(L, -2, "host");
    lua_pushstring(L, r->peer);
    lua_setfield(L, -2, "peer");
    if (r->client_name) {
        push_client(L, r);
        lua_setfield(L, -2, "client");
    } else if (r->client_refused) {
        lua_pushboolean(L, false);
        lua_setfield(L, -2, "client");
    }
}

static void set_header(lua_State *L, struct job *job, const char *name)
{
    struct vr_error err = {0};
    if (!lua_isstring(L, -1))
        luaL_error(L, "the handler's header '%s' is %s, not a string", name, luaL_typename(L, -1));
    lua_pushvalue(L, -1);
    const char *value = lua_tostring(L, -1);
    bool ok = vr_exchange_header(job->exchange, name, value, &err);
    lua_pop(L, 1);
    if (ok)
        return;
    lua_pushstring(L, err.message);
    vr_error_clear(&err);
    lua_error(L);
}

/* A value may be a list: a header that is sent more than once. */
static void set_headers(lua_State *L, struct job *job, int table)
{
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING)
            luaL_error(L, "the handler's headers want strings by name");
        const char *name = lua_tostring(L, -2);
        if (!lua_istable(L, -1)) {
            set_header(L, job, name);
            continue;
        }
        int count = (int)lua_rawlen(L, -1);
        for (int i = 1; i <= count; i++) {
            lua_rawgeti(L, -1, i);
            set_header(L, job, name);
            lua_pop(L, 1);
        }
    }
}

static int read_status(lua_State *L, int answer)
{
    int status = 200;
    if (lua_getfield(L, answer, "status") != LUA_TNIL) {
        int ok;
        lua_Integer value = lua_tointegerx(L, -1, &ok);
        if (!ok || value < 200 || value > 599)
            luaL_error(L, "the handler's status is not a number from 200 to 599");
        status = (int)value;
    }
    lua_pop(L, 1);
    return status;
}

static int streamed(lua_State *L, int status, lua_KContext ctx)
{
    (void)L;
    (void)status;
    vr_exchange_end(((struct job *)ctx)->exchange, true);
    return 0;
}

/* The handler's result is on top. */
static int handled(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    struct job *job = (struct job *)ctx;
    if (!lua_istable(L, -1))
        return luaL_error(L, "the handler returned %s, not a table", luaL_typename(L, -1));
    int answer = lua_gettop(L);
    /* Nobody answers: the connection is closed when the exchange is freed. */
    lua_getfield(L, answer, "drop");
    if (lua_toboolean(L, -1)) {
        job->answered = true;
        return 0;
    }
    int code = read_status(L, answer);
    int type = lua_getfield(L, answer, "headers");
    if (type == LUA_TTABLE)
        set_headers(L, job, lua_gettop(L));
    else if (type != LUA_TNIL)
        return luaL_error(L, "the handler's headers are %s, not a table", luaL_typename(L, -1));
    if (lua_getfield(L, answer, "stream") != LUA_TNIL) {
        push_writer(L, job);
        job->answered = true;
        vr_exchange_stream(job->exchange, code, changed, job);
        lua_callk(L, 1, 0, ctx, streamed);
        return streamed(L, LUA_OK, ctx);
    }
    type = lua_getfield(L, answer, "body");
    if (type != LUA_TNIL && type != LUA_TSTRING)
        return luaL_error(L, "the handler's body is %s, not a string", luaL_typename(L, -1));
    size_t length = 0;
    const char *body = lua_tolstring(L, -1, &length);
    job->answered = true;
    vr_exchange_answer(job->exchange, code, body, length);
    return 0;
}

static int serve(lua_State *L)
{
    struct job *job = lua_touserdata(L, 1);
    push_function(L, job->server, HANDLER);
    push_request(L, vr_exchange_request(job->exchange));
    lua_callk(L, 1, 1, (lua_KContext)job, handled);
    return handled(L, LUA_OK, (lua_KContext)job);
}

static void log_failure(struct job *job, lua_State *L)
{
    if (vr_exchange_left(job->exchange) || strcmp(vr_task_status(job->task), "cancelled") == 0)
        return;
    struct vr_error err = {0};
    vr_script_error(L, -1, &err);
    const struct vr_request *request = vr_exchange_request(job->exchange);
    if (err.file)
        vr_log(VR_LOG_ERROR, "%s %s: %s:%d: %s", request->method, request->path, err.file, err.line,
               err.message);
    else
        vr_log(VR_LOG_ERROR, "%s %s: %s", request->method, request->path, err.message);
    vr_error_clear(&err);
}

static void served(void *payload, lua_State *L, bool ok)
{
    static const char body[] = "{\"error\":{\"code\":\"InternalServerError\",\"message\":\"the "
                               "handler failed; its log says why\"}}\n";
    struct job *job = payload;
    struct server *s = job->server;
    if (!ok) {
        log_failure(job, L);
        if (!job->answered) {
            vr_exchange_reset(job->exchange);
            vr_exchange_header(job->exchange, "Content-Type", "application/json", NULL);
            vr_exchange_answer(job->exchange, 500, body, sizeof body - 1);
        }
    }
    job_free(job);
    release(s);
}

static void on_request(void *payload, struct vr_exchange *exchange)
{
    struct server *s = payload;
    struct job *job = job_new(s);
    job->exchange = exchange;
    lua_pushcfunction(s->L, serve);
    lua_pushlightuserdata(s->L, job);
    job->task = vr_task_start(s->L, 1, served, job);
}

/* Questions */

static int proxy_decided(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    lua_pushboolean(L, lua_toboolean(L, -1));
    return 1;
}

static int ask_proxy(lua_State *L)
{
    struct job *job = lua_touserdata(L, 1);
    push_function(L, job->server, PROXY);
    lua_pushstring(L, vr_ask_host(job->ask));
    lua_pushinteger(L, vr_ask_port(job->ask));
    lua_callk(L, 2, 1, 0, proxy_decided);
    return proxy_decided(L, LUA_OK, 0);
}

static void push_part(lua_State *L, int table, const char *name, int index)
{
    if (lua_getfield(L, table, name) == LUA_TNIL) {
        lua_pop(L, 1);
        lua_geti(L, table, index);
    }
    if (lua_type(L, -1) != LUA_TSTRING)
        luaL_error(L, "sni: '%s' is %s, not PEM text", name, luaL_typename(L, -1));
}

static int name_decided(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    int answer = lua_gettop(L);
    if (!lua_toboolean(L, answer))
        return 0;
    luaL_checktype(L, answer, LUA_TTABLE);
    push_part(L, answer, "cert", 1);
    push_part(L, answer, "key", 2);
    return 2;
}

static int ask_name(lua_State *L)
{
    struct job *job = lua_touserdata(L, 1);
    push_function(L, job->server, SNI);
    const char *name = vr_ask_host(job->ask);
    if (*name)
        lua_pushstring(L, name);
    else
        lua_pushnil(L);
    lua_callk(L, 1, 1, 0, name_decided);
    return name_decided(L, LUA_OK, 0);
}

static void asked(void *payload, lua_State *L, bool ok)
{
    struct job *job = payload;
    struct server *s = job->server;
    struct vr_ask *ask = job->ask;
    struct vr_error err = {0};
    if (!ok)
        vr_script_error(L, -1, &err);
    job->ask = NULL;
    char *host = vr_strdup(vr_ask_host(ask));
    if (vr_ask_is_proxy(ask))
        vr_ask_answer_proxy(ask, ok && lua_toboolean(L, -1));
    else if (ok && lua_gettop(L) >= 2 && lua_isstring(L, -1))
        vr_ask_answer_name(ask, lua_tostring(L, -2), lua_tostring(L, -1), &err);
    else
        vr_ask_answer_name(ask, NULL, NULL, NULL);
    if (err.message)
        vr_log(VR_LOG_ERROR, "server name '%s': %s", host, err.message);
    vr_error_clear(&err);
    free(host);
    job_free(job);
    release(s);
}

static void on_ask(void *payload, struct vr_ask *ask)
{
    struct server *s = payload;
    struct job *job = job_new(s);
    job->ask = ask;
    lua_pushcfunction(s->L, vr_ask_is_proxy(ask) ? ask_proxy : ask_name);
    lua_pushlightuserdata(s->L, job);
    job->task = vr_task_start(s->L, 1, asked, job);
}

/* Servers */

static struct server *check_server(lua_State *L)
{
    return luaL_checkudata(L, 1, SERVER);
}

static void check_names(lua_State *L, int table, const char *const *known, const char *what)
{
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
        const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
        const char *const *at = known;
        while (*at && strcmp(*at, name) != 0)
            at++;
        if (!*at)
            luaL_error(L, "%s: there is no option '%s'", what, name);
    }
}

/* The text stays in the table. */
static const char *text_option(lua_State *L, int table, const char *name)
{
    int type = lua_getfield(L, table, name);
    if (type != LUA_TNIL && type != LUA_TSTRING)
        luaL_error(L, "server.listen: '%s' wants a string, got %s", name, luaL_typename(L, -1));
    const char *text = lua_tostring(L, -1);
    lua_pop(L, 1);
    return text;
}

/* Keeps a function as a value of the server at 2; true if there is one. */
static bool function_option(lua_State *L, int table, const char *name, int which)
{
    int type = lua_getfield(L, table, name);
    if (type != LUA_TNIL && type != LUA_TFUNCTION)
        luaL_error(L, "server.listen: '%s' wants a function, got %s", name, luaL_typename(L, -1));
    lua_setiuservalue(L, 2, which);
    return type == LUA_TFUNCTION;
}

static void read_tls(lua_State *L, struct vr_server_options *o)
{
    static const char *const known[] = {"cert", "key", "client_ca", "sni", NULL};
    int type = lua_getfield(L, 1, "tls");
    if (type == LUA_TNIL)
        return;
    if (type != LUA_TTABLE)
        luaL_error(L, "server.listen: 'tls' wants a table, got %s", luaL_typename(L, -1));
    int table = lua_gettop(L);
    check_names(L, table, known, "server.listen: tls");
    o->tls = true;
    o->cert = text_option(L, table, "cert");
    o->key = text_option(L, table, "key");
    o->client_ca = text_option(L, table, "client_ca");
    o->ask_names = function_option(L, table, "sni", SNI);
}

static void read_options(lua_State *L, struct vr_server_options *o)
{
    static const char *const known[] = {"host",    "port",     "tls", "proxy",
                                        "handler", "max_body", NULL};
    luaL_checktype(L, 1, LUA_TTABLE);
    check_names(L, 1, known, "server.listen");
    o->host = text_option(L, 1, "host");
    if (!function_option(L, 1, "handler", HANDLER))
        luaL_error(L, "server.listen: 'handler' is missing");
    o->ask_proxy = function_option(L, 1, "proxy", PROXY);
    if (lua_getfield(L, 1, "port") != LUA_TNIL) {
        lua_Integer port = lua_isinteger(L, -1) ? lua_tointeger(L, -1) : -1;
        if (port < 0 || port > 65535)
            luaL_error(L, "server.listen: 'port' wants a number from 0 to 65535");
        o->port = (int)port;
    }
    lua_getfield(L, 1, "max_body");
    o->max_body =
        lua_isinteger(L, -1) && lua_tointeger(L, -1) > 0 ? (size_t)lua_tointeger(L, -1) : 0;
    lua_pop(L, 2);
    read_tls(L, o);
}

/*** Listens. Each request is a task that runs `handler(request)`, which returns `{status, headers,
body}`, or
`{status, headers, stream = function(writer)}`, or `{drop = true}`: the connection is closed without
an answer.
@function listen
@tparam table options `host, port, tls={cert, key, client_ca, sni}, proxy, handler, max_body`
@return the server with `port` and `close`; or nil, a message and a code */
static int server_listen(lua_State *L)
{
    lua_settop(L, 1);
    struct server *s = lua_newuserdatauv(L, sizeof *s, VALUES);
    *s = (struct server){0};
    luaL_setmetatable(L, SERVER);
    lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
    s->L = lua_tothread(L, -1);
    lua_pop(L, 1);
    struct vr_server_options o = {.on_request = on_request, .on_ask = on_ask, .payload = s};
    read_options(L, &o);
    lua_settop(L, 2);
    lua_pushvalue(L, 2);
    lua_rawsetp(L, LUA_REGISTRYINDEX, s);
    struct vr_error err = {0};
    s->server = vr_server_new(vr_script_loop(L), &o, &err);
    if (!s->server) {
        release(s);
        return vr_script_fail(L, &err);
    }
    s->port = vr_server_port(s->server);
    return 1;
}

static int server_port(lua_State *L)
{
    lua_pushinteger(L, check_server(L)->port);
    return 1;
}

/*** Connections that speak plain HTTP to this TLS server go to another, plain one.
@function plain
@param server the other one */
static int server_plain(lua_State *L)
{
    struct server *s = check_server(L), *other = luaL_checkudata(L, 2, SERVER);
    if (s->server && other->server && !s->closing && !other->closing)
        vr_server_plain(s->server, other->server);
    return 0;
}

static void closed(void *payload)
{
    struct server *s = payload;
    s->server = NULL;
    vr_wait_wake_all(&s->closers);
    release(s);
}

static int close_finish(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    lua_pushboolean(L, true);
    return 1;
}

static bool is_handler(const struct server *s, const struct vr_task *task)
{
    const struct job *job = s->jobs;
    while (job && job->task != task)
        job = job->next;
    return job != NULL;
}

static int close_with(lua_State *L, double grace)
{
    struct server *s = check_server(L);
    if (s->server && !s->closing) {
        s->closing = true;
        vr_server_close(s->server, grace > 0 ? grace : 0.001, closed, s);
    }
    if (!s->server || !vr_task_can_park(L) || is_handler(s, vr_task_current(L)))
        return close_finish(L, LUA_OK, 0);
    return vr_wait(L, &s->closers, -1, close_finish, 0);
}

/*** Stops listening, ends streams, and waits until the answers under way are sent.
@function close
@tparam[opt=5] number grace seconds after which connections are cut */
static int server_close(lua_State *L)
{
    return close_with(L, luaL_optnumber(L, 2, default_grace));
}

static int server_leave_scope(lua_State *L)
{
    lua_settop(L, 1);
    return close_with(L, default_grace);
}

/* Only when the state is closed: until then the registry holds it. */
static int server_gc(lua_State *L)
{
    struct server *s = check_server(L);
    if (s->server)
        vr_server_close(s->server, 0, NULL, NULL);
    s->server = NULL;
    while (s->jobs)
        job_free(s->jobs);
    return 0;
}

static const luaL_Reg functions[] = {
    {"listen", server_listen},
    {NULL, NULL},
};

static const luaL_Reg server_methods[] = {
    {"port", server_port},
    {"close", server_close},
    {"plain", server_plain},
    {NULL, NULL},
};

static const luaL_Reg server_metamethods[] = {
    {"__gc", server_gc},
    {"__close", server_leave_scope},
    {NULL, NULL},
};

static const luaL_Reg writer_methods[] = {
    {"write", writer_write},
    {"closed", writer_closed},
    {NULL, NULL},
};

static const luaL_Reg writer_metamethods[] = {
    {"__gc", writer_gc},
    {NULL, NULL},
};

static void make_class(lua_State *L, const char *name, const luaL_Reg *metamethods,
                       const luaL_Reg *methods)
{
    luaL_newmetatable(L, name);
    luaL_setfuncs(L, metamethods, 0);
    lua_newtable(L);
    luaL_setfuncs(L, methods, 0);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}

int luaopen_vr_server(lua_State *L)
{
    make_class(L, SERVER, server_metamethods, server_methods);
    make_class(L, WRITER, writer_metamethods, writer_methods);
    luaL_newlib(L, functions);
    return 1;
}
