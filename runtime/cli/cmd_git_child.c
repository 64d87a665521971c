#include "cli/cli.h"
#include "net/git.h"

int vr_cmd_git_child(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    return vr_git_child();
}
