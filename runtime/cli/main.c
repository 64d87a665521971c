/* vmrun: the table of verbs. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/opt.h"
#include "machine/standin.h"

#define RECIPE "RECIPE [name=value ...]"

const struct vr_command vr_commands[] = {
    {"apply", vr_cmd_apply, "RECIPE|PLAN [name=value ...]", "plan, ask, and do it",
     vr_apply_options, NULL},
    {"plan", vr_cmd_plan, RECIPE, "what an apply would do", vr_plan_options,
     "Exit code 0; with --detailed-exitcode 2 when there are changes; 1 on errors and when "
     "something could not be read."},
    {"drift", vr_cmd_drift, RECIPE, "what changed outside since the last apply", vr_drift_options,
     "For schedulers: exit code 2 when something changed, 0 when nothing did, 1 on errors. "
     "Parameters that are not\ngiven are those of the last apply."},
    {"destroy", vr_cmd_destroy, RECIPE, "destroy everything that the stack made",
     vr_destroy_options, NULL},
    {"check", vr_cmd_check, RECIPE, "read a recipe and check it: no request, no state",
     vr_check_options, NULL},
    {"why", vr_cmd_why, "RECIPE ADDRESS", "what an address needs, and why it would change",
     vr_why_options,
     "And what needs it, and its part in the last run. Parameters that are not given are those of "
     "the last apply."},
    {"permissions", vr_cmd_permissions, RECIPE, "the custom role of Azure that a recipe needs",
     vr_permissions_options,
     "As JSON for 'az role definition create'. Its scope is the subscription of --subscription, of "
     "the stack, of\nAZURE_SUBSCRIPTION_ID or of the folder's emulator. Nothing is asked or "
     "written."},
    {"graph", vr_cmd_graph, RECIPE, "what needs what", vr_graph_options, NULL},
    {"output", vr_cmd_output, "RECIPE [NAME]", "what the last apply gave out", vr_output_options,
     NULL},
    {"inventory", vr_cmd_inventory, "RECIPE", "the stack's hosts, for Ansible or ssh",
     vr_inventory_options, NULL},
    {"kubeconfig", vr_cmd_kubeconfig, "RECIPE", "write the cluster's kubeconfig",
     vr_kubeconfig_options, NULL},
    {"backup", vr_cmd_backup, "RECIPE [CLUSTER]",
     "write an encrypted backup of the cluster: etcd, keys, authorities", vr_backup_options,
     "It is restored by applying the recipe with restore=FILE when all control planes are gone."},
    {"ssh", vr_cmd_ssh, "RECIPE HOST [-- COMMAND ...]", "log in to a host; ~? lists the escapes",
     vr_ssh_options, NULL},
    {"exec", vr_cmd_exec, "RECIPE PATTERN -- COMMAND ...",
     "run a command on hosts: all, NAME, WEB*, @GROUP, !NOT", vr_exec_options, NULL},
    {"report", vr_cmd_report, "RECIPE", "what the last run did and when, as an HTML page",
     vr_report_options, NULL},
    {"state", vr_cmd_state, "list|show|rm|mv RECIPE [ADDRESS ...]", "what is remembered",
     vr_state_options, NULL},
    {"hold", vr_cmd_hold, "RECIPE [ADDRESS]", "exempt an address for everybody, until a time",
     vr_hold_options,
     "Plans, applies and destroys leave it as it is and say so. Without ADDRESS the holds are "
     "listed. It ends by\nitself, or with --release."},
    {"import", vr_cmd_import, "RECIPE [ADDRESS ID | --all]", "take over what exists",
     vr_import_options, NULL},
    {"test", vr_cmd_test, "[DIR|FILE ...]", "test recipes, with mocked outputs or on the emulator",
     vr_test_options,
     "Runs the cases of all NAME_test.lua below the folders (default: here), in parallel; exit "
     "code "
     "1 when one failed."},
    {"repl", vr_cmd_repl, "[RECIPE]",
     "Lua line by line, with vmrun's modules and what a stack knows", vr_repl_options, NULL},
    {"emulator", vr_cmd_emulator,
     "start|status|list|env|approve|fault|evict|publish|stop|reset|serve",
     "the built-in emulator of a state folder", vr_emulator_options,
     "start: start it unless it runs; status: whether it runs; list: everything that exists in it; "
     "env: variables for az,\n"
     "SDKs and Terraform, for a shell's eval; approve CODE: what a person does who logs in by "
     "device "
     "code;\n"
     "fault NAME [KEY=VALUE ...] | list | clear: what is to go wrong from now on (throttle, error, "
     "reset-before,\n"
     "reset-after, stuck, fail, absent, expired, slow, zone-outage; method=, path=, times=, ...); "
     "evict ID: take a\n"
     "Spot machine's capacity back; publish IMAGE: a newer version of an image; stop: end it, its "
     "world stays; reset: end it and remove its "
     "world;\n"
     "serve: run it here, in the foreground."},
    {"login", vr_cmd_login, "", "log in to Azure by device code, or say which credential is used",
     vr_login_options,
     "Credentials are looked for in this order: environment (AZURE_TENANT_ID, AZURE_CLIENT_ID and "
     "AZURE_CLIENT_SECRET\nor AZURE_CLIENT_CERTIFICATE_PATH), workload identity "
     "(AZURE_FEDERATED_TOKEN_FILE), managed identity, Azure CLI,\nand this login."},
    {"kinds", vr_cmd_kinds, "[NAME]", "the kinds of resources, and what each takes",
     vr_kinds_options, NULL},
    {"schema", vr_cmd_schema, "add|list|remove [TYPE@VERSION ...]",
     "the schemas that azure.resource is checked by", vr_schema_options,
     "add: take a type's schema from a checkout of https://github.com/Azure/bicep-types-az or from "
     "JSON Schema;\n"
     "remove: check this type no more; list: those that are kept (in $XDG_DATA_HOME/vmrun/schemas, "
     "or below\n~/.local/share)."},
    {"lua", vr_cmd_lua, "FILE [ARGUMENT ...]", "run a Lua file as a task, with vmrun's modules",
     NULL, NULL},
    {"version", vr_cmd_version, "", "print the version", NULL, NULL},
    {"help", vr_cmd_help, "[VERB | RECIPE]", "print help; of a recipe: its parameters", NULL, NULL},
    {"machines", vr_cmd_machines, "", NULL, NULL, NULL}, /* of the emulator: see machine/keeper.h */
    {"git-child", vr_cmd_git_child, "", NULL, NULL, NULL}, /* of the git module: see wire/git.h */
    {NULL, NULL, NULL, NULL, NULL, NULL},
};

const struct vr_command *vr_command_find(const char *name)
{
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        name = "help";
    if (strcmp(name, "--version") == 0)
        name = "version";
    for (const struct vr_command *command = vr_commands; command->name; command++) {
        if (strcmp(command->name, name) == 0)
            return command;
    }
    return NULL;
}

int vr_cli_usage(const char *verb, struct vr_error *err)
{
    const struct vr_command *command = vr_command_find(verb);
    vr_cli_error(err);
    if (command)
        fprintf(stderr, "usage: vmrun %s %s\n", command->name, command->usage);
    vr_error_clear(err);
    return VR_EXIT_ERROR;
}

static int no_verb(const char *name)
{
    const char *names[64];
    size_t count = 0;
    for (const struct vr_command *command = vr_commands; command->name && count < 64; command++)
        names[count++] = command->name;
    const char *near = vr_text_nearest(name, names, count);
    struct vr_error err = {0};
    vr_error_set(&err, "usage", "there is no verb '%s', and no recipe of that name", name);
    if (near)
        vr_error_hint(&err, "did you mean '%s'?", near);
    else
        vr_error_hint(&err, "'vmrun help' lists the verbs");
    vr_cli_error(&err);
    vr_error_clear(&err);
    return VR_EXIT_ERROR;
}

/* `vmrun RECIPE ...` is `vmrun apply RECIPE ...`. */
static bool is_recipe(const char *word)
{
    size_t length = strlen(word);
    return strchr(word, '/') || (length > 4 && strcmp(word + length - 4, ".lua") == 0) ||
           word[0] == '-' || access(word, R_OK) == 0;
}

static int bare(int argc, char **argv)
{
    char **words = vr_alloc((size_t)(argc + 1) * sizeof(*words));
    words[0] = "apply";
    for (int i = 1; i < argc; i++)
        words[i] = argv[i];
    int code = vr_cmd_apply(argc, words);
    free(words);
    return code;
}

/* Descriptors 0 to 2 are there, whatever the caller closed: no file of ours may become stdout. */
static void hold_standard_files(void)
{
    int fd;
    while ((fd = open("/dev/null", O_RDWR)) >= 0 && fd <= 2) {
    }
    if (fd > 2)
        close(fd);
}

int main(int argc, char **argv)
{
    if (vr_standin_is(argv[0]))
        return vr_standin_main(argc, argv);
    hold_standard_files();
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is an error of the write */
    vr_log_from_environment();
    if (argc < 2) {
        vr_cmd_help(1, NULL);
        return VR_EXIT_ERROR;
    }
    const struct vr_command *command = vr_command_find(argv[1]);
    if (command)
        return command->fn(argc - 1, argv + 1);
    if (is_recipe(argv[1]))
        return bare(argc, argv);
    return no_verb(argv[1]);
}
