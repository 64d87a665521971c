/* What run.c (the run and its turns), run_op.c (an operation from its start to its end), run_row.c
 * (what is written down) and run_report.c share. */
#ifndef VR_ENGINE_RUN_INTERNAL_H
#define VR_ENGINE_RUN_INTERNAL_H

#include "engine/op.h"
#include "engine/run.h"

struct list {
    struct vr_op *head, *tail;
};

/* A note that a step asked for, until it is durable. */
struct record {
    struct vr_job *job;
    vr_step_recorded done;
    void *payload;
    uint64_t ticket; /* 0: not asked for yet; SIZE_MAX: refused */
    struct record *next;
};

struct event {
    struct vr_op *op;
    enum vr_verb verb;
    double start, seconds;
    bool ok;
};

struct vr_run {
    struct vr_run_options options;
    struct vr_plan *plan;
    struct vr_state *state;
    struct vr_crew *crew;
    struct vr_ops ops;
    struct list ready;   /* nothing is waited for any more */
    struct list intents; /* in the order of their commits */
    struct record *records, **records_end;
    struct event *events;
    size_t event_count, event_room;
    struct vr_node **failures;
    size_t failure_count;
    struct vr_run_summary summary;
    size_t left; /* operations that have not ended */
    size_t real_done, real_total, busy;
    double start;
    uint64_t ticket; /* of the last commit asked for */
    bool dirty;      /* something was put since */
    bool stopping;   /* nothing more is started */
    bool started, finished;
    char *reason; /* why it was cancelled */
    struct vr_error state_error;
    vr_run_done done;
    void *payload;
};

static inline void vr_run_push(struct list *list, struct vr_op *op)
{
    op->next = NULL;
    if (list->tail)
        list->tail->next = op;
    else
        list->head = op;
    list->tail = op;
}

static inline struct vr_op *vr_run_pop(struct list *list)
{
    struct vr_op *op = list->head;
    list->head = op->next;
    if (!list->head)
        list->tail = NULL;
    return op;
}

static inline double vr_run_now(const struct vr_run *run)
{
    return run->options.host->now(run->options.host->payload);
}

/* Tells how many operations are done. */
void vr_run_totals(struct vr_run *run);
const char *vr_run_name_of(const struct vr_op *op);

/* run_op.c. Of an operation for which nothing is waited any more: whether it ended in passing; else
 * it begins when the crew has a place, starts when its intent is durable, and has ended when its
 * job has. */
bool vr_run_op_settle(struct vr_run *run, struct vr_op *op);
void vr_run_op_begin(struct vr_run *run, struct vr_op *op);
void vr_run_op_start(struct vr_run *run, struct vr_op *op);
void vr_run_op_ended(struct vr_run *run, struct vr_op *op, struct vr_job *job);
void vr_run_op_skip(struct vr_run *run, struct vr_op *op, const char *why);

/* run_row.c. Rows of the state, and the notes of steps, which are answered when they are durable.
 */
void vr_run_put_intent(struct vr_run *run, struct vr_op *op);
void vr_run_put_result(struct vr_run *run, struct vr_node *node, const char *intent,
                       double duration);
void vr_run_remove_row(struct vr_run *run, const struct vr_node *node);
void vr_run_note(void *payload, struct vr_job *job, json_t *note, vr_step_recorded done,
                 void *done_payload);
void vr_run_answer_notes(struct vr_run *run);
void vr_run_drop_notes(struct vr_run *run, const struct vr_job *job);

/* run_report.c: a step that ended. */
void vr_run_note_event(struct vr_run *run, struct vr_op *op, const struct vr_job *job,
                       double seconds);

#endif
