/* Options of the command line: one table a verb, from which parsing, usage and help come. */
#ifndef VR_CLI_OPT_H
#define VR_CLI_OPT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

struct vr_texts {
    const char **items; /* borrowed from argv */
    size_t count;
};

/* What the command line said. One structure for all verbs; a verb's table says which of it can be
 * given. */
struct vr_args {
    const char *recipe;     /* the first word */
    struct vr_texts params; /* name=value */
    struct vr_texts words;  /* further words */
    struct vr_texts rest;   /* behind `--` */

    const char *stack, *state_dir, *subscription, *tenant, *log_level;
    struct vr_texts params_files, unset, parallel;
    bool emulator, json, no_color, verbose, help;

    bool yes;
    const char *yes_stack; /* --yes=STACK */
    bool detailed_exitcode, refresh_only, destroy, include_unmanaged, all, force, raw, reveal;
    const char *format, *out, *user, *identity, *lock_timeout, *clock, *timeout, *hours, *until,
        *reason, *junit, *profile, *seed, *machines, *from, *key_file;
    bool merge, tty, release, show, forget, cloud, no_preflight;
    struct vr_texts targets, excludes, replace, groups, policies;
};

enum vr_opt_type {
    VR_OPT_FLAG,  /* bool */
    VR_OPT_TEXT,  /* const char * */
    VR_OPT_TEXTS, /* struct vr_texts: may be given several times */
    VR_OPT_YES,   /* bool, and an optional text behind `=` in the next member */
};

struct vr_opt {
    const char *name; /* long, without dashes; NULL ends the table */
    char letter;      /* 0: none */
    enum vr_opt_type type;
    size_t offset;     /* in struct vr_args */
    const char *value; /* what help calls the argument */
    const char *help;
};

#define VR_OPT(name, letter, type, member, value, help)                                            \
    {                                                                                              \
        name, letter, type, offsetof(struct vr_args, member), value, help                          \
    }

/* What every verb over a recipe takes. */
#define VR_OPT_COMMON                                                                              \
    VR_OPT("stack", 's', VR_OPT_TEXT, stack, "NAME",                                               \
           "the stack (default: the recipe's file name)"),                                         \
        VR_OPT("state-dir", 0, VR_OPT_TEXT, state_dir, "DIR",                                      \
               "where state is kept (default: .vmrun)"),                                           \
        VR_OPT("params", 'p', VR_OPT_TEXTS, params_files, "FILE",                                  \
               "parameters from a Lua, JSON or YAML file"),                                        \
        VR_OPT("subscription", 0, VR_OPT_TEXT, subscription, "ID",                                 \
               "the Azure subscription of a new stack"),                                           \
        VR_OPT("emulator", 0, VR_OPT_FLAG, emulator, NULL,                                         \
               "the built-in emulator as the target of a new stack"),                              \
        VR_OPT("json", 0, VR_OPT_FLAG, json, NULL, "JSON instead of text; events, one a line"),    \
        VR_OPT("parallel", 0, VR_OPT_TEXTS, parallel, "[NAME=]N",                                  \
               "at most N steps at once (of a provider or a kind)"),                               \
        VR_OPT("log-level", 0, VR_OPT_TEXT, log_level, "LEVEL",                                    \
               "debug, info, warn, error or none"),                                                \
        VR_OPT("no-color", 0, VR_OPT_FLAG, no_color, NULL, "no colour"),                           \
        VR_OPT("help", 'h', VR_OPT_FLAG, help, NULL, "this help")
/* What a plan is limited to. */
#define VR_OPT_CHOICE                                                                              \
    VR_OPT("target", 't', VR_OPT_TEXTS, targets, "ADDRESS",                                        \
           "only this and what it needs; ends with * for a prefix"),                               \
        VR_OPT("exclude", 0, VR_OPT_TEXTS, excludes, "ADDRESS", "not this, nor what needs it"),    \
        VR_OPT("replace", 0, VR_OPT_TEXTS, replace, "ADDRESS",                                     \
               "make this anew, whatever it looks like")
#define VR_OPT_POLICY                                                                              \
    VR_OPT("policy", 0, VR_OPT_TEXTS, policies, "DIR",                                             \
           "ask the policies in this folder, which may deny the plan"),                            \
        VR_OPT("no-preflight", 0, VR_OPT_FLAG, no_preflight, NULL,                                 \
               "do not ask Azure first whether it would take the plan")
#define VR_OPT_LOCK                                                                                \
    VR_OPT("lock-timeout", 0, VR_OPT_TEXT, lock_timeout, "TIME",                                   \
           "wait so long (90s, 5m) while another run has the stack")
#define VR_OPT_UNSET                                                                               \
    VR_OPT("unset", 0, VR_OPT_TEXTS, unset, "NAME",                                                \
           "this parameter is no longer given: its default counts")
#define VR_OPT_END                                                                                 \
    {                                                                                              \
        NULL, 0, VR_OPT_FLAG, 0, NULL, NULL                                                        \
    }

/* argv[0] is the verb. Words with a `=` behind a name are parameters when `params` is set; what is
 * behind `--` is taken as it is. False with an error: unknown option (with the nearest one),
 * missing argument. */
bool vr_opt_parse(struct vr_args *args, const struct vr_opt *options, bool params, int argc,
                  char **argv, struct vr_error *err);
void vr_opt_free(struct vr_args *args);
void vr_opt_help(const struct vr_opt *options); /* the list, to stdout */

#endif
