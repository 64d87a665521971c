/* vmrun import: things that exist and that the state does not know. With --all the recipe's names
 * say which. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "cli/cli.h"
#include "cli/session.h"
#include "cli/tell.h"
#include "cli/ui.h"

const struct vr_opt vr_import_options[] = {
    VR_OPT("all", 'a', VR_OPT_FLAG, all, NULL, "look for everything that the recipe declares"),
    VR_OPT_UNSET,
    VR_OPT_LOCK,
    VR_OPT_COMMON,
    VR_OPT_END,
};

/* Adopts what was found right; what differs is told, and is the next apply's. */
static int adopt(struct vr_session *session, struct vr_error *err)
{
    size_t count = vr_plan_count(session->plan), adopted = 0, differ = 0;
    const char **targets = vr_alloc((count + 1) * sizeof(*targets));
    for (size_t i = 0; i < count; i++) {
        const struct vr_node *node = vr_plan_at(session->plan, i);
        if (node->action == VR_ACTION_ADOPT) {
            targets[adopted++] = vr_strdup(node->address);
            vr_ui_say(session->ui, "  %s: found%s%s", node->address, node->identity ? ": " : "",
                      node->identity ? node->identity : "");
        } else if ((node->action == VR_ACTION_UPDATE || node->action == VR_ACTION_REPLACE) &&
                   !vr_state_find(session->state, node->address)) {
            differ++;
            vr_ui_say(session->ui, "  %s: found, and differs: %s", node->address, node->reason);
        }
    }
    int code = VR_EXIT_OK;
    if (adopted > 0) {
        struct vr_plan_options options = {.targets = targets, .target_count = adopted};
        if (!vr_session_plan(session, &options, err) || !vr_session_apply(session, err))
            code = VR_EXIT_ERROR;
        else
            vr_session_remember(session);
    }
    for (size_t i = 0; i < adopted; i++)
        free((char *)targets[i]);
    free(targets);
    if (code == VR_EXIT_OK && !vr_state_sync(session->state, err))
        code = VR_EXIT_ERROR;
    if (code == VR_EXIT_OK)
        vr_ui_say(session->ui,
                  "%zu imported, %zu found that differ (apply takes them over and changes them).",
                  adopted, differ);
    return code;
}

static int import_all(struct vr_session *session, struct vr_error *err)
{
    struct vr_plan_options options = {0};
    return vr_session_plan(session, &options, err) ? adopt(session, err) : VR_EXIT_ERROR;
}

/* A row with nothing but its identity: the plan's read says whether it is there. */
static int import_one(struct vr_session *session, const char *address, const char *id,
                      struct vr_error *err)
{
    struct vr_decl *decl = vr_decls_find(vr_recipe_decls(session->recipe), address);
    if (!decl) {
        vr_error_set(err, "import", "the recipe declares no '%s'", address);
        vr_error_hint(err, "declare it first; 'vmrun graph --format json' lists the addresses");
        return VR_EXIT_ERROR;
    }
    if (vr_state_find(session->state, address)) {
        vr_error_set(err, "import", "the state has '%s' already", address);
        return VR_EXIT_ERROR;
    }
    json_t *outputs = json_pack("{s:s}", "id", id);
    char *text = json_dumps(outputs, JSON_COMPACT);
    json_decref(outputs);
    struct vr_row row = {.address = address,
                         .kind = decl->kind->name,
                         .identity = id,
                         .inputs = "{}",
                         .outputs = text,
                         .deps = "[]",
                         .file = decl->file,
                         .line = decl->line};
    vr_state_put(session->state, &row);
    free(text);
    const char *targets[] = {address};
    struct vr_plan_options options = {.targets = targets, .target_count = 1};
    if (!vr_session_plan(session, &options, err)) {
        vr_state_remove(session->state, address);
        return VR_EXIT_ERROR;
    }
    const struct vr_node *node = vr_plan_find(session->plan, address);
    if (!node || node->action == VR_ACTION_CREATE || node->action == VR_ACTION_UNKNOWN) {
        vr_state_remove(session->state, address);
        vr_error_set(err, "import", "%s was not found as %s", id, address);
        return VR_EXIT_ERROR;
    }
    vr_session_show(session);
    vr_session_remember(session);
    return vr_state_sync(session->state, err) ? VR_EXIT_OK : VR_EXIT_ERROR;
}

static int import(struct vr_session *session, struct vr_error *err)
{
    const struct vr_texts *words = &session->args->words;
    if (session->args->all ? words->count != 0 : words->count != 2) {
        vr_error_set(err, "usage", "import wants ADDRESS and ID, or --all");
        return VR_EXIT_ERROR;
    }
    if (!vr_session_prepare(session, false, err))
        return VR_EXIT_ERROR;
    return session->args->all ? import_all(session, err)
                              : import_one(session, words->items[0], words->items[1], err);
}

int vr_cmd_import(int argc, char **argv)
{
    return vr_session_main(argc, argv, vr_import_options, import);
}
