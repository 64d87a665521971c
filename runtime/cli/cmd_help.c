#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

int vr_cmd_help(int argc, char **argv)
{
    for (const struct vr_verb *verb = vr_verbs; verb->name; verb++) {
        if (argc > 1 && strcmp(verb->name, argv[1]) == 0) {
            printf("vmrun %s %s\n%s\n", verb->name, verb->usage, verb->summary ? verb->summary : "");
            return VR_EXIT_OK;
        }
    }
    if (argc > 1) {
        fprintf(stderr, "vmrun: there is no verb '%s'; 'vmrun help' lists them\n", argv[1]);
        return VR_EXIT_ERROR;
    }
    printf("usage: vmrun VERB ...\n\n");
    for (const struct vr_verb *verb = vr_verbs; verb->name; verb++) {
        if (verb->summary)
            printf("  %-12s %s\n", verb->name, verb->summary);
    }
    return VR_EXIT_OK;
}
