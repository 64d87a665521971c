/* Operations become ready when nothing that they wait for is left. A real one waits for a place
 * with the crew, evaluates its fields with what is known by then, writes its intent, and starts
 * when that is durable. All that happens in a turn is one batch for the state: a result and the
 * intents that it releases share a commit, so a chain of N operations takes N + 1. What needs no
 * verb is done in passing. */
#include "engine/run.h"

#include <assert.h>
#include <stdlib.h>

#include "engine/run_internal.h"

void vr_run_totals(struct vr_run *run)
{
    const struct vr_status *status = run->options.status;
    if (status && status->totals)
        status->totals(status->payload, run->real_done, run->busy, run->real_total);
}

static void show_progress(void *payload, struct vr_job *job, const char *text, bool said)
{
    struct vr_run *run = payload;
    struct vr_op *op = job->owner;
    const struct vr_status *status = run->options.status;
    if (status && status->progress)
        status->progress(status->payload, op->node, job->step.verb, text, said);
}

struct vr_run *vr_run_new(const struct vr_run_options *options, struct vr_error *err)
{
    struct vr_plan *plan = options->plan;
    assert(plan->finished);
    if (plan->error_count > 0) {
        vr_error_set(err, "plan", "the plan has errors");
        return NULL;
    }
    if (plan->applied) {
        vr_error_set(err, "plan", "the plan was applied already");
        return NULL;
    }
    if (vr_state_serial(plan->options.state) != plan->serial) {
        vr_error_set(err, "moved", "the state moved on since the plan was made");
        vr_error_hint(err, "plan again");
        return NULL;
    }
    plan->applied = true;
    struct vr_run *run = vr_alloc(sizeof(*run));
    run->options = *options;
    run->plan = plan;
    run->state = plan->options.state;
    run->records_end = &run->records;
    run->crew = vr_crew_new(options->runner, options->host, &options->limits,
                            (struct vr_crew_sink){vr_run_note, show_progress, run});
    run->ops = vr_ops_make(plan);
    run->left = run->ops.count;
    for (size_t i = 0; i < run->ops.count; i++)
        run->real_total += run->ops.items[i]->real;
    return run;
}

void vr_run_free(struct vr_run *run)
{
    if (!run)
        return;
    if (run->started)
        vr_state_on_commit(run->state, NULL, NULL);
    for (struct record *record = run->records, *next; record; record = next) {
        next = record->next;
        free(record);
    }
    vr_crew_free(run->crew);
    vr_ops_free(&run->ops);
    vr_error_clear(&run->state_error);
    free(run->events);
    free(run->failures);
    free(run->reason);
    free(run);
}

static void move_rows(struct vr_run *run)
{
    for (size_t i = 0; i < run->plan->shown.count; i++) {
        const struct vr_node *node = run->plan->shown.items[i];
        if (node->moved_from && vr_state_move(run->state, node->moved_from, node->address, NULL))
            run->dirty = true;
    }
}

void vr_run_start(struct vr_run *run, vr_run_done done, void *payload)
{
    assert(!run->started);
    run->started = true;
    run->done = done;
    run->payload = payload;
    run->start = vr_run_now(run);
    vr_state_on_commit(run->state, run->options.host->notify, run->options.host->payload);
    move_rows(run);
    for (size_t i = 0; i < run->ops.count; i++)
        if (run->ops.items[i]->waits == 0)
            vr_run_push(&run->ready, run->ops.items[i]);
    vr_run_totals(run);
    run->options.host->notify(run->options.host->payload);
}

static void finish_jobs(struct vr_run *run)
{
    struct vr_job *job;
    while ((job = vr_crew_finished(run->crew))) {
        vr_run_drop_notes(run, job);
        vr_run_op_ended(run, job->owner, job);
        vr_job_free(job);
    }
}

static void start_durable(struct vr_run *run)
{
    uint64_t durable = vr_state_durable(run->state);
    while (!run->stopping && run->intents.head && run->intents.head->ticket != 0 &&
           run->intents.head->ticket <= durable)
        vr_run_op_start(run, vr_run_pop(&run->intents));
}

static void sort_ready(struct vr_run *run)
{
    while (run->ready.head) {
        struct vr_op *op = vr_run_pop(&run->ready);
        if (!vr_run_op_settle(run, op)) {
            op->state = VR_OP_READY;
            vr_crew_wait(run->crew, op->node->kind, op->path, op);
        }
    }
}

static void take_ready(struct vr_run *run)
{
    struct vr_op *op;
    while (!run->stopping && (op = vr_crew_take(run->crew))) {
        op->placed = true;
        run->busy++;
        vr_run_op_begin(run, op);
        vr_run_totals(run);
    }
}

static void commit(struct vr_run *run)
{
    if (!run->dirty || run->state_error.message)
        return;
    run->dirty = false;
    run->ticket = vr_state_commit(run->state);
    for (struct vr_op *op = run->intents.head; op; op = op->next)
        if (op->ticket == 0)
            op->ticket = run->ticket;
    for (struct record *record = run->records; record; record = record->next)
        if (record->ticket == 0)
            record->ticket = run->ticket;
}

static void check_state(struct vr_run *run)
{
    if (run->state_error.message || !vr_state_failed(run->state, &run->state_error))
        return;
    run->stopping = true;
    if (!run->reason)
        run->reason = vr_strdup("the state cannot be written");
}

/* What was not begun when the run stops. */
static void give_up(struct vr_run *run)
{
    for (size_t i = 0; i < run->ops.count; i++) {
        struct vr_op *op = run->ops.items[i];
        if (op->state == VR_OP_WAITING || op->state == VR_OP_READY || op->state == VR_OP_INTENT)
            vr_run_op_skip(run, op, run->reason);
    }
    run->intents = (struct list){0};
}

static bool is_saved(const struct vr_run *run)
{
    return run->state_error.message || (!run->dirty && vr_state_durable(run->state) >= run->ticket);
}

void vr_run_turn(struct vr_run *run)
{
    if (!run->started || run->finished)
        return;
    do {
        finish_jobs(run);
        vr_run_answer_notes(run);
        sort_ready(run);
        start_durable(run);
        take_ready(run);
    } while (vr_crew_has_finished(run->crew) || run->ready.head);
    check_state(run);
    if (run->stopping && vr_crew_running(run->crew) == 0 && run->left > 0)
        give_up(run);
    commit(run);
    if (run->left > 0)
        /* no deadlock */
        assert(run->stopping || run->intents.head || vr_crew_running(run->crew) > 0);
    if (run->left == 0 && vr_crew_running(run->crew) == 0 && is_saved(run)) {
        run->finished = true;
        run->summary.cancelled = run->summary.cancelled || run->state_error.message != NULL;
        run->done(run->payload);
    }
}

void vr_run_cancel(struct vr_run *run, enum vr_cancel how, const char *reason)
{
    if (run->finished)
        return;
    run->stopping = run->summary.cancelled = true;
    if (!run->reason)
        run->reason = vr_strdup(reason ? reason : "cancelled");
    if (how == VR_CANCEL_NOW)
        vr_crew_cancel(run->crew, run->reason);
    run->options.host->notify(run->options.host->payload);
}

struct vr_run_summary vr_run_summary(const struct vr_run *run)
{
    return run->summary;
}

size_t vr_run_failure_count(const struct vr_run *run)
{
    return run->failure_count;
}

const struct vr_node *vr_run_failure_at(const struct vr_run *run, size_t index)
{
    return run->failures[index];
}

const struct vr_error *vr_run_state_error(const struct vr_run *run)
{
    return run->state_error.message ? &run->state_error : NULL;
}
