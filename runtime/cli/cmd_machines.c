/* machines: the emulator's child that keeps its machines; see machine/keeper.h. */
#include "cli/cli.h"
#include "machine/keeper.h"

int vr_cmd_machines(int argc, char **argv)
{
    (void)argc, (void)argv;
    return vr_keeper_main();
}
