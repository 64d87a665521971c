/* Reading a recipe: Lua text becomes declarations. The language itself is stdlib/recipe/; this is
 * its native half. */
#ifndef VR_SCRIPT_RECIPE_H
#define VR_SCRIPT_RECIPE_H

#include <jansson.h>
#include <stdbool.h>

#include "engine/decl.h"

struct vr_provider;

struct vr_recipe_options {
    const char *path;          /* as the person named it: so it is called in messages */
    const char *library_paths; /* folders with `:` between, as in VMRUN_PATH; may be NULL */
    /* Parameters that were given: {"name": {"value": v, "text": bool, "from": "command line"}}.
     * Texts are read by the parameter's type. Borrowed; may be NULL. */
    const json_t *given;
    bool lint; /* also look for what Lua cannot refuse: `==` beside a reference, a reference as a
                  condition */
    double seconds; /* of CPU; 0: 30 */
    size_t bytes;   /* of memory; 0: 1 GiB */
};

/* The parameters of a file (.lua, .json, .yaml): a new reference to an object, or NULL with an
 * error. */
json_t *vr_recipe_params_file(struct vr_provider *provider, const char *path, struct vr_error *err);

struct vr_recipe;
/* Never NULL: what was wrong is in vr_decls_error_at(vr_recipe_decls(recipe), ...), sorted by
 * place, with columns. The provider must outlive the recipe. Runs Lua, so never from inside a
 * callback of Lua. */
struct vr_recipe *vr_recipe_load(struct vr_provider *provider,
                                 const struct vr_recipe_options *options);
void vr_recipe_free(struct vr_recipe *recipe); /* NULL is fine */
struct vr_decls *vr_recipe_decls(const struct vr_recipe *recipe);
/* Declared parameters, in the order of the text: array of {"name", "type", "help", "default",
 * "value", "given", "secret", "missing", "required", "env", "file", "line"}; a secret has no value.
 * Borrowed. */
const json_t *vr_recipe_params(const struct vr_recipe *recipe);
/* With lint: array of {"message", "file", "line", "column", "width"}. Borrowed. */
const json_t *vr_recipe_warnings(const struct vr_recipe *recipe);

#endif
