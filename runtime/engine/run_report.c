/* What ran when, and what it waited for. */
#include "engine/run_internal.h"

void vr_run_note_event(struct vr_run *run, struct vr_op *op, const struct vr_job *job,
                       double seconds)
{
    if (run->event_count == run->event_room) {
        run->event_room = run->event_room ? run->event_room * 2 : 64;
        run->events = vr_realloc(run->events, run->event_room * sizeof(*run->events));
    }
    run->events[run->event_count++] =
        (struct event){op, job->step.verb, job->started - run->start, seconds, !job->error.message};
}

static json_t *needs_of(const struct vr_op *op, struct vr_map *needs)
{
    json_t *list = vr_map_get(needs, vr_run_name_of(op));
    return list ? json_incref(list) : json_array();
}

static void collect_needs(const struct vr_run *run, struct vr_map *needs)
{
    for (size_t i = 0; i < run->ops.count; i++) {
        const struct vr_op *op = run->ops.items[i], *source = op->real ? op : op->last;
        for (struct vr_op_edge *edge = op->users; source && edge; edge = edge->next) {
            if (edge->dropped || !edge->to->real)
                continue;
            json_t *list = vr_map_get(needs, vr_run_name_of(edge->to));
            if (!list)
                vr_map_set(needs, vr_run_name_of(edge->to), list = json_array());
            json_array_append_new(list, json_string(vr_run_name_of(source)));
        }
    }
}

/* Event by event: as one value it would be as large as all else that a run holds. */
void vr_run_report(const struct vr_run *run, struct vr_buf *out)
{
    struct vr_map needs = {0};
    collect_needs(run, &needs);
    vr_buf_puts(out, "{\"events\":[");
    for (size_t i = 0; i < run->event_count; i++) {
        const struct event *event = &run->events[i];
        json_t *told =
            json_pack("{s:s,s:s,s:f,s:f,s:b,s:o}", "address", vr_run_name_of(event->op), "verb",
                      vr_verb_name(event->verb), "start", event->start, "seconds", event->seconds,
                      "ok", event->ok, "needs", needs_of(event->op, &needs));
        char *text = json_dumps(told, JSON_COMPACT);
        vr_buf_puts(out, i > 0 ? ",\n" : "\n");
        vr_buf_puts(out, text);
        free(text);
        json_decref(told);
    }
    vr_buf_puts(out, "]}\n");
    size_t cursor = 0;
    for (json_t *list; (list = vr_map_next(&needs, &cursor, NULL));)
        json_decref(list);
    vr_map_free(&needs);
}
