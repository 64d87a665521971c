/* The steps of SSH that stdlib/ssh.lua puts in order: sessions and channels as userdata, started at
 * once, waited for by methods. Whatever happens to one wakes all who wait for it, and each looks
 * again at what it waits for. */
#include <lauxlib.h>
#include <lua.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "script/task.h"
#include "script/value.h"
#include "script/wait.h"
#include "script/work.h"
#include "wire/known_hosts.h"
#include "wire/ssh.h"
#include "wire/ssh_key.h"

#define SESSION "vr.ssh"
#define CHANNEL "vr.ssh.channel"
#define KEY "vr.ssh.key"
#define KNOWN "vr.ssh.known"
#define UNSENT_LIMIT 196608 /* bytes that a writer may be ahead of the host */

struct session {
    struct vr_ssh *ssh; /* NULL: it never was; user value 1: the jump host */
    struct vr_waiters waiters;
};

struct channel {
    struct vr_ssh_channel *channel; /* NULL: closed; user value 1: the session */
    struct vr_waiters waiters;
};

/* Pushes nil, message, code, hint. */
static int push_failure(lua_State *L, struct vr_error *err)
{
    char *hint = vr_strdup(err->hint);
    vr_script_fail(L, err);
    lua_pushstring(L, hint);
    free(hint);
    return 4;
}

/* The same of an error that somebody else keeps. */
static int push_error(lua_State *L, const struct vr_error *kept)
{
    struct vr_error err = {0};
    vr_error_copy(&err, kept);
    return push_failure(L, &err);
}

static int push_timeout(lua_State *L, const char *what)
{
    struct vr_error err = {0};
    vr_error_set(&err, "timeout", "%s in time", what);
    return vr_script_fail(L, &err);
}

/* --- options --- */

static const char *opt_text(lua_State *L, int index, const char *name, size_t *length)
{
    int type = lua_getfield(L, index, name); /* stays on the stack */
    if (type == LUA_TNIL)
        return NULL;
    if (type != LUA_TSTRING)
        luaL_error(L, "'%s' must be a text, got %s", name, luaL_typename(L, -1));
    return lua_tolstring(L, -1, length);
}

static lua_Number opt_number(lua_State *L, int index, const char *name)
{
    int ok = 1;
    lua_Number number = lua_getfield(L, index, name) == LUA_TNIL ? 0 : lua_tonumberx(L, -1, &ok);
    if (!ok)
        luaL_error(L, "'%s' must be a number, got %s", name, luaL_typename(L, -1));
    lua_pop(L, 1);
    return number;
}

/* A list of lines becomes an object on the stack, which frees it. */
static struct vr_known_hosts **new_known(lua_State *L)
{
    struct vr_known_hosts **known = lua_newuserdatauv(L, sizeof(struct vr_known_hosts *), 0);
    *known = NULL;
    luaL_setmetatable(L, KNOWN);
    return known;
}

static void get_host_keys(lua_State *L, int index, struct vr_ssh_options *o)
{
    if (lua_getfield(L, index, "host_keys") == LUA_TNIL)
        return;
    struct vr_known_hosts **given = luaL_testudata(L, -1, KNOWN);
    if (given) {
        o->known = *given;
        return;
    }
    if (lua_type(L, -1) != LUA_TTABLE)
        luaL_error(L, "'host_keys' must be a list of lines, got %s", luaL_typename(L, -1));
    int list = lua_gettop(L);
    lua_Integer count = luaL_len(L, list);
    const char **lines = lua_newuserdatauv(L, sizeof(char *) * (size_t)(count + 1), 0);
    luaL_checkstack(L, (int)count + 8, "too many host keys");
    for (lua_Integer i = 1; i <= count; i++) {
        if (lua_geti(L, list, i) != LUA_TSTRING)
            luaL_error(L, "'host_keys' must be a list of lines, got %s", luaL_typename(L, -1));
        lines[i - 1] = lua_tostring(L, -1);
    }
    struct vr_known_hosts **known = new_known(L);
    o->known = *known = vr_known_hosts_new(lines, (size_t)count);
}

static struct vr_ssh_key **new_key(lua_State *L)
{
    struct vr_ssh_key **key = lua_newuserdatauv(L, sizeof(struct vr_ssh_key *), 0);
    *key = NULL;
    luaL_setmetatable(L, KEY);
    return key;
}

static void get_identity(lua_State *L, struct vr_ssh_identity *out)
{
    struct vr_ssh_key **key = luaL_testudata(L, -1, KEY);
    if (key) {
        out->key = *key;
        return;
    }
    if (!lua_istable(L, -1))
        luaL_error(L, "an identity is a key or a table, got %s", luaL_typename(L, -1));
    int at = lua_gettop(L);
    out->blob = opt_text(L, at, "blob", &out->blob_length);
    out->name = opt_text(L, at, "name", NULL);
    if (!out->blob || !out->name)
        luaL_error(L, "an identity has a blob and a name");
}

/* `identities`, or the one key of `key` (a text or an object). False: err says why it is none. */
static bool get_identities(lua_State *L, int index, struct vr_ssh_options *o, struct vr_error *err)
{
    size_t length = 0;
    if (lua_getfield(L, index, "identities") == LUA_TTABLE) {
        int list = lua_gettop(L);
        lua_Integer count = luaL_len(L, list);
        struct vr_ssh_identity *all = lua_newuserdatauv(L, sizeof(*all) * (size_t)(count + 1), 0);
        luaL_checkstack(L, (int)count * 3 + 8, "too many identities");
        for (lua_Integer i = 0; i < count; i++) {
            lua_geti(L, list, i + 1);
            all[i] = (struct vr_ssh_identity){0};
            get_identity(L, &all[i]);
        }
        o->identities = all;
        o->identity_count = (size_t)count;
        return true;
    }
    struct vr_ssh_identity *one = lua_newuserdatauv(L, sizeof(*one), 0);
    *one = (struct vr_ssh_identity){0};
    o->identities = one;
    lua_getfield(L, index, "key");
    struct vr_ssh_key **given = luaL_testudata(L, -1, KEY);
    if (given) {
        one->key = *given;
    } else if (!lua_isnil(L, -1)) {
        const char *text = opt_text(L, index, "key", &length);
        struct vr_ssh_key **key = new_key(L);
        one->key = *key = vr_ssh_key_new(text, length, NULL, err);
        if (!*key)
            return false;
    }
    o->identity_count = one->key != NULL;
    return true;
}

/* "addr:port" or "[addr]:port". */
static void get_address(lua_State *L, int index, struct vr_ssh_options *o)
{
    const char *text = opt_text(L, index, "connect_to", NULL);
    if (!text)
        return;
    const char *colon = strrchr(text, ':');
    char *end = NULL;
    long port = colon ? strtol(colon + 1, &end, 10) : 0;
    if (!colon || colon == text || end == colon + 1 || *end || port < 1 || port > 65535)
        luaL_error(L, "'connect_to' must be address:port, got '%s'", text);
    bool brackets = text[0] == '[' && colon[-1] == ']';
    o->address = lua_pushlstring(L, text + brackets, (size_t)(colon - text) - 2 * brackets);
    o->address_port = (int)port;
}

/* The texts stay on the stack. */
static void get_options(lua_State *L, int index, struct vr_ssh_options *o)
{
    luaL_checktype(L, index, LUA_TTABLE);
    luaL_checkstack(L, 32, NULL);
    o->host = opt_text(L, index, "host", NULL);
    o->user = opt_text(L, index, "user", NULL);
    o->known_as = opt_text(L, index, "known_as", NULL);
    o->scan = opt_text(L, index, "scan", NULL);
    o->port = (int)opt_number(L, index, "port");
    o->timeout = opt_number(L, index, "timeout");
    o->keepalive = opt_number(L, index, "keepalive");
    get_address(L, index, o);
    get_host_keys(L, index, o);
    if (lua_getfield(L, index, "via") != LUA_TNIL) {
        struct session *via = luaL_testudata(L, -1, SESSION);
        if (!via)
            luaL_error(L, "'via' must be a connection, got %s", luaL_typename(L, -1));
        o->via = via->ssh;
    }
}

/* --- sessions --- */

static struct session *check_session(lua_State *L)
{
    return luaL_checkudata(L, 1, SESSION);
}

static void session_changed(void *payload)
{
    struct session *s = payload;
    vr_wait_wake_all(&s->waiters);
}

/* connect(options) -> session, not ready yet. */
static int core_connect(lua_State *L)
{
    struct vr_ssh_options options = {0};
    struct vr_error err = {0};
    get_options(L, 1, &options);
    if (!options.scan && !get_identities(L, 1, &options, &err))
        return push_failure(L, &err);
    struct session *s = lua_newuserdatauv(L, sizeof(*s), 1);
    *s = (struct session){0};
    luaL_setmetatable(L, SESSION);
    lua_getfield(L, 1, "via");
    lua_setiuservalue(L, -2, 1);
    s->ssh = vr_ssh_connect(vr_script_loop(L), &options, session_changed, s, &err);
    return s->ssh ? 1 : push_failure(L, &err);
}

/* limit(handshakes [, at an address]) */
static int core_limit(lua_State *L)
{
    lua_Integer limit = luaL_checkinteger(L, 1), at_address = luaL_optinteger(L, 2, 0);
    luaL_argcheck(L, limit > 0 && limit < 1000000, 1, "at least 1");
    luaL_argcheck(L, at_address >= 0 && at_address < 1000000, 2, "at least 1");
    vr_ssh_limit((unsigned)limit, (unsigned)at_address);
    return 0;
}

static int ready_finish(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    struct session *s = check_session(L);
    size_t identity = 0, length = 0;
    const void *wanted = vr_ssh_wanted(s->ssh, &identity, &length);
    if (wanted) {
        lua_pushliteral(L, "sign");
        lua_pushinteger(L, (lua_Integer)identity + 1);
        lua_pushlstring(L, wanted, length);
        return 3;
    }
    switch (vr_ssh_state(s->ssh)) {
    case VR_SSH_READY:
        lua_pushboolean(L, true);
        return 1;
    case VR_SSH_LOST:
        return push_error(L, vr_ssh_error(s->ssh));
    default:
        return vr_wait_again(L, &s->waiters, ready_finish, 0);
    }
}

/* session:ready() waits for the login: true, or nil, message, code, hint; or "sign", the number of
 * an identity and data that session:sign(signature) is to answer. */
static int session_ready(lua_State *L)
{
    struct session *s = check_session(L);
    if (vr_ssh_state(s->ssh) != VR_SSH_CONNECTING)
        return ready_finish(L, LUA_OK, 0);
    return vr_wait(L, &s->waiters, -1, ready_finish, 0);
}

/* session:sign(signature), or session:sign(nil [, why there is none]) */
static int session_sign(lua_State *L)
{
    size_t length = 0;
    const char *signature = luaL_optlstring(L, 2, NULL, &length);
    if (signature)
        vr_ssh_sign(check_session(L)->ssh, signature, length);
    else
        vr_ssh_refuse(check_session(L)->ssh, luaL_optstring(L, 3, "no signature was given"));
    return 0;
}

static int session_host_key(lua_State *L)
{
    lua_pushstring(L, vr_ssh_host_key(check_session(L)->ssh));
    return 1;
}

static int session_host_key_types(lua_State *L)
{
    lua_pushstring(L, vr_ssh_host_key_types(check_session(L)->ssh));
    return 1;
}

static int session_label(lua_State *L)
{
    lua_pushstring(L, vr_ssh_label(check_session(L)->ssh));
    return 1;
}

/* session:closed() -> true and why, once it is lost or closed. */
static int session_closed(lua_State *L)
{
    struct session *s = check_session(L);
    bool lost = vr_ssh_state(s->ssh) == VR_SSH_LOST;
    lua_pushboolean(L, lost);
    lua_pushstring(L, lost ? vr_ssh_error(s->ssh)->message : NULL);
    return 2;
}

static int session_close(lua_State *L)
{
    struct session *s = check_session(L);
    if (s->ssh)
        vr_ssh_close(s->ssh);
    vr_wait_wake_all(&s->waiters);
    return 0;
}

static int session_gc(lua_State *L)
{
    struct session *s = check_session(L);
    vr_ssh_free(s->ssh);
    s->ssh = NULL;
    return 0;
}

static int session_tostring(lua_State *L)
{
    struct session *s = check_session(L);
    lua_pushfstring(L, "ssh connection (%s)", s->ssh ? vr_ssh_label(s->ssh) : "closed");
    return 1;
}

/* --- channels --- */

static struct vr_ssh_channel *check_channel(lua_State *L, struct channel **out)
{
    struct channel *c = luaL_checkudata(L, 1, CHANNEL);
    *out = c;
    return c->channel;
}

static int push_closed(lua_State *L)
{
    struct vr_error err = {0};
    vr_error_set(&err, "closed", "the channel was closed");
    return vr_script_fail(L, &err);
}

static void channel_changed(void *payload)
{
    struct channel *c = payload;
    vr_wait_wake_all(&c->waiters);
}

static struct channel *new_channel(lua_State *L)
{
    struct channel *c = lua_newuserdatauv(L, sizeof(*c), 1);
    *c = (struct channel){0};
    luaL_setmetatable(L, CHANNEL);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    return c;
}

static int field_int(lua_State *L, int index, const char *name)
{
    lua_Number n = opt_number(L, index, name);
    return n > 0 && n < 10000 ? (int)n : 0;
}

/* session:start(command [, pty]) -> channel, not open yet; command nil: the user's shell; pty: true
 * or {term=, cols=, rows=}. */
static int session_start(lua_State *L)
{
    struct session *s = check_session(L);
    const char *command = luaL_optstring(L, 2, NULL);
    struct vr_ssh_pty pty = {0};
    if (lua_istable(L, 3)) {
        pty.term = opt_text(L, 3, "term", NULL);
        pty.columns = field_int(L, 3, "cols");
        pty.rows = field_int(L, 3, "rows");
    }
    bool wanted = lua_toboolean(L, 3);
    struct channel *c = new_channel(L);
    c->channel = vr_ssh_exec(s->ssh, command, wanted ? &pty : NULL, channel_changed, c);
    return 1;
}

/* session:start_forward(host, port) -> channel, not open yet. */
static int session_start_forward(lua_State *L)
{
    struct session *s = check_session(L);
    const char *host = luaL_checkstring(L, 2);
    lua_Integer port = luaL_checkinteger(L, 3);
    luaL_argcheck(L, port > 0 && port < 65536, 3, "not a port");
    struct channel *c = new_channel(L);
    c->channel = vr_ssh_forward(s->ssh, host, (int)port, channel_changed, c);
    return 1;
}

/* Parks until something of the channel changes, and calls finish again; timeout: where on the stack
 * the call has it. late: what is said when that has passed. */
static int await_change(lua_State *L, int status, struct channel *c, int timeout, const char *late,
                        lua_KFunction finish, lua_KContext ctx)
{
    if (status != LUA_YIELD)
        return vr_wait(L, &c->waiters, vr_wait_opt_timeout(L, timeout), finish, ctx);
    if (vr_wait_timed_out(L))
        return push_timeout(L, late);
    return vr_wait_again(L, &c->waiters, finish, ctx);
}

static int opened_finish(lua_State *L, int status, lua_KContext ctx)
{
    struct channel *c;
    struct vr_ssh_channel *channel = check_channel(L, &c);
    if (!channel)
        return push_closed(L);
    switch (vr_ssh_channel_state(channel)) {
    case VR_SSH_BROKEN:
        return push_error(L, vr_ssh_channel_error(channel));
    case VR_SSH_OPENING:
        return await_change(L, status, c, 2, "the channel was not opened", opened_finish, ctx);
    default:
        lua_pushboolean(L, true);
        return 1;
    }
}

/* channel:ready([timeout]) waits until it is open: true or nil, message, code. */
static int channel_ready(lua_State *L)
{
    lua_settop(L, 2);
    return opened_finish(L, LUA_OK, 0);
}

static bool push_chunk(lua_State *L, struct vr_ssh_channel *channel, int stream)
{
    size_t length = 0;
    const char *data = vr_ssh_channel_peek(channel, stream, &length);
    if (length == 0)
        return false;
    lua_pushlstring(L, data, length);
    vr_ssh_channel_take(channel, stream, length);
    return true;
}

/* The end of reading, or the wait for more. */
static int no_chunk(lua_State *L, int status, struct channel *c, lua_KFunction again,
                    lua_KContext ctx)
{
    if (vr_ssh_channel_state(c->channel) == VR_SSH_BROKEN)
        return push_error(L, vr_ssh_channel_error(c->channel));
    if (vr_ssh_channel_at_end(c->channel)) {
        lua_pushnil(L);
        return 1;
    }
    return await_change(L, status, c, 2, "nothing was received", again, ctx);
}

static int read_finish(lua_State *L, int status, lua_KContext stream)
{
    struct channel *c;
    if (!check_channel(L, &c))
        return push_closed(L);
    if (push_chunk(L, c->channel, (int)stream))
        return 1;
    return no_chunk(L, status, c, read_finish, stream);
}

/* channel:read([timeout]) -> what has come on stdout, nil at its end. */
static int channel_read(lua_State *L)
{
    lua_settop(L, 2);
    return read_finish(L, LUA_OK, 0);
}

static int channel_read_error(lua_State *L)
{
    lua_settop(L, 2);
    return read_finish(L, LUA_OK, 1);
}

static int next_finish(lua_State *L, int status, lua_KContext ctx)
{
    struct channel *c;
    if (!check_channel(L, &c))
        return push_closed(L);
    for (int stream = 0; stream < 2; stream++) {
        if (!push_chunk(L, c->channel, stream))
            continue;
        lua_pushstring(L, stream ? "stderr" : "stdout");
        lua_insert(L, -2);
        return 2;
    }
    return no_chunk(L, status, c, next_finish, ctx);
}

/* channel:next([timeout]) -> "stdout" or "stderr" and what has come there, nil at the end of both.
 */
static int channel_next(lua_State *L)
{
    lua_settop(L, 2);
    return next_finish(L, LUA_OK, 0);
}

static int push_not_written(lua_State *L, struct vr_ssh_channel *channel)
{
    if (vr_ssh_channel_state(channel) == VR_SSH_BROKEN)
        return push_error(L, vr_ssh_channel_error(channel));
    struct vr_error err = {0};
    vr_error_set(&err, "closed", "nobody reads what is written: the other side has ended");
    return vr_script_fail(L, &err);
}

static int write_finish(lua_State *L, int status, lua_KContext ctx)
{
    struct channel *c;
    struct vr_ssh_channel *channel = check_channel(L, &c);
    if (!channel)
        return push_closed(L);
    if (vr_ssh_channel_state(channel) >= VR_SSH_FINISHED)
        return push_not_written(L, channel);
    if (vr_ssh_channel_unsent(channel) <= UNSENT_LIMIT) {
        lua_pushboolean(L, true);
        return 1;
    }
    return await_change(L, status, c, 3, "the other side did not take what was written",
                        write_finish, ctx);
}

/* channel:write(text [, timeout [, from, to]]), the positions without a copy of the part, waits
 * while too much is queued: true or nil, message, code. */
static int channel_write(lua_State *L)
{
    struct channel *c;
    size_t length = 0;
    lua_settop(L, 5);
    const char *data = luaL_checklstring(L, 2, &length);
    lua_Integer from = luaL_optinteger(L, 4, 1), to = luaL_optinteger(L, 5, (lua_Integer)length);
    luaL_argcheck(L, from >= 1, 4, "counts from 1");
    if (to > (lua_Integer)length)
        to = (lua_Integer)length;
    struct vr_ssh_channel *channel = check_channel(L, &c);
    if (!channel)
        return push_closed(L);
    if (!vr_ssh_channel_write(channel, data + from - 1, to >= from ? (size_t)(to - from + 1) : 0))
        return push_not_written(L, channel);
    return write_finish(L, LUA_OK, 0);
}

/* channel:queue(text) -> whether it will be sent; never waits. */
static int channel_queue(lua_State *L)
{
    struct channel *c;
    size_t length = 0;
    const char *data = luaL_checklstring(L, 2, &length);
    struct vr_ssh_channel *channel = check_channel(L, &c);
    lua_pushboolean(L, channel && vr_ssh_channel_write(channel, data, length));
    return 1;
}

static int channel_eof(lua_State *L)
{
    struct channel *c;
    struct vr_ssh_channel *channel = check_channel(L, &c);
    if (channel)
        vr_ssh_channel_eof(channel);
    return 0;
}

static int wait_finish(lua_State *L, int status, lua_KContext ctx)
{
    struct channel *c;
    struct vr_ssh_channel *channel = check_channel(L, &c);
    if (!channel)
        return push_closed(L);
    switch (vr_ssh_channel_state(channel)) {
    case VR_SSH_BROKEN:
        return push_error(L, vr_ssh_channel_error(channel));
    case VR_SSH_FINISHED: {
        const char *signal = vr_ssh_channel_exit_signal(channel);
        lua_pushinteger(L, signal ? -1 : vr_ssh_channel_exit_code(channel));
        lua_pushstring(L, signal);
        return 2;
    }
    default:
        return await_change(L, status, c, 2, "the command did not end", wait_finish, ctx);
    }
}

/* channel:wait([timeout]) -> exit code and nil, or -1 and the signal; or nil, message, code. Read
 * first: a command whose output nobody takes does not end. */
static int channel_wait(lua_State *L)
{
    lua_settop(L, 2);
    return wait_finish(L, LUA_OK, 0);
}

static int channel_resize(lua_State *L)
{
    struct channel *c;
    lua_Integer columns = luaL_checkinteger(L, 2), rows = luaL_checkinteger(L, 3);
    luaL_argcheck(L, columns > 0 && columns < 10000, 2, "not a width");
    luaL_argcheck(L, rows > 0 && rows < 10000, 3, "not a height");
    struct vr_ssh_channel *channel = check_channel(L, &c);
    if (channel)
        vr_ssh_channel_resize(channel, (int)columns, (int)rows);
    return 0;
}

static int channel_close(lua_State *L)
{
    struct channel *c;
    vr_ssh_channel_free(check_channel(L, &c));
    c->channel = NULL;
    vr_wait_wake_all(&c->waiters);
    return 0;
}

/* --- keys --- */

struct reading {
    struct vr_work work;
    char *text, *passphrase;
    size_t length;
    struct vr_ssh_key *key;
};

static void read_key(struct vr_work *work)
{
    struct reading *reading = (struct reading *)work;
    reading->key =
        vr_ssh_key_new(reading->text, reading->length, reading->passphrase, &work->error);
}

static void free_reading(struct vr_work *work)
{
    struct reading *reading = (struct reading *)work;
    vr_secret_free(reading->text);
    vr_secret_free(reading->passphrase);
    vr_ssh_key_free(reading->key);
    free(reading);
}

static int key_read(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    struct reading *reading = (struct reading *)vr_work_of(L);
    if (!reading->key)
        return push_error(L, &reading->work.error);
    struct vr_ssh_key **key = new_key(L);
    *key = reading->key;
    reading->key = NULL;
    return 1;
}

/* key(text [, passphrase]) -> a key; or nil, message, code ("passphrase": missing or wrong;
 * "auth"), hint. Off the loop: a passphrase takes long. */
static int core_key(lua_State *L)
{
    size_t length = 0;
    const char *text = luaL_checklstring(L, 1, &length), *passphrase = luaL_optstring(L, 2, NULL);
    struct reading *reading = vr_alloc(sizeof(*reading));
    *reading = (struct reading){
        .work = {.run = read_key, .free = free_reading},
        .text = vr_strndup(text, length),
        .length = length,
        .passphrase = vr_strdup(passphrase),
    };
    return vr_work(L, &reading->work, key_read);
}

static struct vr_ssh_key *check_key(lua_State *L)
{
    return *(struct vr_ssh_key **)luaL_checkudata(L, 1, KEY);
}

/* key:blob() -> the public half, as it is on the wire. */
static int key_blob(lua_State *L)
{
    size_t length = 0;
    const unsigned char *blob = vr_ssh_key_blob(check_key(L), &length);
    lua_pushlstring(L, (const char *)blob, length);
    return 1;
}

/* key:name() -> "ssh-ed25519 SHA256:..." */
static int key_name(lua_State *L)
{
    lua_pushstring(L, vr_ssh_key_name(check_key(L)));
    return 1;
}

/* key:sign(data [, algorithm]) -> the bare signature and its algorithm; nil: it cannot. */
static int key_sign(lua_State *L)
{
    const struct vr_ssh_key *key = check_key(L);
    size_t length = 0, size = 0;
    const char *data = luaL_checklstring(L, 2, &length);
    const char *algorithm = luaL_optstring(L, 3, vr_ssh_key_algorithm(vr_ssh_key_type(key)));
    unsigned char *signature = NULL;
    if (!vr_ssh_key_sign(key, algorithm, data, length, &signature, &size))
        return 0;
    lua_pushlstring(L, (const char *)signature, size);
    free(signature);
    lua_pushstring(L, algorithm);
    return 2;
}

static int key_gc(lua_State *L)
{
    struct vr_ssh_key **key = luaL_checkudata(L, 1, KEY);
    vr_ssh_key_free(*key);
    *key = NULL;
    return 0;
}

/* key_name(blob) -> "ssh-ed25519 SHA256:..."; nil: it is no public key. */
static int core_key_name(lua_State *L)
{
    size_t length = 0;
    const char *blob = luaL_checklstring(L, 1, &length);
    char *line = vr_host_key_line(blob, length);
    if (!line)
        return 0;
    char *fingerprint = vr_host_key_fingerprint(blob, length);
    line[strcspn(line, " ")] = '\0';
    lua_pushfstring(L, "%s %s", line, fingerprint);
    free(fingerprint);
    free(line);
    return 1;
}

/* --- known hosts --- */

/* known_hosts{{name, text}, ...} -> the lines of these files, for `host_keys`; and how many. */
static int core_known_hosts(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_Integer count = luaL_len(L, 1);
    struct vr_known_hosts **known = new_known(L);
    *known = vr_known_hosts_new(NULL, 0);
    for (lua_Integer i = 1; i <= count; i++) {
        lua_geti(L, 1, i);
        luaL_checktype(L, -1, LUA_TTABLE);
        lua_geti(L, -1, 1);
        lua_geti(L, -2, 2);
        vr_known_hosts_add_file(*known, luaL_checkstring(L, -2), luaL_checkstring(L, -1));
        lua_pop(L, 3);
    }
    lua_pushinteger(L, (lua_Integer)vr_known_hosts_count(*known));
    return 2;
}

static int known_gc(lua_State *L)
{
    struct vr_known_hosts **known = luaL_checkudata(L, 1, KNOWN);
    vr_known_hosts_free(*known);
    *known = NULL;
    return 0;
}

/* --- tables --- */

static const luaL_Reg core[] = {
    {"connect", core_connect},
    {"limit", core_limit},
    {"key", core_key},
    {"key_name", core_key_name},
    {"known_hosts", core_known_hosts},
    {NULL, NULL},
};

static const luaL_Reg key_methods[] = {
    {"blob", key_blob},
    {"name", key_name},
    {"sign", key_sign},
    {NULL, NULL},
};

static const luaL_Reg key_meta[] = {
    {"__gc", key_gc},
    {NULL, NULL},
};

static const luaL_Reg known_meta[] = {
    {"__gc", known_gc},
    {NULL, NULL},
};

static const luaL_Reg no_methods[] = {
    {NULL, NULL},
};

static const luaL_Reg session_methods[] = {
    {"ready", session_ready},       {"sign", session_sign},
    {"start", session_start},       {"start_forward", session_start_forward},
    {"host_key", session_host_key}, {"host_key_types", session_host_key_types},
    {"label", session_label},       {"closed", session_closed},
    {"close", session_close},       {NULL, NULL},
};

static const luaL_Reg session_meta[] = {
    {"__gc", session_gc},
    {"__close", session_close},
    {"__tostring", session_tostring},
    {NULL, NULL},
};

static const luaL_Reg channel_methods[] = {
    {"ready", channel_ready},   {"read", channel_read},    {"read_error", channel_read_error},
    {"next", channel_next},     {"write", channel_write},  {"queue", channel_queue},
    {"eof", channel_eof},       {"shutdown", channel_eof}, {"wait", channel_wait},
    {"resize", channel_resize}, {"close", channel_close},  {NULL, NULL},
};

static const luaL_Reg channel_meta[] = {
    {"__gc", channel_close},
    {"__close", channel_close},
    {NULL, NULL},
};

/* Leaves the table of methods on the stack, for Lua's half to add to. */
static void make_type(lua_State *L, const char *name, const luaL_Reg *methods, const luaL_Reg *meta)
{
    luaL_newmetatable(L, name);
    luaL_setfuncs(L, meta, 0);
    lua_newtable(L);
    luaL_setfuncs(L, methods, 0);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, "__index");
    lua_remove(L, -2);
}

int luaopen_vr_ssh_core(lua_State *L);

int luaopen_vr_ssh_core(lua_State *L)
{
    luaL_newlib(L, core);
    make_type(L, SESSION, session_methods, session_meta);
    lua_setfield(L, -2, "session");
    make_type(L, CHANNEL, channel_methods, channel_meta);
    lua_setfield(L, -2, "channel");
    make_type(L, KEY, key_methods, key_meta);
    make_type(L, KNOWN, no_methods, known_meta);
    lua_pop(L, 2);
    return 1;
}
