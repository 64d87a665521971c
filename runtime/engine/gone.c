/* Rows that nobody declares any more: they are read with what the state recorded, whatever they
 * refer to made live, and deleted where they still exist. Destroying everything is the same with
 * nothing declared. */
#include <stdlib.h>
#include <string.h>

#include "engine/expr.h"
#include "engine/node.h"

static bool in_scope(const struct vr_plan *plan, const struct vr_row *row)
{
    const struct vr_plan_options *o = &plan->options;
    if (vr_roll_member(plan, row->address)) /* it goes with its member */
        return true;
    if (o->refresh_only || vr_plan_held(plan, row->address) ||
        vr_plan_match_any(o->excludes, o->exclude_count, row->address))
        return false;
    return o->destroy || o->target_count == 0 ||
           vr_plan_match_any(o->targets, o->target_count, row->address);
}

static void add_row(struct vr_plan *plan, struct vr_row *row)
{
    const struct vr_kind *kind =
        plan->options.find_kind ? plan->options.find_kind(plan->options.payload, row->kind) : NULL;
    if (!kind) {
        struct vr_error err = {0};
        vr_error_set(&err, "kind", "%s in the state is of kind '%s', which is not known here",
                     row->address, row->kind);
        vr_error_hint(&err, "use the vmrun that made it, or `vmrun state rm %s` to forget it",
                      row->address);
        if (row->file)
            vr_error_place(&err, row->file, row->line);
        vr_plan_error_add(plan, NULL, &err);
        return;
    }
    struct vr_node *node = vr_node_new(plan, VR_NODE_GONE, row->address, kind);
    vr_node_take_row(node, row);
    node->file = row->file ? vr_arena_strdup(plan->arena, row->file) : NULL;
    node->line = row->line;
    node->member = row->member ? vr_arena_strdup(plan->arena, row->member) : NULL;
    plan->deposed = plan->deposed || strchr(row->address, '#');
}

/* Where the recipe still says what the row is: its secrets can be had from there. */
static void find_decl(struct vr_node *node)
{
    struct vr_plan *plan = node->private->plan;
    const char *bracket = strstr(node->address, "]/");
    struct vr_decl *decl =
        plan->decls ? vr_decls_find(plan->decls, bracket ? bracket + 2 : node->address) : NULL;
    if (!decl || strcmp(decl->kind->name, node->kind->name) != 0 ||
        (decl->scope != NULL) != (bracket != NULL))
        return;
    node->private->was_decl = decl;
    if (!bracket) {
        if (!plan->by_decl[decl->index])
            plan->by_decl[decl->index] = node;
        return;
    }
    char *address = vr_strndup(node->address, (size_t)(bracket + 1 - node->address));
    node->parent = vr_plan_address(plan, address);
    free(address);
    if (!node->parent)
        return;
    struct vr_nodes *instances = &node->parent->private->instances;
    size_t count = plan->templates[decl->scope->collection->index].count;
    if (!instances->items)
        instances->items = vr_arena_alloc(plan->arena, count * sizeof(*instances->items));
    instances->count = count;
    if (!instances->items[plan->slot[decl->index]])
        instances->items[plan->slot[decl->index]] = node;
}

/* A member that is not even in the state any more. */
static bool is_forgotten(const struct vr_plan *plan, const char *address)
{
    return address && *address && address[strlen(address) - 1] == ']' &&
           !vr_state_find(plan->options.state, address);
}

static void needs_recorded(struct vr_node *node)
{
    json_t *deps = node->private->row->deps ? json_loads(node->private->row->deps, 0, NULL) : NULL;
    size_t index;
    json_t *item;
    json_array_foreach(deps, index, item)
    {
        struct vr_node *dep = vr_plan_address(node->private->plan, json_string_value(item));
        const char *address = json_string_value(item);
        if (dep && dep != node)
            vr_node_needs(node, dep);
        else if (!dep && is_forgotten(node->private->plan, address))
            node->private->gone = true;
    }
    json_decref(deps);
}

/* A target of a destroy takes with it what depends on it; the rest is left out. */
static void select_gone(struct vr_plan *plan, size_t first)
{
    const struct vr_plan_options *o = &plan->options;
    struct vr_nodes taken = {0};
    for (size_t i = first; i < plan->all.count; i++) {
        struct vr_node *node = plan->all.items[i];
        node->private->left_out = !vr_plan_match_any(o->targets, o->target_count, node->address);
        if (!node->private->left_out)
            vr_node_add(plan, &taken, node);
    }
    for (size_t i = 0; i < taken.count; i++) {
        for (struct vr_link *link = taken.items[i]->private->users; link; link = link->next) {
            if (link->node->private->left_out) {
                link->node->private->left_out = false;
                vr_node_add(plan, &taken, link->node);
            }
        }
    }
    for (size_t i = first; i < plan->all.count; i++)
        plan->left_out += plan->all.items[i]->private->left_out;
}

void vr_gone_add(struct vr_plan *plan)
{
    size_t first = plan->all.count, slots = vr_state_slots(plan->options.state);
    for (size_t i = 0; i < slots; i++) {
        struct vr_row *row = vr_state_at(plan->options.state, i);
        if (row && !row->mark && in_scope(plan, row))
            add_row(plan, row);
    }
    size_t end = plan->all.count;
    for (size_t i = first; i < end; i++)
        find_decl(plan->all.items[i]);
    for (size_t i = first; i < end; i++)
        needs_recorded(plan->all.items[i]);
    if (plan->options.destroy && plan->options.target_count > 0)
        select_gone(plan, first);
    for (size_t i = first; i < end; i++)
        vr_node_enqueue(plan->all.items[i]);
}

static void decide(struct vr_node *node, enum vr_action action, const char *reason)
{
    node->action = action;
    node->reason = reason;
    vr_node_planned(node);
}

static void lives_on(void *payload, struct vr_node *to, const char *field)
{
    (void)field;
    if (to->private->absent)
        *(bool *)payload = true;
}

/* What it lived on is gone: a member that went or dies, or a thing that a whole reference names. */
static bool lost_ground(struct vr_node *node)
{
    struct vr_node_private *p = node->private;
    bool lost = false;
    for (size_t i = 0; i < p->deps.count; i++) {
        const struct vr_node *dep = p->deps.items[i];
        lost =
            lost || (dep->member && dep->private->gone) || (node->member && dep->private->absent);
    }
    if (p->refs)
        vr_value_refs(p->plan, p->fields, lives_on, &lost);
    return lost;
}

static bool is_protected(struct vr_node *node)
{
    struct vr_plan *plan = node->private->plan;
    const struct vr_decl *decl = plan->decls ? vr_decls_find(plan->decls, node->address) : NULL;
    if (decl ? !decl->protect : !json_is_true(json_object_get(node->private->inputs, "$protect")))
        return false;
    struct vr_error err = {0};
    vr_error_set(&err, "protected", "%s is protected and would be deleted", node->address);
    vr_error_hint(&err, "apply once with `protect = false` if that is meant, or declare it "
                        "`removed` to leave it alone");
    vr_plan_error_add(plan, node, &err);
    node->private->blocked = true;
    decide(node, VR_ACTION_UNKNOWN, "protected");
    return true;
}

static const char *delete_reason(const struct vr_node *node)
{
    struct vr_plan *plan = node->private->plan;
    if (plan->options.destroy)
        return "everything goes";
    for (size_t i = 0; i < node->private->deps.count; i++) {
        const struct vr_node *dep = node->private->deps.items[i];
        if (dep->member && (dep->action == VR_ACTION_REMOVE || dep->action == VR_ACTION_FORGET))
            return vr_plan_format(plan, "`%s` %s", dep->address,
                                  dep->action == VR_ACTION_REMOVE ? "goes" : "is gone");
    }
    if (node->kind->leaves)
        return vr_plan_format(plan, "no longer declared; %s", node->kind->leaves);
    return "no longer declared";
}

static void will_delete(struct vr_node *node, enum vr_certainty certainty, const char *more)
{
    struct vr_node_private *p = node->private;
    if (is_protected(node))
        return;
    node->certainty = certainty;
    node->reason = delete_reason(node);
    if (!vr_kind_has(node->kind, VR_VERB_DELETE))
        decide(node, VR_ACTION_FORGET,
               vr_plan_format(p->plan, "%s; it stays as it is", node->reason));
    else
        decide(node, VR_ACTION_DELETE,
               more ? vr_plan_format(p->plan, "%s (%s)", node->reason, more) : node->reason);
}

static void seen(struct vr_node *node)
{
    struct vr_node_private *p = node->private;
    if (p->absent)
        decide(node, VR_ACTION_FORGET, p->was ? "is gone already" : "was never made");
    else
        will_delete(node, VR_EXACT, NULL);
}

void vr_gone_visit(struct vr_node *node)
{
    struct vr_node_private *p = node->private;
    struct vr_plan *plan = p->plan;
    json_decref(p->fields);
    p->fields = p->inputs ? vr_value_live(node, p->inputs) : json_object();
    p->fields = vr_value_with_secrets(node, p->was_decl, p->fields);
    vr_value_scan(p->fields, &p->refs, &p->open);
    p->outputs = p->was ? vr_value_undigest(node, p->was) : NULL;
    p->gone = p->gone || lost_ground(node);
    if (p->left_out) {
        decide(node, VR_ACTION_NOOP, "left out");
    } else if (plan->decls && !plan->options.destroy &&
               vr_decls_is_removed(plan->decls, node->address)) {
        decide(node, VR_ACTION_FORGET, "declared as removed; it stays as it is");
    } else if (node->member) {
        decide(node, VR_ACTION_FORGET,
               plan->options.destroy ? "everything goes" : "no longer declared");
    } else if (p->reads_only) {
        decide(node, VR_ACTION_FORGET, "was only read");
    } else if (node->kind->leaves) { /* whatever it looks like now */
        p->absent = !p->was;
        seen(node);
    } else if (node->kind->remembered) {
        vr_node_recall(node);
        seen(node);
    } else {
        plan->reads_total++;
        vr_crew_wait(plan->crew, node->kind, 0, node);
    }
}

void vr_gone_was_read(struct vr_node *node, struct vr_job *job)
{
    struct vr_node_private *p = node->private;
    struct vr_error *err = &job->error;
    bool lost = err->message && err->code && strcmp(err->code, "unreachable") == 0;
    if (lost && p->gone) {
        p->absent = true;
        decide(node, VR_ACTION_FORGET, "went with what it was on");
    } else if (lost && !p->plan->options.destroy) {
        vr_error_move(&node->error, err);
        decide(node, VR_ACTION_UNKNOWN, "no longer declared, but not reachable");
    } else if (err->message) {
        will_delete(node, VR_PREDICTED, lost ? "not reachable now" : "it could not be read");
    } else {
        vr_node_see(node, job->result);
        seen(node);
    }
}

/* What an unreachable thing stands on stays: taking that away would be destructive for it. */
static void keep(struct vr_nodes *list, struct vr_node *base, const struct vr_node *user)
{
    struct vr_plan *plan = base->private->plan;
    if (base->action != VR_ACTION_DELETE && base->action != VR_ACTION_REMOVE)
        return;
    base->action = VR_ACTION_UNKNOWN;
    base->reason =
        vr_plan_format(plan, "stays, for `%s` stands on it and is not reachable", user->address);
    vr_error_set(&base->error, "unreachable", "%s stays: %s stands on it and could not be read",
                 base->address, user->address);
    vr_node_add(plan, list, base);
}

void vr_gone_settle(struct vr_plan *plan)
{
    struct vr_nodes list = {0};
    for (size_t i = 0; !plan->options.destroy && i < plan->all.count; i++)
        if (plan->all.items[i]->action == VR_ACTION_UNKNOWN && plan->all.items[i]->private->row)
            vr_node_add(plan, &list, plan->all.items[i]);
    for (size_t i = 0; i < list.count; i++) {
        const struct vr_row *row = list.items[i]->private->row;
        json_t *deps = row && row->deps ? json_loads(row->deps, 0, NULL) : NULL, *item;
        size_t index;
        json_array_foreach(deps, index, item)
        {
            struct vr_node *base = vr_plan_address(plan, json_string_value(item));
            if (base)
                keep(&list, base, list.items[i]);
        }
        json_decref(deps);
    }
}
