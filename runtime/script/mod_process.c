/* require "process": child processes. Each is the leader of a group of its own, which a cancel or a
 * timeout kills. */
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <limits.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <uv.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/error.h"
#include "net/loop.h"
#include "net/process.h"
#include "net/stream.h"
#include "script/stream.h"
#include "script/task.h"
#include "script/value.h"
#include "script/wait.h"

#define PROCESS "vr.process"
#define RUN "vr.run"

int luaopen_vr_process(lua_State *L);
extern char **environ;

/* How long a grandchild may hold our pipes open after the child has ended. */
static const double LINGER = 1;
static const lua_Integer MAX_OUTPUT = 64 << 20;

/* --- options: texts stay anchored by the tables and arrays that are left on the stack --- */

static const char **push_array(lua_State *L, size_t count)
{
    const char **array = lua_newuserdatauv(L, (count + 1) * sizeof(*array), 0);
    array[count] = NULL;
    return array;
}

static const char *const *read_argv(lua_State *L)
{
    if (lua_getfield(L, 1, "argv") != LUA_TTABLE || lua_rawlen(L, -1) == 0)
        luaL_error(L, "process: argv is a list, the program first");
    int list = lua_gettop(L);
    size_t count = lua_rawlen(L, list);
    const char **argv = push_array(L, count);
    lua_createtable(L, (int)count, 0); /* numbers become texts in here */
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, list, (lua_Integer)i + 1);
        size_t length = 0;
        argv[i] = lua_tolstring(L, -1, &length);
        if (!argv[i] || strlen(argv[i]) != length)
            luaL_error(L, "process: argv[%d] is a %s", (int)i + 1,
                       argv[i] ? "text with a NUL byte" : luaL_typename(L, -1));
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return argv;
}

/* Pushes a table NAME -> "NAME=value" of our environment. */
static void push_environment(lua_State *L)
{
    lua_newtable(L);
    for (char **at = environ; at && *at; at++) {
        const char *equals = strchr(*at, '=');
        if (!equals)
            continue;
        lua_pushlstring(L, *at, (size_t)(equals - *at));
        lua_pushstring(L, *at);
        lua_rawset(L, -3);
    }
}

/* Our environment with the changes of `env`; NULL: ours. */
static const char *const *read_env(lua_State *L)
{
    if (lua_getfield(L, 1, "env") == LUA_TNIL)
        return NULL;
    luaL_checktype(L, -1, LUA_TTABLE);
    int changes = lua_gettop(L);
    if (lua_getfield(L, 1, "clear_env"), lua_toboolean(L, -1))
        lua_newtable(L);
    else
        push_environment(L);
    int all = lua_gettop(L);
    for (lua_pushnil(L); lua_next(L, changes); lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING)
            luaL_error(L, "process: the names of env are texts");
        lua_pushvalue(L, -2);
        if (lua_isboolean(L, -2) && !lua_toboolean(L, -2)) {
            lua_pushnil(L);
        } else {
            const char *value = luaL_tolstring(L, -2, NULL);
            lua_pushfstring(L, "%s=%s", lua_tostring(L, -2), value);
            lua_remove(L, -2);
        }
        lua_rawset(L, all);
    }
    size_t count = 0;
    for (lua_pushnil(L); lua_next(L, all); lua_pop(L, 1))
        count++;
    const char **env = push_array(L, count);
    size_t i = 0;
    for (lua_pushnil(L); lua_next(L, all); lua_pop(L, 1))
        env[i++] = lua_tostring(L, -1);
    return env;
}

static void read_stdio(lua_State *L, const char *name, struct vr_stdio *out,
                       enum vr_stdio_kind otherwise)
{
    lua_getfield(L, 1, name);
    const char *word = lua_tostring(L, -1);
    out->kind = otherwise;
    if (!word)
        return;
    if (strcmp(word, "pipe") == 0)
        out->kind = VR_STDIO_PIPE;
    else if (strcmp(word, "null") == 0)
        out->kind = VR_STDIO_NULL;
    else if (strcmp(word, "inherit") == 0)
        out->kind = VR_STDIO_INHERIT;
    else if (strchr(word, '/'))
        *out = (struct vr_stdio){.kind = VR_STDIO_FILE, .path = word};
    else
        luaL_error(L, "process: %s is pipe, null, inherit or a path with a /, not '%s'", name,
                   word);
}

static void read_options(lua_State *L, struct vr_process_options *options)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    options->argv = read_argv(L);
    options->env = read_env(L);
    lua_getfield(L, 1, "cwd");
    options->cwd = lua_tostring(L, -1);
    luaL_checkstack(L, 20, NULL);
}

/* --- spawn --- */

struct child {
    struct vr_process *process; /* NULL: closed */
    int pty;                    /* our side of its terminal; -1: it has none */
    struct vr_waiters waiters;
    bool ended;
    int pid, code, signal;
};

enum { STDIN_VALUE = 1, STDOUT_VALUE, STDERR_VALUE };

static void child_ended(void *payload, int code, int signal)
{
    struct child *child = payload;
    child->ended = true;
    child->code = code;
    child->signal = signal;
    vr_wait_wake_all(&child->waiters);
}

static void set_size(int pty, lua_Integer columns, lua_Integer rows)
{
    struct winsize size = {.ws_col = (unsigned short)columns, .ws_row = (unsigned short)rows};
    ioctl(pty, TIOCSWINSZ, &size);
}

static lua_Integer size_field(lua_State *L, const char *name, lua_Integer otherwise)
{
    lua_getfield(L, -1, name);
    lua_Integer n = luaL_optinteger(L, -1, otherwise);
    lua_pop(L, 1);
    return n;
}

/* A terminal for all three streams. False: no terminal. */
static bool open_pty(lua_State *L, struct child *child, int *inner, struct vr_error *err)
{
    lua_Integer columns = size_field(L, "cols", 80), rows = size_field(L, "rows", 24);
    if (openpty(&child->pty, inner, NULL, NULL, NULL) != 0) {
        child->pty = -1;
        return vr_error_system(err, errno, "cannot open a terminal");
    }
    fcntl(child->pty, F_SETFD, FD_CLOEXEC);
    fcntl(*inner, F_SETFD, FD_CLOEXEC);
    set_size(child->pty, columns, rows);
    return true;
}

/* Starts a program on a terminal of its own; the options of the terminal are on top. */
static int spawn_on_pty(lua_State *L, struct vr_process_options *options)
{
    struct child *child = lua_newuserdatauv(L, sizeof(*child), 3);
    *child = (struct child){.pty = -1};
    luaL_setmetatable(L, PROCESS);
    lua_insert(L, -2);
    struct vr_error err = {0};
    int inner = -1;
    if (!open_pty(L, child, &inner, &err))
        return vr_script_fail(L, &err);
    for (int i = 0; i < 3; i++)
        options->stdio[i] = (struct vr_stdio){.kind = VR_STDIO_FD, .fd = inner};
    child->process = vr_process_start(vr_script_loop(L), options, child_ended, child, &err);
    close(inner);
    if (!child->process)
        return vr_script_fail(L, &err);
    child->pid = vr_process_pid(child->process);
    struct vr_stream *stream =
        vr_stream_open_pipe(vr_script_loop(L), fcntl(child->pty, F_DUPFD_CLOEXEC, 3), &err);
    if (!stream)
        return vr_script_fail(L, &err);
    lua_pop(L, 1);
    vr_script_push_stream(L, stream);
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, -3, STDIN_VALUE);
    lua_setiuservalue(L, -2, STDOUT_VALUE);
    return 1;
}

/*** Starts a program.
 * @function spawn
 * @tparam table options argv; cwd; env (changes to ours; false removes; clear_env: only these);
 * stdin, stdout, stderr: "pipe" (the default), "null" (the default when detached), "inherit" or a
 * path; detached: outlives us; pty: {cols=, rows=}: a terminal for all three, whose end is an error
 * of code "io"
 * @return the process; or nil, message, code */
static int process_spawn(lua_State *L)
{
    struct vr_process_options options = {0};
    read_options(L, &options);
    if (lua_getfield(L, 1, "pty") == LUA_TTABLE)
        return spawn_on_pty(L, &options);
    luaL_argcheck(L, !lua_toboolean(L, -1), 1, "pty wants a table");
    lua_getfield(L, 1, "detached");
    options.detached = lua_toboolean(L, -1);
    enum vr_stdio_kind otherwise = options.detached ? VR_STDIO_NULL : VR_STDIO_PIPE;
    read_stdio(L, "stdin", &options.stdio[0], otherwise);
    read_stdio(L, "stdout", &options.stdio[1], otherwise);
    read_stdio(L, "stderr", &options.stdio[2], otherwise);
    struct child *child = lua_newuserdatauv(L, sizeof(*child), 3);
    *child = (struct child){.pty = -1};
    luaL_setmetatable(L, PROCESS);
    struct vr_error err = {0};
    child->process = vr_process_start(vr_script_loop(L), &options, child_ended, child, &err);
    if (!child->process)
        return vr_script_fail(L, &err);
    child->pid = vr_process_pid(child->process);
    for (int i = 0; i < 3; i++) {
        struct vr_stream *stream = vr_process_take_stream(child->process, i);
        if (!stream)
            continue;
        vr_script_push_stream(L, stream);
        lua_setiuservalue(L, -2, STDIN_VALUE + i);
    }
    return 1;
}

static struct child *check_child(lua_State *L)
{
    return luaL_checkudata(L, 1, PROCESS);
}

/* Puts the pipe in the place of the process: the stream's own function does the rest. */
static void to_pipe(lua_State *L, int value, const char *name)
{
    check_child(L);
    if (lua_getiuservalue(L, 1, value) != LUA_TUSERDATA)
        luaL_error(L, "the process was not started with a pipe for its %s", name);
    lua_replace(L, 1);
}

/*** Writes to its stdin.
 * @function p:write */
static int child_write(lua_State *L)
{
    to_pipe(L, STDIN_VALUE, "stdin");
    return vr_script_stream_write(L);
}

/*** Ends its stdin.
 * @function p:close_stdin */
static int child_close_stdin(lua_State *L)
{
    to_pipe(L, STDIN_VALUE, "stdin");
    return vr_script_stream_shutdown(L);
}

/*** What came on its stdout; nil at the end.
 * @function p:read
 * @tparam[opt] number timeout */
static int child_read(lua_State *L)
{
    to_pipe(L, STDOUT_VALUE, "stdout");
    return vr_script_stream_read(L);
}

/*** What came on its stderr; nil at the end.
 * @function p:read_error
 * @tparam[opt] number timeout */
static int child_read_error(lua_State *L)
{
    to_pipe(L, STDERR_VALUE, "stderr");
    return vr_script_stream_read(L);
}

static int push_exit(lua_State *L, struct child *child)
{
    lua_pushinteger(L, child->code);
    if (child->signal)
        lua_pushinteger(L, child->signal);
    else
        lua_pushnil(L);
    return 2;
}

static int waited(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    struct child *child = lua_touserdata(L, 1);
    if (child->ended)
        return push_exit(L, child);
    bool over = vr_wait_timed_out(L);
    lua_pushnil(L);
    if (over)
        lua_pushfstring(L, "process %d has not ended in time", child->pid);
    else
        lua_pushfstring(L, "process %d was closed", child->pid);
    lua_pushstring(L, over ? "timeout" : "closed");
    return 3;
}

/*** Waits for its end.
 * @function p:wait
 * @tparam[opt] number timeout
 * @return its exit code and nil, or -1 and the signal; or nil, message, "timeout" */
static int child_wait(lua_State *L)
{
    struct child *child = check_child(L);
    double timeout = vr_wait_opt_timeout(L, 2);
    lua_settop(L, 1);
    if (child->ended)
        return push_exit(L, child);
    luaL_argcheck(L, child->process, 1, "was closed");
    return vr_wait(L, &child->waiters, timeout, waited, 0);
}

/* A number or a name ("TERM", "SIGTERM"). */
static int check_signal(lua_State *L, int index)
{
    static const struct {
        const char *name;
        int number;
    } names[] = {{"TERM", SIGTERM}, {"KILL", SIGKILL},  {"INT", SIGINT},   {"HUP", SIGHUP},
                 {"QUIT", SIGQUIT}, {"STOP", SIGSTOP},  {"CONT", SIGCONT}, {"USR1", SIGUSR1},
                 {"USR2", SIGUSR2}, {"WINCH", SIGWINCH}};
    if (lua_isnoneornil(L, index))
        return SIGTERM;
    if (lua_isinteger(L, index))
        return (int)lua_tointeger(L, index);
    const char *name = luaL_checkstring(L, index);
    if (strncmp(name, "SIG", 3) == 0)
        name += 3;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(names[i].name, name) == 0)
            return names[i].number;
    }
    return luaL_argerror(L, index, "is not a signal");
}

/*** Signals its group.
 * @function p:kill
 * @tparam[opt="TERM"] string|integer signal
 * @return true; or nil, message, code */
static int child_kill(lua_State *L)
{
    struct child *child = check_child(L);
    int number = check_signal(L, 2);
    luaL_argcheck(L, child->process, 1, "was closed");
    struct vr_error err = {0};
    if (!vr_process_kill(child->process, number, &err))
        return vr_script_fail(L, &err);
    lua_pushboolean(L, true);
    return 1;
}

/*** Changes the size of its terminal.
 * @function p:resize
 * @tparam integer columns
 * @tparam integer rows */
static int child_resize(lua_State *L)
{
    struct child *child = check_child(L);
    lua_Integer columns = luaL_checkinteger(L, 2), rows = luaL_checkinteger(L, 3);
    if (child->pty >= 0) {
        set_size(child->pty, columns, rows);
        vr_process_kill(child->process, SIGWINCH, NULL);
    }
    return 0;
}

/*** Lets go of it: closes its pipes, and kills its group if it still runs and is not detached.
 * @function p:close */
static int child_close(lua_State *L)
{
    struct child *child = check_child(L);
    vr_process_free(child->process);
    child->process = NULL;
    if (child->pty >= 0)
        close(child->pty);
    child->pty = -1;
    vr_wait_wake_all(&child->waiters);
    for (int value = STDIN_VALUE; value <= STDERR_VALUE; value++) {
        lua_getiuservalue(L, 1, value);
        vr_script_stream_close(L, -1);
        lua_pop(L, 1);
    }
    return 0;
}

static int child_index(lua_State *L)
{
    struct child *child = check_child(L);
    if (lua_type(L, 2) == LUA_TSTRING && strcmp(lua_tostring(L, 2), "pid") == 0) {
        lua_pushinteger(L, child->pid);
        return 1;
    }
    lua_settop(L, 2);
    lua_rawget(L, lua_upvalueindex(1));
    return 1;
}

/* --- run --- */

struct run {
    struct vr_park park;
    struct vr_loop *loop;
    struct vr_process *process;
    struct vr_buf out[2];
    bool ended[2];     /* the pipes */
    bool exited, over; /* over: nothing is awaited any more */
    int code, signal;
    size_t limit;
    double timeout;
    struct vr_timer *timer, *linger;
    struct vr_error error;
};

/* Kills it if it still runs. */
static void run_end(struct run *run)
{
    run->over = true;
    vr_timer_cancel(run->timer);
    vr_timer_cancel(run->linger);
    run->timer = run->linger = NULL;
    vr_process_free(run->process);
    run->process = NULL;
}

static void run_cancel(struct vr_park *park)
{
    run_end((struct run *)park);
}

static int run_gc(lua_State *L)
{
    struct run *run = lua_touserdata(L, 1);
    run_end(run);
    vr_buf_free(&run->out[0]);
    vr_buf_free(&run->out[1]);
    vr_error_clear(&run->error);
    return 0;
}

static void run_finish(struct run *run)
{
    if (run->over)
        return;
    run_end(run);
    vr_task_wake(&run->park);
}

static void run_check(struct run *run)
{
    if (run->exited && run->ended[0] && run->ended[1])
        run_finish(run);
}

static void run_timeout(void *payload)
{
    struct run *run = payload;
    run->timer = NULL;
    vr_error_set(&run->error, "timeout", "not done within %g s", run->timeout);
    run_finish(run);
}

static void run_lingered(void *payload)
{
    struct run *run = payload;
    run->linger = NULL;
    run->ended[0] = run->ended[1] = true;
    run_check(run);
}

static void run_exited(void *payload, int code, int signal)
{
    struct run *run = payload;
    run->exited = true;
    run->code = code;
    run->signal = signal;
    run_check(run);
    if (!run->over)
        run->linger = vr_timer_start(run->loop, LINGER, run_lingered, run);
}

static void run_drain(struct run *run, int which)
{
    struct vr_stream *stream = vr_process_stream(run->process, which + 1);
    enum vr_stream_state state;
    do {
        state = vr_stream_take(stream, &run->out[which], NULL);
    } while (state == VR_STREAM_DATA && run->out[which].length <= run->limit);
    if (state == VR_STREAM_DATA) {
        vr_error_set(&run->error, "output", "more than %zu bytes of output", run->limit);
        run_finish(run);
    } else if (state != VR_STREAM_WAIT) {
        run->ended[which] = true;
        run_check(run);
    }
}

static void run_out_readable(void *payload)
{
    run_drain(payload, 0);
}

static void run_err_readable(void *payload)
{
    run_drain(payload, 1);
}

static int run_done(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    struct run *run = lua_touserdata(L, -1);
    if (run->error.message) {
        lua_getfield(L, 1, "argv");
        lua_rawgeti(L, -1, 1);
        lua_pushnil(L);
        lua_pushfstring(L, "%s: %s", lua_tostring(L, -2), run->error.message);
        lua_pushstring(L, run->error.code);
        return 3;
    }
    lua_createtable(L, 0, 4);
    lua_pushinteger(L, run->code);
    lua_setfield(L, -2, "code");
    if (run->signal) {
        lua_pushinteger(L, run->signal);
        lua_setfield(L, -2, "signal");
    }
    static const char *const names[] = {"stdout", "stderr"};
    for (int i = 0; i < 2; i++) {
        lua_pushlstring(L, run->out[i].data ? run->out[i].data : "", run->out[i].length);
        lua_setfield(L, -2, names[i]);
        vr_buf_free(&run->out[i]);
    }
    return 1;
}

/*** Runs a program to its end. One that leaves others behind which hold its output is waited for a
 * second longer.
 * @function run
 * @tparam table options argv, cwd, env, clear_env as in spawn; stdin: a text; timeout: seconds;
 * max_output: bytes of stdout or stderr (64 MiB)
 * @return {code=, signal=, stdout=, stderr=}; or nil, message, code ("not_found", "timeout",
 * "output", ...) */
static int process_run(lua_State *L)
{
    struct vr_process_options options = {
        .stdio = {{.kind = VR_STDIO_NULL}, {.kind = VR_STDIO_PIPE}, {.kind = VR_STDIO_PIPE}}};
    read_options(L, &options);
    lua_getfield(L, 1, "timeout");
    double timeout = lua_tonumber(L, -1);
    lua_getfield(L, 1, "max_output");
    lua_Integer limit = luaL_optinteger(L, -1, MAX_OUTPUT);
    size_t length = 0;
    lua_getfield(L, 1, "stdin");
    const char *input = lua_tolstring(L, -1, &length);
    if (input)
        options.stdio[0].kind = VR_STDIO_PIPE;
    struct run *run = lua_newuserdatauv(L, sizeof(*run), 0);
    *run = (struct run){.park.cancel = run_cancel,
                        .limit = (size_t)limit,
                        .timeout = timeout,
                        .loop = vr_script_loop(L)};
    luaL_setmetatable(L, RUN);
    struct vr_error err = {0};
    run->process = vr_process_start(run->loop, &options, run_exited, run, &err);
    if (!run->process)
        return vr_script_fail(L, &err);
    if (timeout > 0)
        run->timer = vr_timer_start(run->loop, timeout, run_timeout, run);
    if (input) { /* a program that does not read it has its reasons */
        vr_stream_write(vr_process_stream(run->process, 0), input, length, NULL);
        vr_stream_shutdown(vr_process_stream(run->process, 0), NULL);
    }
    vr_stream_watch(vr_process_stream(run->process, 1), run_out_readable, NULL, run);
    vr_stream_watch(vr_process_stream(run->process, 2), run_err_readable, NULL, run);
    run_drain(run, 0);
    if (!run->over)
        run_drain(run, 1);
    if (run->over)
        return run_done(L, LUA_OK, 0);
    return vr_task_park(L, &run->park, run_done, 0);
}

/* --- this process and others --- */

/*** The path of vmrun itself.
 * @function self */
static int process_self(lua_State *L)
{
    char path[PATH_MAX];
    size_t size = sizeof(path);
    if (uv_exepath(path, &size) != 0)
        return luaL_error(L, "cannot find the program's own path in /proc");
    lua_pushlstring(L, path, size);
    return 1;
}

static int process_pid(lua_State *L)
{
    lua_pushinteger(L, getpid());
    return 1;
}

/*** A variable of the environment; nil if it is not set.
 * @function env */
static int process_env(lua_State *L)
{
    lua_pushstring(L, getenv(luaL_checkstring(L, 1)));
    return 1;
}

/*** All variables of the environment, by name.
 * @function environ */
static int process_environ(lua_State *L)
{
    lua_newtable(L);
    for (char **at = environ; at && *at; at++) {
        const char *equals = strchr(*at, '=');
        if (!equals)
            continue;
        lua_pushlstring(L, *at, (size_t)(equals - *at));
        lua_pushstring(L, equals + 1);
        lua_rawset(L, -3);
    }
    return 1;
}

/* One that has ended, but that its parent has not asked after yet. */
static bool is_zombie(pid_t pid)
{
    char path[64], text[512] = "";
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    size_t length = fread(text, 1, sizeof(text) - 1, file);
    fclose(file);
    text[length] = '\0';
    const char *name_end = strrchr(text, ')'); /* a name may hold anything */
    return name_end && (strncmp(name_end, ") Z", 3) == 0 || strncmp(name_end, ") X", 3) == 0);
}

/*** Whether a process of that number runs.
 * @function alive */
static int process_alive(lua_State *L)
{
    pid_t pid = (pid_t)luaL_checkinteger(L, 1);
    lua_pushboolean(L, pid > 0 && (kill(pid, 0) == 0 || errno == EPERM) && !is_zombie(pid));
    return 1;
}

/*** Signals a process, or with a negative number a group.
 * @function kill
 * @tparam integer pid
 * @tparam[opt="TERM"] string|integer signal */
static int process_kill(lua_State *L)
{
    pid_t pid = (pid_t)luaL_checkinteger(L, 1);
    int number = check_signal(L, 2);
    luaL_argcheck(L, pid != 0 && pid != -1, 1, "is not one process or group");
    if (kill(pid, number) == 0) {
        lua_pushboolean(L, true);
        return 1;
    }
    struct vr_error err = {0};
    vr_error_system(&err, errno == ESRCH ? ENOENT : errno, "cannot signal process %d", (int)pid);
    return vr_script_fail(L, &err);
}

static void new_child_class(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"write", child_write},
        {"close_stdin", child_close_stdin},
        {"read", child_read},
        {"read_error", child_read_error},
        {"wait", child_wait},
        {"kill", child_kill},
        {"resize", child_resize},
        {"close", child_close},
        {NULL, NULL},
    };
    luaL_newmetatable(L, PROCESS);
    lua_newtable(L);
    luaL_setfuncs(L, methods, 0);
    lua_pushcclosure(L, child_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, child_close);
    lua_setfield(L, -2, "__gc");
    lua_pushcfunction(L, child_close);
    lua_setfield(L, -2, "__close");
    lua_pop(L, 1);
}

int luaopen_vr_process(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"run", process_run},     {"spawn", process_spawn}, {"self", process_self},
        {"pid", process_pid},     {"env", process_env},     {"environ", process_environ},
        {"alive", process_alive}, {"kill", process_kill},   {NULL, NULL},
    };
    new_child_class(L);
    luaL_newmetatable(L, RUN);
    lua_pushcfunction(L, run_gc);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
    luaL_newlib(L, functions);
    return 1;
}
