#include "cli/saved.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "cli/params.h"

static const char MARK[] = "{\"vmrun-plan\":";

bool vr_saved_write(struct vr_session *session, const char *path, struct vr_error *err)
{
    json_t *saved =
        json_pack("{s:i, s:s, s:s, s:s, s:o, s:b, s:o}", "vmrun-plan", 1, "recipe", session->path,
                  "stack", session->stack, "state_dir", session->folder, "parameters",
                  vr_params_keep(vr_recipe_params(session->recipe)), "destroy",
                  session->args->destroy, "plan", vr_plan_json(session->plan));
    char *text = json_dumps(saved, JSON_COMPACT);
    json_decref(saved);
    if (!text)
        return vr_error_set(err, "internal", "the plan has no form as JSON");
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    size_t length = strlen(text);
    bool ok = fd >= 0 && write(fd, text, length) == (ssize_t)length;
    if (!ok)
        vr_error_system(err, errno, "cannot write %s", path);
    if (fd >= 0)
        close(fd);
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
    if (json_integer_value(json_object_get(saved, "vmrun-plan")) != 1 ||
        !json_object_get(saved, "plan")) {
        json_decref(saved);
        vr_error_set(err, "plan", "%s was saved by another version of vmrun", path);
        return NULL;
    }
    return saved;
}
