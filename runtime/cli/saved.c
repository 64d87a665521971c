#include "cli/saved.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "cli/params.h"

static const char MARK[] = "{\"vmrun-plan\":";
enum { FORMAT = 2 };

static json_t *texts(const struct vr_texts *texts)
{
    json_t *list = json_array();
    for (size_t i = 0; i < texts->count; i++)
        json_array_append_new(list, json_string(texts->items[i]));
    return list;
}

bool vr_saved_write(struct vr_session *session, const char *path, struct vr_error *err)
{
    const struct vr_args *args = session->args;
    json_t *saved = json_pack(
        "{s:i, s:s, s:s, s:s, s:o*, s:o, s:b, s:b, s:o, s:o, s:o, s:o}", "vmrun-plan", FORMAT,
        "recipe", session->path, "stack", session->stack, "state_dir", session->folder, "target",
        vr_session_lasting_target(session), "parameters",
        vr_params_keep(vr_recipe_params(session->recipe)), "destroy", args->destroy, "refresh_only",
        args->refresh_only, "targets", texts(&args->targets), "excludes", texts(&args->excludes),
        "replace", texts(&args->replace), "plan", vr_plan_json(session->plan));
    char *text = json_dumps(saved, JSON_COMPACT);
    json_decref(saved);
    if (!text)
        return vr_error_set(err, "internal", "the plan has no form as JSON");
    bool ok = vr_file_replace(path, text, strlen(text), 0600, false) ||
              vr_error_system(err, errno, "cannot write %s", path);
    free(text);
    return ok;
}

bool vr_saved_is(const char *path)
{
    char start[sizeof(MARK)] = "";
    FILE *file = fopen(path, "r");
    if (!file)
        return false;
    size_t got = fread(start, 1, sizeof(MARK) - 1, file);
    fclose(file);
    return got == sizeof(MARK) - 1 && memcmp(start, MARK, got) == 0;
}

json_t *vr_saved_read(const char *path, struct vr_error *err)
{
    json_error_t problem;
    json_t *saved = json_load_file(path, 0, &problem);
    if (!saved) {
        vr_error_set(err, "plan", "%s is no saved plan: %s", path, problem.text);
        return NULL;
    }
    if (json_integer_value(json_object_get(saved, "vmrun-plan")) != FORMAT ||
        !json_object_get(saved, "plan")) {
        json_decref(saved);
        vr_error_set(err, "plan", "%s was saved by another version of vmrun", path);
        return NULL;
    }
    return saved;
}
