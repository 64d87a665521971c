/* The command line: verbs, exit codes, how failures are told. One file cmd_*.c a verb; main.c has
 * the table. */
#ifndef VR_CLI_CLI_H
#define VR_CLI_CLI_H

#include "cli/opt.h"

enum vr_exit {
    VR_EXIT_OK = 0,
    VR_EXIT_ERROR = 1,   /* wrong usage too */
    VR_EXIT_CHANGES = 2, /* plan --detailed-exitcode: there is something to do */
};

struct vr_command {
    const char *name;
    int (*fn)(int argc, char **argv); /* argv[0] is the verb; returns an enum vr_exit */
    const char *usage;                /* what follows the name */
    const char *summary;              /* a line for help; NULL: not listed */
    const struct vr_opt *options;     /* NULL: none, or it reads its own */
    const char *about;                /* further lines for its help; may be NULL */
};
extern const struct vr_command vr_commands[];               /* ends with a NULL name */
const struct vr_command *vr_command_find(const char *name); /* NULL if there is none */

int vr_cmd_git_child(int argc, char **argv);
int vr_cmd_help(int argc, char **argv);
int vr_cmd_machines(int argc, char **argv);
int vr_cmd_lua(int argc, char **argv);
int vr_cmd_version(int argc, char **argv);
int vr_cmd_apply(int argc, char **argv);
int vr_cmd_backup(int argc, char **argv);
int vr_cmd_check(int argc, char **argv);
int vr_cmd_destroy(int argc, char **argv);
int vr_cmd_emulator(int argc, char **argv);
int vr_cmd_exec(int argc, char **argv);
int vr_cmd_graph(int argc, char **argv);
int vr_cmd_hold(int argc, char **argv);
int vr_cmd_import(int argc, char **argv);
int vr_cmd_inventory(int argc, char **argv);
int vr_cmd_kinds(int argc, char **argv);
int vr_cmd_login(int argc, char **argv);
int vr_cmd_kubeconfig(int argc, char **argv);
int vr_cmd_output(int argc, char **argv);
int vr_cmd_permissions(int argc, char **argv);
int vr_cmd_plan(int argc, char **argv);
int vr_cmd_drift(int argc, char **argv);
int vr_cmd_repl(int argc, char **argv);
int vr_cmd_report(int argc, char **argv);
int vr_cmd_schema(int argc, char **argv);
int vr_cmd_ssh(int argc, char **argv);
int vr_cmd_state(int argc, char **argv);
int vr_cmd_test(int argc, char **argv);
int vr_cmd_why(int argc, char **argv);

extern const struct vr_opt vr_apply_options[], vr_backup_options[], vr_check_options[],
    vr_destroy_options[], vr_emulator_options[], vr_exec_options[], vr_graph_options[],
    vr_import_options[], vr_inventory_options[], vr_kinds_options[], vr_kubeconfig_options[],
    vr_login_options[], vr_output_options[], vr_drift_options[], vr_hold_options[],
    vr_permissions_options[], vr_plan_options[], vr_repl_options[], vr_report_options[],
    vr_schema_options[], vr_ssh_options[], vr_state_options[], vr_test_options[], vr_why_options[];

/* Tells a failure on stderr: place, message, the line it is about, hint. Secrets that the log knows
 * are masked. */
void vr_cli_error(const struct vr_error *err);
/* Tells a wrong usage of a verb, with the line that shows how. Clears err; returns VR_EXIT_ERROR.
 */
int vr_cli_usage(const char *verb, struct vr_error *err);

#endif
