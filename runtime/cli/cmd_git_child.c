#include "cli/cli.h"
#include "script/plugin.h"

int vr_cmd_git_child(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    struct vr_error err = {0};
    int (*run)(void) = (int (*)(void))vr_plugin_symbol("git", "vr_git_child", &err);
    if (run)
        return run();
    vr_cli_error(&err);
    vr_error_clear(&err);
    return VR_EXIT_ERROR;
}
