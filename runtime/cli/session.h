/* One run of vmrun over a recipe: the whole path, a function a stage, in the order of the flow. */
#ifndef VR_CLI_SESSION_H
#define VR_CLI_SESSION_H

#include <jansson.h>
#include <stdbool.h>

#include "base/error.h"
#include "cli/opt.h"
#include "engine/plan.h"
#include "engine/run.h"
#include "script/recipe.h"

enum vr_mode {
    VR_MODE_LOOK, /* reads the state as it is; nothing is written */
    VR_MODE_KEEP, /* as above, for a plan that is kept: the state folder and its digest key are made
                   */
    VR_MODE_WRITE, /* under the lease; the state folder is made */
};

struct vr_session {
    struct vr_args *args;
    struct vr_loop *loop;
    struct vr_script *script;
    struct vr_provider *provider;
    struct vr_drive *drive;
    struct vr_ui *ui;
    char *path;         /* the recipe's */
    char *stack;        /* its name */
    char *folder;       /* --state-dir */
    char *stack_folder; /* stacks/NAME below it */
    enum vr_mode mode;
    struct vr_state *state;
    struct vr_recipe *recipe;
    struct vr_graph *graph;
    json_t *target; /* as verbs see it */
    struct vr_plan *plan;
    struct vr_run *run;
    struct vr_runner runner;
    struct vr_host host;
    struct vr_status status;
    struct vr_limits limits;
    char **limit_names; /* what limits points to */
    size_t *own_limits;
    double lock_timeout; /* seconds */
    size_t notes_told;
    json_t *holds;    /* as vr_hold_active says, once a plan was made */
    json_t *recalled; /* parameters of a saved plan, or NULL */
    json_t *saved;    /* the saved plan that args->recipe is, or NULL */
    char *roll;       /* which stale one the plan replaces (vr_plan_options), or NULL */
    bool goes_on;     /* another session follows in this program */
    struct vr_interrupt *interrupt; /* signals, while something runs */
    const char *interrupted;        /* why it ended early; NULL: it did not */
};

/* Names, loop, Lua. The recipe is args->recipe; NULL: there is none. */
bool vr_session_begin(struct vr_session *session, struct vr_args *args, struct vr_error *err);
/* The state: in VR_MODE_WRITE under the lease, with a log of this run. */
bool vr_session_open(struct vr_session *session, enum vr_mode mode, struct vr_error *err);
/* Reads the recipe and makes the graph. Everything that is wrong with the recipe is told at once:
 * then false, and err's code is "told". With a state open, its remembered parameters count:
 * `remembered` takes them where nothing else was given, else a parameter that was given last time
 * and is not now is an error. */
bool vr_session_load(struct vr_session *session, bool lint, bool remembered, struct vr_error *err);
/* Which cloud, and that it is the stack's: found once, whatever came after it. Starts the emulator
 * when it is that, each time. */
bool vr_session_target(struct vr_session *session, struct vr_error *err);
/* All three, under the lease; of a new stack the recipe and the target are looked at first, so that
 * a mistake in them leaves nothing behind. */
bool vr_session_prepare(struct vr_session *session, bool remembered, struct vr_error *err);
/* The target without what depends on where we are: a new reference, or NULL when there is none. */
json_t *vr_session_lasting_target(const struct vr_session *session);
/* --target, --exclude and --replace, for vr_session_plan. */
void vr_session_choice(struct vr_session *session, struct vr_plan_options *options);
/* Parameters of a saved plan: they count as given. Copied. */
void vr_session_recall(struct vr_session *session, const json_t *parameters);
/* What differs. `options` may set destroy, refresh_only, targets, excludes, replace and roll; the
 * rest is filled in. */
bool vr_session_plan(struct vr_session *session, const struct vr_plan_options *options,
                     struct vr_error *err);
/* The same for who carries it out: where nothing is left but what is stale and rolls, the plan is
 * made again with the first of these, session->roll. */
bool vr_session_plan_rolling(struct vr_session *session, const struct vr_plan_options *options,
                             struct vr_error *err);
/* Does what the plan says. Failures are told as they happen; err is for what kept it from running
 * at all. */
bool vr_session_apply(struct vr_session *session, struct vr_error *err);
/* After a run: remembers target, parameters and outputs. */
void vr_session_remember(struct vr_session *session);
/* "the state has no 'ADDRESS'", with the nearest one: returns VR_EXIT_ERROR. */
int vr_cli_missing(struct vr_session *session, const char *address, struct vr_error *err);
/* After everything was destroyed: the stack has no target and no parameters any more. */
void vr_session_forget(struct vr_session *session);
/* Ends what it began; once, as the last thing that the program does. */
void vr_session_end(struct vr_session *session);
/* The recipe's parameters (vr_recipe_params), whatever else may be wrong with it. */
const json_t *vr_session_params(struct vr_session *session);
/* Carries out the plan, remembers, and says what came of it. Returns an exit code. */
int vr_apply_carry_out(struct vr_session *session, struct vr_error *err);

/* Calls require(module)[function](argument) as a task and waits for it: its result, a new
 * reference, or NULL with an error. argument is stolen. */
json_t *vr_session_call(struct vr_session *session, const char *module, const char *function,
                        json_t *argument, struct vr_error *err);
/* What Lua code of the command line sees: {stack, recipe, state_dir, folder, target, rows,
 * outputs}, without secrets. */
json_t *vr_session_describe(struct vr_session *session);
/* The outputs as known now: {name: value}, secrets as {"$secret": ...}. Needs a plan. A new
 * reference. */
json_t *vr_session_outputs(struct vr_session *session);

/* Tells err unless it was told already; clears it. Returns VR_EXIT_ERROR. */
int vr_session_failed(struct vr_session *session, struct vr_error *err);

/* The usual frame of a verb over a recipe: options, --help, a session around body(session, err),
 * errors, the end. body returns an exit code; with VR_EXIT_ERROR and a message in err, it is told.
 */
typedef int (*vr_session_body)(struct vr_session *session, struct vr_error *err);
int vr_session_main(int argc, char **argv, const struct vr_opt *options, vr_session_body body);

/* The same frame for a verb that may do without a recipe, or takes none. */
enum vr_recipe_use { VR_RECIPE_NONE, VR_RECIPE_OPTIONAL, VR_RECIPE_REQUIRED };
int vr_session_main_with(enum vr_recipe_use use, int argc, char **argv,
                         const struct vr_opt *options, vr_session_body body);

/* For verbs whose first word is no recipe: body begins the session. wants: what to say when there
 * is no first word; NULL: there may be none. */
typedef int (*vr_session_bare)(struct vr_session *session, struct vr_args *args,
                               struct vr_error *err);
int vr_session_main_bare(int argc, char **argv, const struct vr_opt *options, const char *wants,
                         vr_session_bare body);

#endif
