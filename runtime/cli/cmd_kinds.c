/* vmrun kinds: what kinds of resources there are, and what each takes; from their own pages. */
#include <stdio.h>

#include "cli/cli.h"
#include "cli/session.h"
#include "cli/tool.h"

const struct vr_opt vr_kinds_options[] = {
    VR_OPT("json", 0, VR_OPT_FLAG, json, NULL, "as JSON"),
    VR_OPT("help", 'h', VR_OPT_FLAG, help, NULL, "this help"),
    VR_OPT_END,
};

int vr_cmd_kinds(int argc, char **argv)
{
    struct vr_args args = {0};
    struct vr_session session = {0};
    struct vr_error err = {0};
    int code;
    if (!vr_opt_parse(&args, vr_kinds_options, false, argc, argv, &err)) {
        code = vr_cli_usage(argv[0], &err);
    } else if (args.help) {
        code = vr_cmd_help(2, (char *[]){"help", argv[0]});
    } else if (!vr_session_begin(&session, &args, &err)) {
        code = vr_session_failed(&session, &err);
    } else {
        json_t *result = vr_session_call(&session, "cli.kinds", "run", vr_tool_args(&args), &err);
        code = result ? vr_tool_result(result) : vr_session_failed(&session, &err);
    }
    vr_session_end(&session);
    vr_opt_free(&args);
    return code;
}
