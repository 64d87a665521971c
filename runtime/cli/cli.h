/* The command line: verbs, exit codes, how failures are told. One file cmd_*.c a verb; main.c has the table. */
#ifndef VR_CLI_CLI_H
#define VR_CLI_CLI_H

struct vr_error;

enum vr_exit {
    VR_EXIT_OK = 0,
    VR_EXIT_ERROR = 1,   /* wrong usage too */
    VR_EXIT_CHANGES = 2, /* plan --detailed-exitcode: there is something to do */
};

struct vr_verb {
    const char *name;
    int (*fn)(int argc, char **argv); /* argv[0] is the verb; returns an enum vr_exit */
    const char *usage;                /* what follows the name */
    const char *summary;              /* a line for help; NULL: not listed */
};
extern const struct vr_verb vr_verbs[]; /* ends with a NULL name */

int vr_cmd_help(int argc, char **argv);
int vr_cmd_lua(int argc, char **argv);
int vr_cmd_version(int argc, char **argv);

/* Tells a failure on stderr: place, message, the line it is about, hint. Secrets that the log knows are masked. */
void vr_cli_error(const struct vr_error *err);

#endif
