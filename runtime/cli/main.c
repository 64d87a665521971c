/* vmrun: the table of verbs. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "cli/cli.h"

const struct vr_verb vr_verbs[] = {
    {"lua", vr_cmd_lua, "FILE [ARGUMENT ...]", "run a Lua file as a task, with vmrun's modules"},
    {"version", vr_cmd_version, "", "print the version"},
    {"help", vr_cmd_help, "[VERB]", "print this help"},
    {NULL, NULL, NULL, NULL},
};

static const struct vr_verb *find_verb(const char *name)
{
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        name = "help";
    if (strcmp(name, "--version") == 0)
        name = "version";
    for (const struct vr_verb *verb = vr_verbs; verb->name; verb++) {
        if (strcmp(verb->name, name) == 0)
            return verb;
    }
    return NULL;
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    vr_log_from_environment();
    if (argc < 2) {
        vr_cmd_help(0, NULL);
        return VR_EXIT_ERROR;
    }
    const struct vr_verb *verb = find_verb(argv[1]);
    if (verb)
        return verb->fn(argc - 1, argv + 1);
    struct vr_error err = {0};
    vr_error_set(&err, "usage", "there is no verb '%s'", argv[1]);
    vr_error_hint(&err, "'vmrun help' lists them");
    vr_cli_error(&err);
    vr_error_clear(&err);
    return VR_EXIT_ERROR;
}
