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
    json_array_foreach(warnings, i, warning) {
        struct vr_error err = {0};
        vr_error_set(&err, "warning", "warning: %s", json_string_value(json_object_get(warning, "message")));
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
        printf("{\"ok\": true, \"resources\": %zu, \"outputs\": %zu, \"warnings\": %zu}\n", count, outputs, warnings);
        return;
    }
    printf("%s: %zu %s, %zu %s, no errors\n", session->args->recipe, count, count == 1 ? "resource" : "resources", outputs,
           outputs == 1 ? "output" : "outputs");
}

int vr_cmd_check(int argc, char **argv)
{
    struct vr_args args = {0};
    struct vr_session session = {0};
    struct vr_error err = {0};
    int code = VR_EXIT_OK;
    if (!vr_opt_parse(&args, vr_check_options, true, argc, argv, &err)) {
        code = vr_cli_usage(argv[0], &err);
    } else if (args.help) {
        code = vr_cmd_help(2, (char *[]){"help", argv[0]});
    } else if (!args.recipe) {
        vr_error_set(&err, "usage", "which recipe?");
        code = vr_cli_usage(argv[0], &err);
    } else if (!vr_session_begin(&session, &args, &err) || !vr_session_load(&session, true, &err)) {
        code = vr_session_failed(&session, &err);
    } else {
        tell_warnings(vr_recipe_warnings(session.recipe));
        tell_summary(&session);
    }
    vr_session_end(&session);
    vr_opt_free(&args);
    return code;
}
