/* require "terminal": the terminal that vmrun was started on, and what comes on its standard input.
 */
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/error.h"
#include "net/loop.h"
#include "net/stream.h"
#include "script/stream.h"
#include "script/terminal.h"
#include "script/value.h"
#include "script/wait.h"

#define TERMINAL "vr.terminal"

int luaopen_vr_terminal(lua_State *L);

struct terminal {
    struct vr_signal *signal; /* a window that changes its size; NULL: closed */
    struct vr_waiters waiters;
    unsigned changes, seen; /* of the size */
    bool raw;
    struct termios before;
};

/* What a raw terminal was before: put back even if the process ends without unwinding. */
static struct termios at_start;
static bool is_raw;

bool vr_terminal_taken(void)
{
    return is_raw;
}

static void restore_at_exit(void)
{
    if (is_raw)
        tcsetattr(STDIN_FILENO, TCSADRAIN, &at_start);
}

static struct terminal *check(lua_State *L)
{
    return luaL_checkudata(L, 1, TERMINAL);
}

static void resized(void *payload, int number)
{
    struct terminal *terminal = payload;
    (void)number;
    terminal->changes++;
    vr_wait_wake_all(&terminal->waiters);
}

/*** The terminal of this process.
 * @function open
 * @return the terminal; nil if standard input or output is none */
static int terminal_open(lua_State *L)
{
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
        return 0;
    struct terminal *terminal = lua_newuserdatauv(L, sizeof(*terminal), 0);
    *terminal = (struct terminal){0};
    luaL_setmetatable(L, TERMINAL);
    terminal->signal = vr_signal_start(vr_script_loop(L), SIGWINCH, resized, terminal);
    return 1;
}

/*** Passes every key on as it is: no echo, no lines, no signals.
 * @function t:raw
 * @return true, or nil, message, code */
static int terminal_raw(lua_State *L)
{
    struct terminal *terminal = check(L);
    struct termios raw;
    if (!terminal->raw) {
        static bool registered;
        if (tcgetattr(STDIN_FILENO, &terminal->before) != 0)
            goto failed;
        if (!registered)
            atexit(restore_at_exit);
        registered = true;
        at_start = terminal->before;
    }
    raw = terminal->before;
    cfmakeraw(&raw);
    if (tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) != 0)
        goto failed;
    terminal->raw = is_raw = true;
    lua_pushboolean(L, true);
    return 1;
failed:;
    struct vr_error err = {0};
    vr_error_system(&err, errno, "cannot change the terminal");
    return vr_script_fail(L, &err);
}

/*** Makes it what it was before raw().
 * @function t:restore */
static int terminal_restore(lua_State *L)
{
    struct terminal *terminal = check(L);
    if (terminal->raw) {
        tcsetattr(STDIN_FILENO, TCSADRAIN, &terminal->before);
        terminal->raw = is_raw = false;
    }
    return 0;
}

static int push_size(lua_State *L)
{
    struct winsize size;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0)
        return 0;
    lua_pushinteger(L, size.ws_col);
    lua_pushinteger(L, size.ws_row);
    return 2;
}

/*** Its size.
 * @function t:size
 * @return columns and rows; nothing if it does not say */
static int terminal_size(lua_State *L)
{
    check(L);
    return push_size(L);
}

static int resized_finish(lua_State *L, int status, lua_KContext ctx)
{
    (void)ctx;
    struct terminal *terminal = check(L);
    if (terminal->signal && terminal->seen == terminal->changes) {
        return status == LUA_YIELD
                   ? vr_wait_again(L, &terminal->waiters, resized_finish, 0)
                   : vr_wait(L, &terminal->waiters, vr_wait_opt_timeout(L, 2), resized_finish, 0);
    }
    terminal->seen = terminal->changes;
    return push_size(L);
}

/*** Waits until its size changes.
 * @function t:resized
 * @return columns and rows */
static int terminal_resized(lua_State *L)
{
    lua_settop(L, 1);
    return resized_finish(L, LUA_OK, 0);
}

static int terminal_close(lua_State *L)
{
    struct terminal *terminal = check(L);
    terminal_restore(L);
    vr_signal_stop(terminal->signal);
    terminal->signal = NULL;
    vr_wait_wake_all(&terminal->waiters);
    return 0;
}

/* What cannot be waited for (a file, /dev/null) is there already. */
static int push_all(lua_State *L, int fd)
{
    struct vr_buf text = {0};
    char chunk[65536];
    ssize_t got;
    while ((got = read(fd, chunk, sizeof(chunk))) > 0 || (got < 0 && errno == EINTR))
        if (got > 0)
            vr_buf_add(&text, chunk, (size_t)got);
    lua_pushlstring(L, text.data ? text.data : "", text.length);
    vr_buf_free(&text);
    return 1;
}

/*** What comes on standard input.
 * @function input
 * @return a stream to read; or, for a file, its text */
static int terminal_input(lua_State *L)
{
    struct stat st;
    if (fstat(STDIN_FILENO, &st) != 0 ||
        !(S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode) || isatty(STDIN_FILENO)))
        return push_all(L, STDIN_FILENO);
    /* Opened anew where that works: the stream makes its descriptor non-blocking, and whoever
     * shares ours must not see it. */
    int fd = open("/proc/self/fd/0", O_RDONLY | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
    struct vr_error err = {0};
    struct vr_stream *stream = fd < 0 ? NULL : vr_stream_open_pipe(vr_script_loop(L), fd, &err);
    if (!stream) {
        if (!err.message)
            vr_error_system(&err, errno, "cannot read standard input");
        return vr_script_fail(L, &err);
    }
    vr_script_push_stream(L, stream);
    return 1;
}

static const luaL_Reg functions[] = {
    {"open", terminal_open},
    {"input", terminal_input},
    {NULL, NULL},
};

static const luaL_Reg methods[] = {
    {"raw", terminal_raw},         {"restore", terminal_restore}, {"size", terminal_size},
    {"resized", terminal_resized}, {"close", terminal_close},     {NULL, NULL},
};

static const luaL_Reg meta[] = {
    {"__gc", terminal_close},
    {"__close", terminal_close},
    {NULL, NULL},
};

int luaopen_vr_terminal(lua_State *L)
{
    luaL_newmetatable(L, TERMINAL);
    luaL_setfuncs(L, meta, 0);
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    luaL_newlib(L, functions);
    return 1;
}
