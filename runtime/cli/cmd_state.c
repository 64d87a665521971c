/* vmrun state list|show|rm|mv: what is remembered. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/session.h"
#include "cli/show.h"
#include "cli/ui.h"

const struct vr_opt vr_state_options[] = {VR_OPT_LOCK, VR_OPT_COMMON, VR_OPT_END};

int vr_cli_missing(struct vr_session *session, const char *address, struct vr_error *err)
{
    size_t slots = vr_state_slots(session->state), count = 0;
    const char **names = vr_alloc((slots + 1) * sizeof(*names));
    for (size_t i = 0; i < slots; i++)
        if (vr_state_at(session->state, i))
            names[count++] = vr_state_at(session->state, i)->address;
    const char *near = vr_text_nearest(address, names, count);
    vr_error_set(err, "missing", "the state has no '%s'", address);
    if (near)
        vr_error_hint(err, "did you mean '%s'?", near);
    free(names);
    return VR_EXIT_ERROR;
}

static bool wants(struct vr_session *session, size_t count, const char *what, struct vr_error *err)
{
    return session->args->words.count == count || vr_error_set(err, "usage", "which? %s", what);
}

static int list(struct vr_session *session, struct vr_error *err)
{
    if (!vr_session_open(session, VR_MODE_LOOK, err))
        return VR_EXIT_ERROR;
    json_t *rows = json_array();
    for (size_t i = 0; i < vr_state_slots(session->state); i++) {
        const struct vr_row *row = vr_state_at(session->state, i);
        if (row && !session->args->json)
            puts(row->address);
        else if (row)
            json_array_append_new(rows, json_pack("{s:s, s:s, s:s*, s:s*}", "address", row->address,
                                                  "kind", row->kind, "identity", row->identity,
                                                  "intent", row->intent));
    }
    if (session->args->json) {
        json_dumpf(rows, stdout, JSON_INDENT(2));
        putchar('\n');
    }
    json_decref(rows);
    return VR_EXIT_OK;
}

static void put_part(const char *title, const char *text)
{
    json_t *values = text ? json_loads(text, 0, NULL) : NULL, *value;
    if (json_object_size(values) > 0)
        printf("  %s:\n", title);
    const char *name;
    json_object_foreach(values, name, value)
    {
        char *shown = vr_show_value(value, 4);
        printf("    %s = %s\n", name, shown);
        free(shown);
    }
    json_decref(values);
}

static void put_row(const struct vr_row *row)
{
    printf("%s\n  kind: %s\n", row->address, row->kind);
    if (row->identity)
        printf("  identity: %s\n", row->identity);
    if (row->file)
        printf("  declared: %s:%d\n", row->file, row->line);
    if (row->intent)
        printf("  unfinished: %s\n", row->intent);
    put_part("fields", row->inputs);
    put_part("outputs", row->outputs);
    json_t *deps = row->deps ? json_loads(row->deps, 0, NULL) : NULL;
    if (json_array_size(deps) > 0)
        printf("  needs:\n");
    for (size_t i = 0; i < json_array_size(deps); i++)
        printf("    %s\n", json_string_value(json_array_get(deps, i)));
    json_decref(deps);
}

static int show(struct vr_session *session, struct vr_error *err)
{
    if (!wants(session, 1, "vmrun state show RECIPE ADDRESS", err) ||
        !vr_session_open(session, VR_MODE_LOOK, err))
        return VR_EXIT_ERROR;
    const char *address = session->args->words.items[0];
    const struct vr_row *row = vr_state_find(session->state, address);
    if (!row)
        return vr_cli_missing(session, address, err);
    if (!session->args->json) {
        put_row(row);
        return VR_EXIT_OK;
    }
    json_t *told = vr_session_describe(session);
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(told, "rows"), i, item)
    {
        if (strcmp(json_string_value(json_object_get(item, "address")), address) == 0) {
            json_dumpf(item, stdout, JSON_INDENT(2));
            putchar('\n');
        }
    }
    json_decref(told);
    return VR_EXIT_OK;
}

static int rm(struct vr_session *session, struct vr_error *err)
{
    if (session->args->words.count == 0) {
        vr_error_set(err, "usage", "which? vmrun state rm RECIPE ADDRESS ...");
        return VR_EXIT_ERROR;
    }
    if (!vr_session_open(session, VR_MODE_WRITE, err))
        return VR_EXIT_ERROR;
    for (size_t i = 0; i < session->args->words.count; i++)
        if (!vr_state_find(session->state, session->args->words.items[i]))
            return vr_cli_missing(session, session->args->words.items[i], err);
    for (size_t i = 0; i < session->args->words.count; i++) {
        vr_state_remove(session->state, session->args->words.items[i]);
        vr_ui_say(session->ui, "%s is forgotten; what it stands for is left as it is",
                  session->args->words.items[i]);
    }
    return vr_state_sync(session->state, err) ? VR_EXIT_OK : VR_EXIT_ERROR;
}

static int mv(struct vr_session *session, struct vr_error *err)
{
    if (!wants(session, 2, "vmrun state mv RECIPE FROM TO", err) ||
        !vr_session_open(session, VR_MODE_WRITE, err))
        return VR_EXIT_ERROR;
    const char *from = session->args->words.items[0], *to = session->args->words.items[1];
    if (!vr_state_find(session->state, from))
        return vr_cli_missing(session, from, err);
    if (!vr_state_move(session->state, from, to, err) || !vr_state_sync(session->state, err))
        return VR_EXIT_ERROR;
    vr_ui_say(session->ui, "%s is now %s", from, to);
    return VR_EXIT_OK;
}

int vr_cmd_state(int argc, char **argv)
{
    static const struct {
        const char *name;
        vr_session_body body;
    } parts[] = {{"list", list}, {"show", show}, {"rm", rm}, {"mv", mv}};
    if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0))
        return vr_cmd_help(2, (char *[]){"help", argv[0]});
    for (size_t i = 0; argc > 1 && i < sizeof(parts) / sizeof(parts[0]); i++) {
        if (strcmp(argv[1], parts[i].name) != 0)
            continue;
        argv[1] = argv[0];
        return vr_session_main(argc - 1, argv + 1, vr_state_options, parts[i].body);
    }
    struct vr_error err = {0};
    vr_error_set(&err, "usage", "state wants one of list, show, rm, mv");
    return vr_cli_usage(argv[0], &err);
}
