/* One run of vmrun over a recipe: the whole path, a function a stage, in the order of the flow. */
#ifndef VR_CLI_SESSION_H
#define VR_CLI_SESSION_H

#include <jansson.h>
#include <stdbool.h>

#include "base/error.h"
#include "cli/opt.h"
#include "engine/graph.h"
#include "script/recipe.h"

struct vr_session {
    struct vr_args *args;
    struct vr_loop *loop;
    struct vr_script *script;
    struct vr_provider *provider;
    char *stack;        /* its name */
    char *folder;       /* --state-dir */
    char *stack_folder; /* stacks/NAME below it */
    struct vr_recipe *recipe;
    struct vr_graph *graph;
};

/* Names, loop, Lua. */
bool vr_session_begin(struct vr_session *session, struct vr_args *args, struct vr_error *err);
/* Reads the recipe and makes the graph. Everything that is wrong with the recipe is told at once: then false, and err's
 * code is "told". */
bool vr_session_load(struct vr_session *session, bool lint, struct vr_error *err);
void vr_session_end(struct vr_session *session);

/* Tells err unless it was told already; clears it. Returns VR_EXIT_ERROR. */
int vr_session_failed(struct vr_session *session, struct vr_error *err);

#endif
