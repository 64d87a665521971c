/* vmrun check: evaluates and type-checks. No request is sent, and no state is read. */
#include <stdio.h>

#include "cli/cli.h"
#include "cli/opt.h"
#include "cli/session.h"

const struct vr_opt vr_check_options[] = {VR_OPT_COMMON, VR_OPT_END};

static void tell_warnings(const json_t *warnings)
{
    size_t i;
    json_t *warning;
    json_array_foreach(warnings, i, warning)
    {
        struct vr_error err = {0};
        vr_error_set(&err, "warning", "warning: %s",
                     json_string_value(json_object_get(warning, "message")));
        vr_error_place(&err, json_string_value(json_object_get(warning, "file")),
                       (int)json_integer_value(json_object_get(warning, "line")));
        err.column = (int)json_integer_value(json_object_get(warning, "column"));
        err.width = (int)json_integer_value(json_object_get(warning, "width"));
        vr_cli_error(&err);
        vr_error_clear(&err);
    }
}

static void tell_summary(struct vr_session *session)
{
    struct vr_decls *decls = vr_recipe_decls(session->recipe);
    size_t count = vr_decls_count(decls), outputs = vr_decls_output_count(decls);
    size_t warnings = json_array_size(vr_recipe_warnings(session->recipe));
    if (session->args->json) {
        printf("{\"ok\": true, \"resources\": %zu, \"outputs\": %zu, \"warnings\": %zu}\n", count,
               outputs, warnings);
        return;
    }
    printf("%s: %zu %s, %zu %s, no errors\n", session->args->recipe, count,
           count == 1 ? "resource" : "resources", outputs, outputs == 1 ? "output" : "outputs");
}

static int check(struct vr_session *session, struct vr_error *err)
{
    if (!vr_session_load(session, true, false, err))
        return VR_EXIT_ERROR;
    tell_warnings(vr_recipe_warnings(session->recipe));
    tell_summary(session);
    return VR_EXIT_OK;
}

int vr_cmd_check(int argc, char **argv)
{
    return vr_session_main(argc, argv, vr_check_options, check);
}
