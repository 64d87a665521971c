#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/opt.h"

static int help_of(const struct vr_command *command)
{
    printf("usage: vmrun %s %s\n\n%s\n", command->name, command->usage, command->summary ? command->summary : "");
    if (command->about)
        printf("\n%s\n", command->about);
    if (command->options) {
        printf("\noptions:\n");
        vr_opt_help(command->options);
    }
    return VR_EXIT_OK;
}

static void list_all(void)
{
    printf("usage: vmrun RECIPE [name=value ...]     plan, ask, apply\n"
           "       vmrun VERB ...\n\n");
    for (const struct vr_command *command = vr_commands; command->name; command++) {
        if (command->summary)
            printf("  %-12s %s\n", command->name, command->summary);
    }
    printf("\n'vmrun help VERB' says more.\n");
}

int vr_cmd_help(int argc, char **argv)
{
    if (argc < 2) {
        list_all();
        return VR_EXIT_OK;
    }
    const struct vr_command *command = vr_command_find(argv[1]);
    if (command)
        return help_of(command);
    fprintf(stderr, "vmrun: there is no verb '%s'; 'vmrun help' lists them\n", argv[1]);
    return VR_EXIT_ERROR;
}
