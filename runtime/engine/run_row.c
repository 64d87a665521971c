/* What a run writes down: intents before effects, results after them, and the notes of steps. */
#include <stdlib.h>

#include "engine/run_internal.h"

static char *dump(json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    json_decref(value);
    return text;
}

static struct vr_row row_of(struct vr_run *run, const struct vr_node *node)
{
    const struct vr_row *there = vr_state_find(run->state, node->address);
    if (there)
        return *there;
    return (struct vr_row){.address = node->address,
                           .kind = node->kind->name,
                           .member = node->member,
                           .inputs = "{}",
                           .deps = "[]"};
}

static void put(struct vr_run *run, const struct vr_row *row)
{
    vr_state_put(run->state, row);
    run->dirty = true;
}

void vr_run_put_intent(struct vr_run *run, struct vr_op *op)
{
    struct vr_node *node = op->node;
    const char *deposed = op->del ? node->private->deposed : NULL;
    struct vr_row row = deposed ? *vr_state_find(run->state, deposed) : row_of(run, node);
    char *inputs = NULL, *deps = NULL;
    row.intent = vr_verb_name(op->verb);
    if (node->file && !op->del) {
        row.file = node->file;
        row.line = node->line;
    }
    if (op->verb == VR_VERB_CREATE) {
        row.inputs = inputs = dump(vr_node_inputs(node));
        row.deps = deps = dump(vr_node_deps(node));
        row.outputs = NULL;
        row.identity = node->identity;
    }
    put(run, &row);
    free(inputs);
    free(deps);
}

/* What is known of a node when it is as it should be. */
void vr_run_put_result(struct vr_run *run, struct vr_node *node, const char *intent,
                       double duration)
{
    struct vr_node_private *p = node->private;
    struct vr_row row = row_of(run, node);
    char *inputs = p->keep_inputs ? NULL : dump(vr_node_inputs(node)),
         *deps = dump(vr_node_deps(node));
    char *outputs = dump(p->outputs ? vr_value_redact(p->plan, p->outputs) : json_object());
    if (inputs)
        row.inputs = inputs;
    row.outputs = outputs;
    row.deps = deps;
    row.identity = node->identity;
    row.intent = intent;
    row.recorded = NULL;
    row.file = node->file;
    row.line = node->line;
    if (duration > 0)
        row.duration = duration;
    put(run, &row);
    free(inputs);
    free(outputs);
    free(deps);
}

void vr_run_remove_row(struct vr_run *run, const struct vr_node *node)
{
    const char *address = node->private->deposed ? node->private->deposed : node->address;
    if (!vr_state_find(run->state, address))
        return;
    vr_state_remove(run->state, address);
    run->dirty = true;
}

void vr_run_note(void *payload, struct vr_job *job, json_t *note, vr_step_recorded done,
                 void *done_payload)
{
    struct vr_run *run = payload;
    struct vr_op *op = job->owner;
    const char *address =
        op->del && op->node->private->deposed ? op->node->private->deposed : op->node->address;
    const struct vr_row *there = vr_state_find(run->state, address);
    bool possible = there && job->step.verb != VR_VERB_READ && !run->state_error.message;
    char *text = dump(note);
    if (possible) {
        struct vr_row row = *there;
        row.recorded = text;
        put(run, &row);
    }
    free(text);
    struct record *record = vr_alloc(sizeof(*record));
    *record = (struct record){job, done, done_payload, possible ? 0 : UINT64_MAX, NULL};
    *run->records_end = record;
    run->records_end = &record->next;
    run->options.host->notify(run->options.host->payload);
}

void vr_run_answer_notes(struct vr_run *run)
{
    uint64_t durable = vr_state_durable(run->state);
    for (struct record **at = &run->records, *record; (record = *at);) {
        bool refused = record->ticket == UINT64_MAX || run->state_error.message;
        if (!refused && (record->ticket == 0 || record->ticket > durable)) {
            at = &record->next;
            continue;
        }
        *at = record->next;
        if (!record->next)
            run->records_end = at;
        if (record->done)
            record->done(record->payload, !refused);
        free(record);
        at = &run->records; /* done may have asked for another */
    }
}

void vr_run_drop_notes(struct vr_run *run, const struct vr_job *job)
{
    for (struct record **at = &run->records, *record; (record = *at);) {
        if (record->job != job) {
            at = &record->next;
            continue;
        }
        *at = record->next;
        free(record);
    }
    run->records_end = &run->records;
    while (*run->records_end)
        run->records_end = &(*run->records_end)->next;
}
