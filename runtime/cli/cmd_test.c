/* vmrun test: recipes tested with mocked outputs or on the emulator. The rest is
 * stdlib/cli/test.lua. */
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/session.h"
#include "cli/tool.h"

const struct vr_opt vr_test_options[] = {
    VR_OPT("junit", 0, VR_OPT_TEXT, junit, "FILE", "what came of it, as JUnit's XML, too"),
    VR_OPT("parallel", 0, VR_OPT_TEXTS, parallel, "N",
           "N cases at once (default: as many as cores)"),
    VR_OPT("log-level", 0, VR_OPT_TEXT, log_level, "LEVEL", "debug, info, warn, error or none"),
    VR_OPT("help", 'h', VR_OPT_FLAG, help, NULL, "this help"),
    VR_OPT_END,
};

static int run(struct vr_session *session, struct vr_args *args, struct vr_error *err)
{
    json_t *paths = json_array();
    json_array_append_new(paths, json_string(args->recipe ? args->recipe : "."));
    for (size_t i = 0; i < args->words.count; i++)
        json_array_append_new(paths, json_string(args->words.items[i]));
    args->recipe = NULL;
    if (!vr_session_begin(session, args, err)) {
        json_decref(paths);
        return VR_EXIT_ERROR;
    }
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    json_int_t parallel = session->limits.total > 0 ? (json_int_t)session->limits.total
                          : cores > 0               ? cores
                                                    : 1;
    json_t *call =
        json_pack("{s:o, s:I, s:s*}", "paths", paths, "parallel", parallel, "junit", args->junit);
    json_t *result = vr_session_call(session, "cli.test", "run", call, err);
    return result ? vr_tool_result(result) : VR_EXIT_ERROR;
}

int vr_cmd_test(int argc, char **argv)
{
    return vr_session_main_bare(argc, argv, vr_test_options, NULL, run);
}
