/* vmrun lua FILE: what the emulator, tests and tools written in Lua run on. */
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/error.h"
#include "cli/cli.h"
#include "net/loop.h"
#include "script/program.h"

/* How long tasks that the file left behind may take to unwind. */
static const double GRACE = 5;

struct lua_run {
    struct vr_script *script;
    bool interrupted;
};

static void interrupted(void *payload, int number)
{
    struct lua_run *run = payload;
    if (run->interrupted ||
        !vr_script_interrupt(run->script, number == SIGINT ? "interrupted" : "told to end"))
        _exit(VR_EXIT_ERROR); /* asked for twice: what still unwinds does not matter */
    run->interrupted = true;
}

int vr_cmd_lua(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: vmrun lua FILE [ARGUMENT ...]\n");
        return VR_EXIT_ERROR;
    }
    struct vr_loop *loop = vr_loop_new();
    struct lua_run run = {.script = vr_script_new(loop)};
    struct vr_error err = {0};
    struct vr_signal *signals[] = {
        vr_signal_start(loop, SIGINT, interrupted, &run),
        vr_signal_start(loop, SIGTERM, interrupted, &run),
        vr_signal_start(loop, SIGHUP, interrupted, &run),
    };
    bool ok = vr_script_run_file(run.script, argc - 1, argv + 1, &err);
    if (!ok)
        vr_cli_error(&err);
    vr_error_clear(&err);
    vr_script_wind_up(run.script, GRACE);
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        vr_signal_stop(signals[i]);
    vr_script_free(run.script);
    vr_loop_free(loop);
    return ok ? VR_EXIT_OK : VR_EXIT_ERROR;
}
