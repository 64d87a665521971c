#include <stdio.h>

#include "cli/cli.h"

int vr_cmd_version(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    printf("vmrun %s\n", VMRUN_VERSION);
    return VR_EXIT_OK;
}
