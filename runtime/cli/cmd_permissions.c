/* vmrun permissions: the custom role that a recipe needs. Reads the recipe and the state's target;
 * nothing is asked or written. */
#include <stdlib.h>

#include "base/alloc.h"
#include "cli/cli.h"
#include "cli/session.h"
#include "cli/tool.h"

const struct vr_opt vr_permissions_options[] = {VR_OPT_COMMON, VR_OPT_END};

static json_t *value_of(const struct vr_expr *expr);

/* A list or table of which the world says a part: that part is null, or left out. */
static json_t *parts_of(const struct vr_expr *expr)
{
    bool list = expr->type == VR_EXPR_ARRAY;
    json_t *parts = list ? json_array() : json_object();
    for (size_t i = 0; i < expr->count; i++) {
        json_t *part = value_of(expr->items[i]);
        if (list)
            json_array_append_new(parts, part ? part : json_null());
        else if (part)
            json_object_set_new(parts, expr->keys[i], part);
    }
    return parts;
}

/* A field's value as far as it needs nothing of the world and is no secret; of another resource its
 * kind. */
static json_t *value_of(const struct vr_expr *expr)
{
    if (expr->type == VR_EXPR_REF && json_array_size(expr->path) == 0)
        return json_pack("{s:s}", "$kind", expr->decl->kind->name);
    if (expr->type == VR_EXPR_ARRAY || expr->type == VR_EXPR_OBJECT)
        return parts_of(expr);
    if (!vr_expr_constant(expr) || vr_expr_tainted(expr))
        return NULL;
    struct vr_error err = {0};
    json_t *value = vr_expr_eval(expr, NULL, &err);
    vr_error_clear(&err);
    return value;
}

static json_t *resource_of(const struct vr_decl *decl)
{
    json_t *fields = json_object();
    for (size_t i = 0; i < decl->field_count; i++) {
        json_t *value = value_of(decl->fields[i].expr);
        if (value)
            json_object_set_new(fields, decl->fields[i].name, value);
    }
    return json_pack("{s:s, s:s, s:o}", "address", decl->address, "kind", decl->kind->name,
                     "fields", fields);
}

static json_t *call_of(struct vr_session *session)
{
    const struct vr_decls *decls = vr_recipe_decls(session->recipe);
    json_t *resources = json_array(), *target = vr_state_meta(session->state, "target");
    for (size_t i = 0; i < vr_decls_count(decls); i++)
        json_array_append_new(resources, resource_of(vr_decls_at(decls, i)));
    char *endpoint = vr_format("%s/emulator/endpoint.json", session->folder);
    const char *chosen = session->args->subscription;
    json_t *call =
        json_pack("{s:s, s:o, s:s, s:s*, s:o*}", "stack", session->stack, "resources", resources,
                  "endpoint", endpoint, "subscription", chosen, "target", target);
    free(endpoint);
    return call;
}

static int permissions(struct vr_session *session, struct vr_error *err)
{
    if (!vr_session_open(session, VR_MODE_LOOK, err) || !vr_session_load(session, false, true, err))
        return VR_EXIT_ERROR;
    json_t *result = vr_session_call(session, "cli.permissions", "run", call_of(session), err);
    return result ? vr_tool_result(result) : VR_EXIT_ERROR;
}

int vr_cmd_permissions(int argc, char **argv)
{
    return vr_session_main(argc, argv, vr_permissions_options, permissions);
}
