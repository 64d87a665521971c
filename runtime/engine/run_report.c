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

/* An operation and one that it waited for. */
struct need {
    const struct vr_op *op, *of;
};

struct needs {
    struct need *items; /* sorted by operation */
    size_t count, room;
};

static int by_op(const void *x, const void *y)
{
    const struct need *a = x, *b = y;
    return a->op != b->op ? (a->op > b->op) - (a->op < b->op) : (a->of > b->of) - (a->of < b->of);
}

static struct needs collect_needs(const struct vr_run *run)
{
    struct needs needs = {0};
    for (size_t i = 0; i < run->ops.count; i++) {
        const struct vr_op *op = run->ops.items[i], *source = op->real ? op : op->last;
        for (struct vr_op_edge *edge = op->users; source && edge; edge = edge->next) {
            if (edge->dropped || !edge->to->real)
                continue;
            if (needs.count == needs.room) {
                needs.room = needs.room ? needs.room * 2 : 256;
                needs.items = vr_realloc(needs.items, needs.room * sizeof(*needs.items));
            }
            needs.items[needs.count++] = (struct need){edge->to, source};
        }
    }
    if (needs.count > 0)
        qsort(needs.items, needs.count, sizeof(*needs.items), by_op);
    return needs;
}

static json_t *needs_of(const struct vr_op *op, const struct needs *needs)
{
    size_t first = 0, end = needs->count;
    while (first < end) {
        size_t middle = first + (end - first) / 2;
        if (needs->items[middle].op < op)
            first = middle + 1;
        else
            end = middle;
    }
    json_t *list = json_array();
    for (; first < needs->count && needs->items[first].op == op; first++)
        json_array_append_new(list, json_string(vr_run_name_of(needs->items[first].of)));
    return list;
}

/* Event by event: as one value it would be as large as all else that a run holds. */
void vr_run_report(const struct vr_run *run, struct vr_buf *out)
{
    struct needs needs = collect_needs(run);
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
    free(needs.items);
}
