/* vmrun help: the verbs, a verb, or a recipe's parameters. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/session.h"
#include "cli/show.h"

static int help_of(const struct vr_command *command)
{
    printf("usage: vmrun %s %s\n\n%s\n", command->name, command->usage,
           command->summary ? command->summary : "");
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
    printf("\n'vmrun help VERB' says more; 'vmrun help RECIPE' lists a recipe's parameters.\n");
}

static void put_param(const json_t *param)
{
    const char *help = json_string_value(json_object_get(param, "help"));
    const json_t *preset = json_object_get(param, "default");
    printf("  %s: %s", json_string_value(json_object_get(param, "name")),
           json_string_value(json_object_get(param, "type")));
    if (preset && !json_is_null(preset)) {
        char *text = vr_show_value(preset, 2);
        printf(" (default %s)", text);
        free(text);
    } else if (json_is_true(json_object_get(param, "required"))) {
        printf(" (required)");
    }
    putchar('\n');
    if (help && *help)
        printf("      %s\n", help);
}

static int help_of_recipe(const char *path)
{
    struct vr_args args = {.recipe = path};
    static struct vr_session session;
    struct vr_error err = {0};
    int code = VR_EXIT_OK;
    if (vr_session_begin(&session, &args, &err)) {
        const json_t *params = vr_session_params(&session);
        printf("usage: vmrun %s [name=value ...]\n", path);
        if (json_array_size(params) > 0)
            printf("\nparameters:\n");
        for (size_t i = 0; i < json_array_size(params); i++)
            put_param(json_array_get(params, i));
    } else {
        code = vr_session_failed(&session, &err);
    }
    vr_session_end(&session);
    return code;
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
    if (access(argv[1], R_OK) == 0)
        return help_of_recipe(argv[1]);
    fprintf(stderr, "vmrun: there is no verb '%s', and no recipe of that name\n", argv[1]);
    return VR_EXIT_ERROR;
}
