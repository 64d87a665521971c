/* An operation: begins, looks or writes its intent, runs its verb, and ends; what hangs on one that
 * failed is not done. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "engine/expr.h"
#include "engine/run_internal.h"

/* Ends of operations. */

static void released(struct vr_run *run, struct vr_op *op)
{
    if (--op->waits == 0 && op->state == VR_OP_WAITING)
        vr_run_push(&run->ready, op);
}

static void skip_users(struct vr_run *run, struct vr_op *op, const char *why);

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
        vr_run_totals(run);
}

/* One of those that a join waits for has ended. False: the join cannot be any more. */
static bool joins(struct vr_run *run, struct vr_op *join, bool ok)
{
    const struct vr_decl *decl = join->node->decl;
    join->tally->failed += !ok;
    if (join->state != VR_OP_WAITING || join->waits == 0)
        return true;
    if (!decl->any && join->tally->failed > join->tally->max_fail)
        return false;
    if (decl->any && !ok)
        return --join->waits > 0;
    if (decl->any)
        join->waits = 1;
    released(run, join);
    return true;
}

static void skip_join(struct vr_run *run, struct vr_op *join)
{
    const struct vr_tally *tally = join->tally;
    char *why = join->node->decl->any ? vr_strdup("none of what it waits for came to be")
                                      : vr_format("%zu of what it waits for failed, and %zu may",
                                                  tally->failed, tally->max_fail);
    vr_run_op_skip(run, join, why);
    skip_users(run, join, why);
    free(why);
}

static void finish(struct vr_run *run, struct vr_op *op)
{
    bool known = op->node->action != VR_ACTION_UNKNOWN;
    double at = op->real ? vr_run_now(run) : op->last_end;
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
        if (!user->tally)
            released(run, user);
        else if (!joins(run, user, known))
            skip_join(run, user);
    }
}

const char *vr_run_name_of(const struct vr_op *op)
{
    return op->node->address ? op->node->address : op->node->decl->address;
}

void vr_run_op_skip(struct vr_run *run, struct vr_op *op, const char *why)
{
    end(run, op, VR_OP_SKIPPED);
    if (!op->real)
        return;
    run->summary.skipped++;
    if (!op->node->error.message)
        vr_error_set(&op->node->error, "skipped", "%s was not done: %s", vr_run_name_of(op), why);
    const struct vr_status *status = run->options.status;
    if (status && status->skipped)
        status->skipped(status->payload, op->node, why);
}

/* All that waits for this one, however far, is not done. */
static void skip_users(struct vr_run *run, struct vr_op *op, const char *why)
{
    struct list list = {0};
    vr_run_push(&list, op);
    while (list.head) {
        for (struct vr_op_edge *edge = vr_run_pop(&list)->users; edge; edge = edge->next) {
            if (edge->dropped || edge->to->state != VR_OP_WAITING ||
                (edge->to->tally && joins(run, edge->to, false)))
                continue;
            if (edge->loose) {
                edge->to->count -= edge->to->count > 0;
                released(run, edge->to);
                continue;
            }
            vr_run_op_skip(run, edge->to, why);
            vr_run_push(&list, edge->to);
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
    char *why = vr_format("%s failed", vr_run_name_of(op));
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
              vr_format("plan no longer holds: %s %s", vr_run_name_of(op), text));
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
                            vr_run_name_of(op), first_open(p->fields)));
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

void vr_run_op_start(struct vr_run *run, struct vr_op *op)
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
    op->started = vr_run_now(run);
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
    vr_run_put_intent(run, op);
    vr_run_push(&run->intents, op);
}

static void look(struct vr_run *run, struct vr_op *op)
{
    op->verb = VR_VERB_READ;
    vr_run_op_start(run, op);
}

static size_t members_to_come(const struct vr_node *node)
{
    const struct vr_nodes *members = &node->private->members;
    size_t count = 0, want;
    for (size_t i = 0; i < members->count; i++)
        count += !members->items[i]->member && !members->items[i]->private->phase;
    if (count > 0 && members->items[members->count - 1]->private->tentative &&
        vr_collection_wants(node, members->count - count, &want))
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

/* A member of an unknown number that did not come, and what would have been made for it. */
static bool never_came(const struct vr_node *node)
{
    const struct vr_node *member = node->private->type == VR_NODE_INSTANCE ? node->parent : node;
    return member->private->type == VR_NODE_MEMBER && !member->member;
}

void vr_run_op_begin(struct vr_run *run, struct vr_op *op)
{
    if (op->phase) {
        op->node->private->recorded =
            NULL; /* of an earlier run, which the plan's read has counted */
        intend(run, op, VR_VERB_ADD);
    } else if (!op->del)
        begin_act(run, op);
    else
        intend(run, op, op->node->action == VR_ACTION_REMOVE ? VR_VERB_REMOVE : VR_VERB_DELETE);
}

/* What needs no verb. */
static void pass(struct vr_run *run, struct vr_op *op)
{
    struct vr_node *node = op->node;
    struct vr_node_private *p = node->private;
    if (op->del) {
        vr_run_remove_row(run, node);
    } else if (p->type == VR_NODE_MEMBER) {
        if (node->member && node->action != VR_ACTION_UNKNOWN &&
            (node->action != VR_ACTION_NOOP || p->note || node->moved_from))
            vr_run_put_result(run, node, NULL, 0);
    } else if (p->type != VR_NODE_GATHER && !is_settled(node)) {
        if (!evaluate(run, op))
            return;
        if (p->note || node->action == VR_ACTION_ADOPT)
            vr_run_put_result(run, node, NULL, 0);
        run->summary.adopted += node->action == VR_ACTION_ADOPT;
    }
    finish(run, op);
}

/* A roll begins only when no more are out of reach than may be missing. */
static bool too_few(struct vr_run *run, struct vr_op *op)
{
    const struct vr_node *collection = op->node;
    const struct vr_nodes *members = &collection->private->members;
    const struct vr_node *lost = NULL;
    size_t count = 0;
    for (size_t i = 0; i < members->count; i++) {
        const struct vr_nodes *on = &members->items[i]->private->instances;
        const struct vr_node *found = NULL;
        for (size_t k = 0; k < on->count; k++)
            if (on->items[k]->action == VR_ACTION_UNKNOWN)
                found = members->items[i];
        count += found != NULL;
        lost = found ? found : lost;
    }
    if (count == 0 || count < collection->private->roll->unavailable)
        return false;
    fail_text(run, op, "unavailable", "bring it back, remove it, or raise `max_unavailable`",
              vr_format("%s does not roll: %s cannot be reached, and no more may be missing",
                        vr_run_name_of(op), lost->address));
    return true;
}

/* Between two phases of a roll. */
static void pass_barrier(struct vr_run *run, struct vr_op *op)
{
    if (op->begins && too_few(run, op))
        return;
    if (op->ends) {
        op->node->private->roll = NULL;
        op->node->private->counts = false;
        vr_run_put_result(run, op->node, NULL, 0);
    }
    finish(run, op);
}

bool vr_run_op_settle(struct vr_run *run, struct vr_op *op)
{
    if (op->barrier) {
        pass_barrier(run, op);
    } else if (op->phase && op->count == 0) {
        op->idle = true;
        finish(run, op);
    } else if (!op->real) {
        pass(run, op);
    } else if (never_came(op->node)) {
        op->idle = true;
        finish(run, op);
    } else {
        return false;
    }
    return true;
}

/* Results. */

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
    vr_error_set(&err, "cancelled", "%s was cancelled before its members were added",
                 vr_run_name_of(op));
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

static void members_did_not_come(struct vr_run *run, struct vr_op *op, size_t missing)
{
    fail_text(
        run, op, "members", "run again: what is missing is added then",
        vr_format("%s: %zu of %zu members did not come", vr_run_name_of(op), missing, op->count));
}

/* After the main verb, or when there was none: members, then the end. */
static void carry_on(struct vr_run *run, struct vr_op *op, const json_t *result)
{
    struct vr_node *node = op->node;
    if (node->kind->collection && node->private->type == VR_NODE_DECL) {
        size_t came = vr_collection_bind(node, json_object_get(result, "members"), NULL);
        size_t missing = members_to_come(node);
        run->summary.added += came;
        vr_collection_list(node);
        node->private->counts = node->private->counts && (missing > 0 || node->private->roll);
        vr_run_put_result(run, node, NULL, op->took);
        if (missing > 0 && run->stopping) {
            cancel_here(run, op);
            return;
        }
        const char *taken =
            missing > 0 ? vr_collection_taken(node, json_object_get(result, "members")) : NULL;
        if (taken) { /* they are there: to add others would make too many */
            fail_text(run, op, "members", "run again: they are taken up then",
                      vr_format("%s: its members came while the old %s still stands",
                                vr_run_name_of(op), taken));
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
            members_did_not_come(run, op, missing);
            return;
        }
    } else {
        vr_run_put_result(run, node, NULL, op->took);
    }
    count_done(run, op);
    finish(run, op);
}

/* Members of a phase of a roll. */
static void phase_added(struct vr_run *run, struct vr_op *op, const json_t *result)
{
    struct vr_node *node = op->node;
    size_t came = vr_collection_bind(node, json_object_get(result, "members"), op->phase);
    run->summary.added += came;
    vr_collection_list(node);
    vr_run_put_result(run, node, NULL, 0);
    if (came < op->count)
        members_did_not_come(run, op, op->count - came);
    else
        finish(run, op);
}

static void read_done(struct vr_run *run, struct vr_op *op, const json_t *result)
{
    struct vr_node *node = op->node;
    struct vr_node_private *p = node->private;
    vr_node_see(node, result);
    if (p->absent)
        fail_text(run, op, "absent", "check its name, or make it first",
                  vr_format("%s does not exist, and its kind cannot make it", vr_run_name_of(op)));
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
                  vr_format("%s exists already, and was not made here", vr_run_name_of(op)));
    } else if (compare_again(run, op)) {
        if (!op->idle && vr_kind_has(node->kind, VR_VERB_UPDATE)) {
            intend(run, op, VR_VERB_UPDATE);
        } else if (!op->idle) {
            fail_text(run, op, "exists", "give it another name",
                      vr_format("%s exists already and differs", vr_run_name_of(op)));
        } else {
            p->partial = false;
            vr_node_forget_values(node);
            run->summary.adopted++;
            carry_on(run, op, result);
        }
    }
}

void vr_run_op_ended(struct vr_run *run, struct vr_op *op, struct vr_job *job)
{
    const struct vr_status *status = run->options.status;
    struct vr_node *node = op->node;
    double seconds = vr_run_now(run) - job->started;
    bool lost = job->error.code && strcmp(job->error.code, "unreachable") == 0;
    if (lost && op->del && node->private->gone)
        vr_error_clear(&job->error);
    vr_run_note_event(run, op, job, seconds);
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
        node->private->recorded = NULL;
        if (op->phase)
            phase_added(run, op, job->result);
        else
            carry_on(run, op, job->result);
        break;
    default:
        vr_run_remove_row(run, node);
        run->summary.destroyed++;
        finish(run, op);
    }
}
