/* What was given for the parameters of a recipe, and what the state remembers of it. */
#ifndef VR_CLI_PARAMS_H
#define VR_CLI_PARAMS_H

#include <jansson.h>

#include "cli/opt.h"

struct vr_provider;

/* {"name": {"value", "text", "from"}}, the strongest last: STACK.params.* beside the recipe,
 * --params FILE, name=value. The environment is asked by the recipe itself. A new reference, or
 * NULL with an error. */
json_t *vr_params_given(struct vr_provider *provider, const struct vr_args *args,
                        const char *recipe, const char *stack, struct vr_error *err);
/* Adds what the state remembers ({"name": value}) where nothing was given, but for names in
 * args->unset. */
void vr_params_recall(json_t *given, const json_t *remembered, const struct vr_args *args);
/* False with an error when a parameter that was given last time (remembered) is not given now and
 * not unset. `told` is vr_recipe_params. */
bool vr_params_compare(const json_t *told, const json_t *remembered, const struct vr_args *args,
                       struct vr_error *err);
/* What to remember of vr_recipe_params: those that were given and are no secrets. A new reference.
 */
json_t *vr_params_keep(const json_t *told);

#endif
