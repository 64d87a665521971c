/* Operations become ready when nothing that they wait for is left. A real one waits for a place
 * with the crew, evaluates its fields with what is known by then, writes its intent, and starts
 * when that is durable. All that happens in a turn is one batch for the state: a result and the
 * intents that it releases share a commit, so a chain of N operations takes N + 1. What needs no
 * verb is done in passing. */
#include "engine/run.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "engine/expr.h"
#include "engine/op.h"

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

static void push(struct list *list, struct vr_op *op)
{
    op->next = NULL;
    if (list->tail)
        list->tail->next = op;
    else
        list->head = op;
    list->tail = op;
}

static struct vr_op *pop(struct list *list)
{
    struct vr_op *op = list->head;
    list->head = op->next;
    if (!list->head)
        list->tail = NULL;
    return op;
}

static double now(const struct vr_run *run)
{
    return run->options.host->now(run->options.host->payload);
}

static void totals(struct vr_run *run)
{
    const struct vr_status *status = run->options.status;
    if (status && status->totals)
        status->totals(status->payload, run->real_done, run->busy, run->real_total);
}

/* What is written down. */

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

static void put_intent(struct vr_run *run, struct vr_op *op)
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
static void put_result(struct vr_run *run, struct vr_node *node, const char *intent,
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

static void remove_row(struct vr_run *run, const struct vr_node *node)
{
    const char *address = node->private->deposed ? node->private->deposed : node->address;
    if (!vr_state_find(run->state, address))
        return;
    vr_state_remove(run->state, address);
    run->dirty = true;
}

/* Ends of operations. */

static void released(struct vr_run *run, struct vr_op *op)
{
    if (--op->waits == 0 && op->state == VR_OP_WAITING)
        push(&run->ready, op);
}

static void leave_crew(struct vr_run *run, struct vr_op *op)
{
    if (!op->placed)
        return;
    op->placed = false;
    vr_crew_leave(run->crew, op->node->kind);
    run->busy--;
}

static void end(struct vr_run *run, struct vr_op *op, enum vr_op_state state)
{
    leave_crew(run, op);
    op->state = state;
    run->left--;
    if (op->real)
        run->real_done++;
    if (op->real)
        totals(run);
}

static void finish(struct vr_run *run, struct vr_op *op)
{
    double at = op->real ? now(run) : op->last_end;
    end(run, op, VR_OP_DONE);
    if (op->end_path > run->summary.critical_path)
        run->summary.critical_path = op->end_path;
    for (struct vr_op_edge *edge = op->users; edge; edge = edge->next) {
        if (edge->dropped)
            continue;
        struct vr_op *user = edge->to;
        if (op->end_path > user->end_path)
            user->end_path = op->end_path;
        if (at >= user->last_end) {
            user->last_end = at;
            user->last = op->real ? op : op->last;
        }
        released(run, user);
    }
}

static const char *name_of(const struct vr_op *op)
{
    return op->node->address ? op->node->address : op->node->decl->address;
}

static void skip(struct vr_run *run, struct vr_op *op, const char *why)
{
    end(run, op, VR_OP_SKIPPED);
    if (!op->real)
        return;
    run->summary.skipped++;
    if (!op->node->error.message)
        vr_error_set(&op->node->error, "skipped", "%s was not done: %s", name_of(op), why);
    const struct vr_status *status = run->options.status;
    if (status && status->skipped)
        status->skipped(status->payload, op->node, why);
}

/* All that waits for this one, however far, is not done. */
static void skip_users(struct vr_run *run, struct vr_op *op, const char *why)
{
    struct list list = {0};
    push(&list, op);
    while (list.head) {
        for (struct vr_op_edge *edge = pop(&list)->users; edge; edge = edge->next) {
            if (edge->dropped || edge->to->state != VR_OP_WAITING)
                continue;
            skip(run, edge->to, why);
            push(&list, edge->to);
        }
    }
}

static void fail(struct vr_run *run, struct vr_op *op, struct vr_error *err)
{
    struct vr_node *node = op->node;
    const struct vr_status *status = run->options.status;
    bool cancelled = run->stopping && err->code && strcmp(err->code, "cancelled") == 0;
    enum vr_verb verb = op->verb;
    vr_error_clear(&node->error);
    vr_error_move(&node->error, err);
    if (!node->error.file && node->file)
        vr_error_place(&node->error, node->file, node->line);
    if (cancelled) {
        end(run, op, VR_OP_SKIPPED);
        run->summary.skipped++;
        if (status && status->skipped)
            status->skipped(status->payload, node, run->reason ? run->reason : "cancelled");
        skip_users(run, op, run->reason ? run->reason : "cancelled");
        return;
    }
    end(run, op, VR_OP_FAILED);
    run->summary.failed++;
    run->failures = vr_realloc(run->failures, (run->failure_count + 1) * sizeof(struct vr_node *));
    run->failures[run->failure_count++] = node;
    if (status && status->failed)
        status->failed(status->payload, node, verb, &node->error);
    char *why = vr_format("%s failed", name_of(op));
    skip_users(run, op, why);
    free(why);
}

static void fail_text(struct vr_run *run, struct vr_op *op, const char *code, const char *hint,
                      char *text)
{
    struct vr_error err = {0};
    vr_error_set(&err, code, "%s", text);
    if (hint)
        vr_error_hint(&err, "%s", hint);
    free(text);
    fail(run, op, &err);
}

static void no_longer_holds(struct vr_run *run, struct vr_op *op, char *text)
{
    fail_text(run, op, "moved", "run again: the next plan knows it",
              vr_format("plan no longer holds: %s %s", name_of(op), text));
    free(text);
}

/* Before an operation: what is known by now. */

static bool is_settled(const struct vr_node *node)
{
    return node->private->left_out || node->action == VR_ACTION_UNKNOWN || !node->decl;
}

static bool needs_evaluation(const struct vr_node *node)
{
    const struct vr_node_private *p = node->private;
    if (p->open)
        return true;
    for (size_t i = 0; i < p->deps.count; i++) {
        const struct vr_node *dep = p->deps.items[i];
        if (vr_node_acts(dep) || dep->private->type == VR_NODE_GATHER || dep->private->renewed)
            return true;
    }
    return false;
}

static const char *first_open(const json_t *fields)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)fields, key, value)
    {
        if (vr_value_open(value))
            return key;
    }
    return "a field";
}

/* False when the operation failed. */
static bool evaluate(struct vr_run *run, struct vr_op *op)
{
    struct vr_node *node = op->node;
    struct vr_node_private *p = node->private;
    struct vr_error err = {0};
    if (!needs_evaluation(node))
        return true;
    json_t *planned = json_incref(p->fields);
    bool ok = vr_node_evaluate(node, &err);
    if (!ok)
        fail(run, op, &err);
    else if (p->open && op->real)
        fail_text(run, op, "unknown", NULL,
                  vr_format("%s: '%s' is still not known: what it refers to did not say it",
                            name_of(op), first_open(p->fields)));
    else if (!vr_value_fills(planned, p->fields))
        no_longer_holds(run, op, vr_strdup("would get other values than the plan showed"));
    json_decref(planned);
    vr_node_forget_values(node);
    p->renewed = true;
    return ok && op->state != VR_OP_FAILED && op->state != VR_OP_SKIPPED;
}

/* Identity that is known only now, or that turned out otherwise. */
static bool identify(struct vr_run *run, struct vr_op *op)
{
    struct vr_node *node = op->node;
    char *identity =
        node->kind->identity ? node->kind->identity(node->kind, node->private->fields) : NULL;
    bool same = true;
    if (identity && !node->identity)
        node->identity = vr_arena_strdup(node->private->plan->arena, identity);
    else if (identity && !node->private->row && strcmp(identity, node->identity) != 0)
        same = false;
    if (!same)
        no_longer_holds(run, op,
                        vr_format("would be %s, the plan said %s", identity, node->identity));
    free(identity);
    return same;
}

/* The changes of a planned update with what is known now: none that was not shown. */
static const struct vr_change *planned_change(const struct vr_change *changes, size_t count,
                                              const char *path)
{
    for (size_t i = 0; i < count; i++) {
        size_t length = strlen(changes[i].path);
        if (strncmp(changes[i].path, path, length) == 0 &&
            (path[length] == '\0' || strchr(".[", path[length])))
            return &changes[i];
    }
    return NULL;
}

static bool same_changes(struct vr_run *run, struct vr_op *op, const struct vr_change *changes,
                         size_t count)
{
    struct vr_node *node = op->node;
    for (size_t i = 0; i < node->change_count; i++) {
        const struct vr_change *now_is = &node->changes[i],
                               *was = planned_change(changes, count, now_is->path);
        if (!was) {
            no_longer_holds(
                run, op, vr_format("would change `%s`, which the plan did not show", now_is->path));
            return false;
        }
        if (now_is->replace && !was->replace && node->action != VR_ACTION_REPLACE) {
            no_longer_holds(run, op,
                            vr_format("would have to be replaced, for `%s` changes", now_is->path));
            return false;
        }
    }
    return true;
}

static bool compare_again(struct vr_run *run, struct vr_op *op)
{
    struct vr_node *node = op->node;
    struct vr_change *changes = node->changes;
    size_t count = node->change_count;
    node->changes = NULL;
    node->change_count = 0;
    vr_node_diff(node);
    bool same = same_changes(run, op, changes, count);
    op->idle = node->change_count == 0;
    for (size_t i = 0; i < node->change_count; i++) {
        json_decref(node->changes[i].before);
        json_decref(node->changes[i].after);
    }
    node->changes = changes; /* what was shown stays */
    node->change_count = count;
    return same;
}

/* Starting. */

static void start_job(struct vr_run *run, struct vr_op *op)
{
    struct vr_node *node = op->node;
    struct vr_node_private *p = node->private;
    struct vr_job *job = vr_node_job(run->crew, node, op->verb, op);
    struct vr_step *step = &job->step;
    if (op->verb == VR_VERB_UPDATE && p->step_changes)
        step->changes = json_incref(p->step_changes);
    if (op->verb == VR_VERB_ADD)
        step->count = op->count;
    if (op->del && node->action == VR_ACTION_REPLACE) {
        json_decref(step->fields);
        step->fields = vr_value_live(node, p->inputs);
        step->identity = p->prior_id;
        step->etag = p->cbd ? NULL : p->etag;
    }
    if (op->verb == VR_VERB_REMOVE) {
        struct vr_node *collection = node->parent;
        step->member = node->member;
        json_decref(step->fields);
        step->fields = json_incref(collection->private->fields);
        step->identity = collection->identity;
        step->etag = NULL;
    }
    op->state = VR_OP_RUNNING;
    op->started = now(run);
    const struct vr_status *status = run->options.status;
    if (status && status->started)
        status->started(status->payload, node, op->verb);
    vr_job_start(job);
}

/* Writes the intent; the step starts when it is durable. */
static void intend(struct vr_run *run, struct vr_op *op, enum vr_verb verb)
{
    op->verb = verb;
    op->state = VR_OP_INTENT;
    op->ticket = 0;
    put_intent(run, op);
    push(&run->intents, op);
}

static void look(struct vr_run *run, struct vr_op *op)
{
    op->verb = VR_VERB_READ;
    start_job(run, op);
}

static size_t members_to_come(const struct vr_node *node)
{
    const struct vr_nodes *members = &node->private->members;
    size_t count = 0, want;
    while (count < members->count && !members->items[members->count - 1 - count]->member)
        count++;
    if (count > 0 && members->items[members->count - 1]->private->tentative &&
        vr_collection_wants(node, &want))
        return want - (members->count - count);
    return count;
}

/* Before the old one of a replacement goes, the new one takes its address. */
static void depose(struct vr_run *run, struct vr_node *node)
{
    struct vr_node_private *p = node->private;
    for (int i = 1; !p->deposed; i++) {
        char *address = i == 1 ? vr_format("%s#replaced", node->address)
                               : vr_format("%s#replaced%d", node->address, i);
        if (!vr_state_find(run->state, address) &&
            vr_state_move(run->state, node->address, address, NULL)) {
            p->deposed = vr_arena_strdup(p->plan->arena, address);
            run->dirty = true;
        }
        free(address);
    }
}

static void carry_on(struct vr_run *run, struct vr_op *op, const json_t *result);

static void begin_act(struct vr_run *run, struct vr_op *op)
{
    struct vr_node *node = op->node;
    struct vr_node_private *p = node->private;
    if (!evaluate(run, op))
        return;
    switch (node->action) {
    case VR_ACTION_READ:
        look(run, op);
        break;
    case VR_ACTION_CREATE:
        if (!identify(run, op))
            break;
        if (p->look)
            look(run, op);
        else
            intend(run, op, VR_VERB_CREATE);
        break;
    case VR_ACTION_REPLACE:
        if (p->cbd && vr_state_find(run->state, node->address))
            depose(run, node);
        node->identity = NULL;
        if (identify(run, op))
            intend(run, op, VR_VERB_CREATE);
        break;
    case VR_ACTION_UPDATE:
        if (p->renewed && !compare_again(run, op))
            break;
        if (!op->idle)
            intend(run, op, VR_VERB_UPDATE);
        else
            carry_on(run, op, NULL);
        break;
    default:
        assert(node->action == VR_ACTION_ADD);
        carry_on(run, op, NULL);
    }
}

static void begin_del(struct vr_run *run, struct vr_op *op)
{
    intend(run, op, op->node->action == VR_ACTION_REMOVE ? VR_VERB_REMOVE : VR_VERB_DELETE);
}

/* A member of an unknown number that did not come, and what would have been made for it. */
static bool never_came(const struct vr_node *node)
{
    const struct vr_node *member = node->private->type == VR_NODE_INSTANCE ? node->parent : node;
    return member->private->type == VR_NODE_MEMBER && !member->member;
}

/* What needs no verb. */
static void pass(struct vr_run *run, struct vr_op *op)
{
    struct vr_node *node = op->node;
    struct vr_node_private *p = node->private;
    if (op->del) {
        remove_row(run, node);
    } else if (p->type == VR_NODE_MEMBER) {
        if (node->member && node->action != VR_ACTION_UNKNOWN &&
            (node->action != VR_ACTION_NOOP || p->note || node->moved_from))
            put_result(run, node, NULL, 0);
    } else if (p->type != VR_NODE_GATHER && !is_settled(node)) {
        if (!evaluate(run, op))
            return;
        if (p->note || node->action == VR_ACTION_ADOPT)
            put_result(run, node, NULL, 0);
        run->summary.adopted += node->action == VR_ACTION_ADOPT;
    }
    finish(run, op);
}

/* Results. */

static void note_event(struct vr_run *run, struct vr_op *op, const struct vr_job *job,
                       double seconds)
{
    if (run->event_count == run->event_room) {
        run->event_room = run->event_room ? run->event_room * 2 : 64;
        run->events = vr_realloc(run->events, run->event_room * sizeof(*run->events));
    }
    run->events[run->event_count++] =
        (struct event){op, job->step.verb, job->started - run->start, seconds, !job->error.message};
}

/* What is still not known after the verb that should have said it is what it was before, or
 * nothing. */
static json_t *settle_outputs(const struct vr_node *node, const json_t *given)
{
    json_t *outputs = node->private->outputs ? json_copy(node->private->outputs) : json_object(),
           *item;
    const char *key;
    void *next;
    if (json_is_object(given))
        json_object_update(outputs, (json_t *)given);
    json_object_foreach_safe(outputs, next, key, item)
    {
        json_t *was = json_object_get(node->private->was, key);
        if (!vr_is_unknown(item))
            continue;
        if (was)
            json_object_set(outputs, key, was);
        else
            json_object_del(outputs, key);
    }
    return outputs;
}

static void take_result(struct vr_node *node, const json_t *result)
{
    struct vr_node_private *p = node->private;
    const char *identity = json_string_value(json_object_get(result, "identity"));
    const char *etag = json_string_value(json_object_get(result, "etag"));
    vr_node_outputs(node, settle_outputs(node, json_object_get(result, "outputs")));
    p->partial = false;
    if (!identity && !node->identity)
        identity = json_string_value(json_object_get(p->outputs, "id"));
    if (identity)
        node->identity = vr_arena_strdup(p->plan->arena, identity);
    p->etag = etag ? vr_arena_strdup(p->plan->arena, etag) : NULL;
    vr_node_forget_values(node);
}

static void cancel_here(struct vr_run *run, struct vr_op *op)
{
    struct vr_error err = {0};
    vr_error_set(&err, "cancelled", "%s was cancelled before its members were added", name_of(op));
    fail(run, op, &err);
}

static void count_done(struct vr_run *run, const struct vr_op *op)
{
    if (op->idle)
        return;
    if (op->node->action == VR_ACTION_CREATE || op->node->action == VR_ACTION_REPLACE)
        run->summary.added++;
    else if (op->node->action == VR_ACTION_UPDATE)
        run->summary.changed++;
}

/* After the main verb, or when there was none: members, then the end. */
static void carry_on(struct vr_run *run, struct vr_op *op, const json_t *result)
{
    struct vr_node *node = op->node;
    if (node->kind->collection && node->private->type == VR_NODE_DECL) {
        size_t came = vr_collection_bind(node, json_object_get(result, "members"));
        size_t missing = members_to_come(node);
        run->summary.added += came;
        vr_collection_list(node);
        put_result(run, node, NULL, op->took);
        if (missing > 0 && run->stopping) {
            cancel_here(run, op);
            return;
        }
        if (missing > 0 && !op->added) {
            op->added = true;
            op->count = missing;
            intend(run, op, VR_VERB_ADD);
            return;
        }
        if (missing > 0 &&
            !node->private->members.items[node->private->members.count - 1]->private->tentative) {
            fail_text(
                run, op, "members", "run again: what is missing is added then",
                vr_format("%s: %zu of %zu members did not come", name_of(op), missing, op->count));
            return;
        }
    } else {
        put_result(run, node, NULL, op->took);
    }
    count_done(run, op);
    finish(run, op);
}

static void read_done(struct vr_run *run, struct vr_op *op, const json_t *result)
{
    struct vr_node *node = op->node;
    struct vr_node_private *p = node->private;
    vr_node_see(node, result);
    if (p->absent)
        fail_text(run, op, "absent", "check its name, or make it first",
                  vr_format("%s does not exist, and its kind cannot make it", name_of(op)));
    else {
        p->partial = false;
        vr_node_forget_values(node);
        carry_on(run, op, result);
    }
}

/* A create that looked first. */
static void look_done(struct vr_run *run, struct vr_op *op, const json_t *result)
{
    struct vr_node *node = op->node;
    struct vr_node_private *p = node->private;
    vr_node_see(node, result);
    if (p->absent) {
        intend(run, op, VR_VERB_CREATE);
    } else if (!p->row && node->kind->refuse_existing) {
        fail_text(run, op, "exists", "give it another name, or take it over with `vmrun import`",
                  vr_format("%s exists already, and was not made here", name_of(op)));
    } else if (compare_again(run, op)) {
        if (!op->idle && vr_kind_has(node->kind, VR_VERB_UPDATE)) {
            intend(run, op, VR_VERB_UPDATE);
        } else if (!op->idle) {
            fail_text(run, op, "exists", "give it another name",
                      vr_format("%s exists already and differs", name_of(op)));
        } else {
            p->partial = false;
            vr_node_forget_values(node);
            run->summary.adopted++;
            carry_on(run, op, result);
        }
    }
}

static void drop_records(struct vr_run *run, const struct vr_job *job)
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

static void job_ended(struct vr_run *run, struct vr_op *op, struct vr_job *job)
{
    const struct vr_status *status = run->options.status;
    struct vr_node *node = op->node;
    double seconds = now(run) - job->started;
    bool lost = job->error.code && strcmp(job->error.code, "unreachable") == 0;
    if (lost && op->del && node->private->gone)
        vr_error_clear(&job->error);
    note_event(run, op, job, seconds);
    op->end_path += seconds;
    if (job->error.message) {
        fail(run, op, &job->error);
        return;
    }
    if (status && status->done)
        status->done(status->payload, node, op->verb, seconds);
    switch (op->verb) {
    case VR_VERB_READ:
        if (node->action == VR_ACTION_READ)
            read_done(run, op, job->result);
        else
            look_done(run, op, job->result);
        break;
    case VR_VERB_CREATE:
    case VR_VERB_UPDATE:
        op->took = op->verb == VR_VERB_CREATE ? seconds : 0;
        take_result(node, job->result);
        carry_on(run, op, job->result);
        break;
    case VR_VERB_ADD:
        node->private->etag = NULL;
        carry_on(run, op, job->result);
        break;
    default:
        remove_row(run, node);
        run->summary.destroyed++;
        finish(run, op);
    }
}

/* Notes of steps. */

static void record_note(void *payload, struct vr_job *job, json_t *note, vr_step_recorded done,
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

static void answer_records(struct vr_run *run)
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

static void show_progress(void *payload, struct vr_job *job, const char *text)
{
    struct vr_run *run = payload;
    struct vr_op *op = job->owner;
    const struct vr_status *status = run->options.status;
    if (status && status->progress)
        status->progress(status->payload, op->node, job->step.verb, text);
}

/* The run. */

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
                            (struct vr_crew_sink){record_note, show_progress, run});
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
    run->start = now(run);
    vr_state_on_commit(run->state, run->options.host->notify, run->options.host->payload);
    move_rows(run);
    for (size_t i = 0; i < run->ops.count; i++)
        if (run->ops.items[i]->waits == 0)
            push(&run->ready, run->ops.items[i]);
    totals(run);
    run->options.host->notify(run->options.host->payload);
}

static void finish_jobs(struct vr_run *run)
{
    struct vr_job *job;
    while ((job = vr_crew_finished(run->crew))) {
        drop_records(run, job);
        job_ended(run, job->owner, job);
        vr_job_free(job);
    }
}

static void start_durable(struct vr_run *run)
{
    uint64_t durable = vr_state_durable(run->state);
    while (!run->stopping && run->intents.head && run->intents.head->ticket != 0 &&
           run->intents.head->ticket <= durable)
        start_job(run, pop(&run->intents));
}

static void sort_ready(struct vr_run *run)
{
    while (run->ready.head) {
        struct vr_op *op = pop(&run->ready);
        if (!op->real) {
            pass(run, op);
        } else if (never_came(op->node)) {
            op->idle = true;
            finish(run, op);
        } else {
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
        if (op->del)
            begin_del(run, op);
        else
            begin_act(run, op);
        totals(run);
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
            skip(run, op, run->reason);
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
        answer_records(run);
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

/* The report. */

static json_t *needs_of(const struct vr_op *op, struct vr_map *needs)
{
    json_t *list = vr_map_get(needs, name_of(op));
    return list ? json_incref(list) : json_array();
}

static void collect_needs(const struct vr_run *run, struct vr_map *needs)
{
    for (size_t i = 0; i < run->ops.count; i++) {
        const struct vr_op *op = run->ops.items[i], *source = op->real ? op : op->last;
        for (struct vr_op_edge *edge = op->users; source && edge; edge = edge->next) {
            if (edge->dropped || !edge->to->real)
                continue;
            json_t *list = vr_map_get(needs, name_of(edge->to));
            if (!list)
                vr_map_set(needs, name_of(edge->to), list = json_array());
            json_array_append_new(list, json_string(name_of(source)));
        }
    }
}

json_t *vr_run_report(const struct vr_run *run)
{
    struct vr_map needs = {0};
    json_t *events = json_array();
    collect_needs(run, &needs);
    for (size_t i = 0; i < run->event_count; i++) {
        const struct event *event = &run->events[i];
        json_array_append_new(events,
                              json_pack("{s:s,s:s,s:f,s:f,s:b,s:o}", "address", name_of(event->op),
                                        "verb", vr_verb_name(event->verb), "start", event->start,
                                        "seconds", event->seconds, "ok", event->ok, "needs",
                                        needs_of(event->op, &needs)));
    }
    size_t cursor = 0;
    for (json_t *list; (list = vr_map_next(&needs, &cursor, NULL));)
        json_decref(list);
    vr_map_free(&needs);
    return json_pack("{s:o}", "events", events);
}
