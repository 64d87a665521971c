/* vmrun emulator: the emulator of a state folder. Its verbs are stdlib/cli/emulator.lua. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "cli/cli.h"
#include "cli/folder.h"
#include "cli/session.h"
#include "cli/tool.h"

const struct vr_opt vr_emulator_options[] = {
    VR_OPT("state-dir", 0, VR_OPT_TEXT, state_dir, "DIR", "whose emulator (default: .vmrun)"),
    VR_OPT("clock", 0, VR_OPT_TEXT, clock, "FACTOR",
           "start, serve: how many times faster than the world it is"),
    VR_OPT("profile", 0, VR_OPT_TEXT, profile, "NAME",
           "start, serve: how long requests take: instant (the default) or azure"),
    VR_OPT("seed", 0, VR_OPT_TEXT, seed, "N", "start, serve: what chance begins with"),
    VR_OPT("machines", 0, VR_OPT_TEXT, machines, "KIND",
           "start, serve: what instances are: namespaces (the default) or systemd (needs root)"),
    VR_OPT("cloud", 0, VR_OPT_FLAG, cloud, NULL,
           "env: as a cloud of its own, at its own addresses, instead of as Azure by a proxy"),
    VR_OPT("json", 0, VR_OPT_FLAG, json, NULL, "JSON instead of text"),
    VR_OPT("log-level", 0, VR_OPT_TEXT, log_level, "LEVEL", "debug, info, warn, error or none"),
    VR_OPT("help", 'h', VR_OPT_FLAG, help, NULL, "this help"),
    VR_OPT_END,
};

static int run(struct vr_session *session, struct vr_args *args, struct vr_error *err)
{
    const char *verb = args->recipe;
    args->recipe = NULL;
    /* `serve FOLDER` makes that folder itself, and has no state folder. */
    bool serve = strcmp(verb, "serve") == 0 && args->words.count > 0,
         makes = !serve && strcmp(verb, "start") == 0;
    if (!vr_session_begin(session, args, err) || (makes && !vr_folder_make(session->folder, err)))
        return VR_EXIT_ERROR;
    char *relative =
        serve ? vr_strdup(args->words.items[0]) : vr_format("%s/emulator", session->folder);
    char *folder = vr_folder_absolute(relative);
    json_t *call = vr_tool_args(args);
    json_object_set_new(call, "verb", json_string(verb));
    json_object_set_new(call, "dir", json_string(folder));
    free(relative);
    free(folder);
    json_t *result = vr_session_call(session, "cli.emulator", "run", call, err);
    return result ? vr_tool_result(result) : VR_EXIT_ERROR;
}

int vr_cmd_emulator(int argc, char **argv)
{
    return vr_session_main_bare(argc, argv, vr_emulator_options, "emulator wants a verb", run);
}
