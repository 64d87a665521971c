/* vmrun schema: the schemas that azure.resource is checked by. Its verbs are stdlib/cli/schema.lua.
 */
#include <stdio.h>

#include "cli/cli.h"
#include "cli/session.h"
#include "cli/tool.h"

const struct vr_opt vr_schema_options[] = {
    VR_OPT("from", 0, VR_OPT_TEXT, from, "DIR|FILE",
           "add: the checkout, the folder of JSON Schema files, or the file"),
    VR_OPT("json", 0, VR_OPT_FLAG, json, NULL, "JSON instead of text"),
    VR_OPT("help", 'h', VR_OPT_FLAG, help, NULL, "this help"),
    VR_OPT_END,
};

static int schema(struct vr_session *session, struct vr_error *err)
{
    json_t *call = vr_tool_args(session->args);
    if (session->args->from)
        json_object_set_new(call, "from", json_string(session->args->from));
    json_t *result = vr_session_call(session, "cli.schema", "run", call, err);
    return result ? vr_tool_result(result) : VR_EXIT_ERROR;
}

int vr_cmd_schema(int argc, char **argv)
{
    return vr_session_main_with(VR_RECIPE_NONE, argc, argv, vr_schema_options, schema);
}
