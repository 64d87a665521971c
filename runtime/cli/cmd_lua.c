/* vmrun lua FILE: what the emulator, tests and tools written in Lua run on. */
#include <lauxlib.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "cli/cli.h"
#include "net/loop.h"
#include "script/host.h"
#include "script/task.h"

/* How long tasks that the file left behind may take to unwind. */
static const double GRACE = 5;

struct lua_run {
    struct vr_loop *loop;
    struct vr_script *script;
    struct vr_task *task; /* the file's; NULL once it has ended */
    bool failed, interrupted;
    struct vr_error error;
};

static void ended(void *payload, lua_State *L, bool ok)
{
    struct lua_run *run = payload;
    run->task = NULL;
    run->failed = !ok;
    if (!ok)
        vr_script_error(L, -1, &run->error);
    vr_loop_stop(run->loop);
}

static void interrupted(void *payload, int number)
{
    struct lua_run *run = payload;
    if (run->interrupted || !run->task)
        _exit(VR_EXIT_ERROR); /* asked for twice: what still unwinds does not matter */
    run->interrupted = true;
    vr_task_cancel(run->task, number == SIGINT ? "interrupted" : "told to end");
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

/* Libraries beside the file are found by require. */
static void add_folder_of(lua_State *L, const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder =
        slash ? vr_strndup(path, slash == path ? 1 : (size_t)(slash - path)) : vr_strdup(".");
    vr_script_add_path(L, folder);
    free(folder);
}

static bool run_file(struct lua_run *run, int argc, char **argv)
{
    lua_State *L = vr_script_lua(run->script);
    set_arg(L, argc, argv);
    add_folder_of(L, argv[0]);
    if (!vr_script_load_file(L, argv[0], &run->error))
        return false;
    for (int i = 1; i < argc; i++)
        lua_pushstring(L, argv[i]);
    run->task = vr_task_start(L, argc - 1, ended, run);
    vr_loop_run(run->loop);
    if (run->task)
        return vr_error_set(&run->error, "deadlock", "%s waits for something that nobody will do",
                            argv[0]);
    return !run->failed;
}

int vr_cmd_lua(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: vmrun lua FILE [ARGUMENT ...]\n");
        return VR_EXIT_ERROR;
    }
    struct lua_run run = {.loop = vr_loop_new()};
    run.script = vr_script_new(run.loop);
    struct vr_signal *signals[] = {
        vr_signal_start(run.loop, SIGINT, interrupted, &run),
        vr_signal_start(run.loop, SIGTERM, interrupted, &run),
        vr_signal_start(run.loop, SIGHUP, interrupted, &run),
    };
    bool ok = run_file(&run, argc - 1, argv + 1);
    if (!ok)
        vr_cli_error(&run.error);
    vr_script_wind_up(run.script, GRACE);
    vr_error_clear(
        &run.error); /* what the end made of a file that was still waiting is in there as well */
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        vr_signal_stop(signals[i]);
    vr_script_free(run.script);
    vr_loop_free(run.loop);
    return ok ? VR_EXIT_OK : VR_EXIT_ERROR;
}
