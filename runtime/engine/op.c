/* Who waits for whom. What makes waits for what it needs; what takes away waits for whatever stands
 * on it, which the rows remember. A thing that nobody declares any more should also outlive the
 * updates that let go of it; that is a soft edge, dropped where it would close a circle. The order
 * that comes out proves that everything can run. */
#include "engine/op.h"

#include <stdlib.h>
#include <string.h>

static bool takes_away(const struct vr_node *node)
{
    return node->action == VR_ACTION_DELETE || node->action == VR_ACTION_REMOVE ||
           node->action == VR_ACTION_FORGET || node->action == VR_ACTION_REPLACE;
}

static bool acts(const struct vr_node *node)
{
    const struct vr_node_private *p = node->private;
    return p->type != VR_NODE_GONE && !(p->type == VR_NODE_MEMBER && takes_away(node));
}

static bool del_is_real(const struct vr_node *node)
{
    if (node->action == VR_ACTION_REMOVE)
        return true;
    return node->action != VR_ACTION_FORGET && vr_kind_has(node->kind, VR_VERB_DELETE);
}

static bool act_is_real(const struct vr_node *node)
{
    switch (node->action) {
    case VR_ACTION_CREATE:
    case VR_ACTION_UPDATE:
    case VR_ACTION_REPLACE:
    case VR_ACTION_READ:
        return true;
    case VR_ACTION_ADD:
        return node->private->type != VR_NODE_MEMBER;
    default:
        return false;
    }
}

struct vr_op *vr_ops_add(struct vr_ops *ops, struct vr_node *node, bool del)
{
    struct vr_op *op = vr_arena_alloc(ops->arena, sizeof(*op));
    op->node = node;
    op->del = del;
    op->real = del ? del_is_real(node) : act_is_real(node);
    ops->items = vr_arena_grow(ops->arena, ops->items, ops->count, sizeof(struct vr_op *));
    ops->items[ops->count++] = op;
    return op;
}

struct vr_op_edge *vr_ops_edge(struct vr_ops *ops, struct vr_op *first, struct vr_op *then)
{
    if (!first || !then || first == then)
        return NULL;
    struct vr_op_edge *edge = vr_arena_alloc(ops->arena, sizeof(*edge));
    *edge = (struct vr_op_edge){.to = then, .next = first->users};
    first->users = edge;
    then->waits++;
    return edge;
}

/* Calls visit for all that a node depends on, now or (says its row) until now. */
static bool any_base(struct vr_node *node, bool (*visit)(void *payload, struct vr_node *base),
                     void *payload)
{
    const struct vr_node_private *p = node->private;
    json_t *deps = p->row && p->row->deps ? json_loads(p->row->deps, 0, NULL) : NULL, *item;
    size_t index;
    bool any = false;
    for (size_t d = 0; d < p->deps.count; d++)
        any = visit(payload, p->deps.items[d]) || any;
    json_array_foreach(deps, index, item)
    {
        struct vr_node *base = vr_plan_address(p->plan, json_string_value(item));
        any = (base && visit(payload, base)) || any;
    }
    json_decref(deps);
    return any;
}

static bool is_last(void *payload, struct vr_node *base)
{
    (void)payload;
    return base->private->last;
}

static bool keeps_identity(const struct vr_node *node)
{
    const struct vr_node_private *p = node->private;
    char *identity = node->kind->identity ? node->kind->identity(node->kind, p->fields) : NULL;
    bool same = identity && p->prior_id && strcmp(identity, p->prior_id) == 0;
    free(identity);
    return same;
}

/* Two things of one identity cannot be there at once, so the old one goes first; what stands on it
 * goes before. */
static void find_last(struct vr_plan *plan)
{
    for (size_t i = 0; i < plan->all.count; i++) {
        struct vr_node *node = plan->all.items[i];
        node->private->last = node->action == VR_ACTION_REPLACE && keeps_identity(node);
    }
    for (bool more = true; more;) { /* nodes stand nearly in order: once or twice */
        more = false;
        for (size_t i = 0; i < plan->all.count; i++) {
            struct vr_node *node = plan->all.items[i];
            if (!node->private->last && any_base(node, is_last, NULL))
                more = node->private->last = true;
        }
    }
}

static bool also_first(void *payload, struct vr_node *base)
{
    if (!base->private->cbd && !base->private->last) {
        base->private->cbd = true;
        vr_node_add(base->private->plan, payload, base);
    }
    return false;
}

/* A replacement that comes first needs what it depends on, however far, to come first as well. */
static void spread_cbd(struct vr_plan *plan)
{
    struct vr_nodes list = {0};
    for (size_t i = 0; i < plan->all.count; i++)
        if (plan->all.items[i]->action == VR_ACTION_REPLACE && plan->all.items[i]->private->cbd)
            vr_node_add(plan, &list, plan->all.items[i]);
    if (list.count == 0)
        return;
    find_last(plan);
    for (size_t i = 0; i < list.count; i++) {
        struct vr_node *node = list.items[i];
        if (node->private->last)
            node->private->cbd = false;
        else
            any_base(node, also_first, &list);
    }
}

/* A join waits for each instance that a gather stands for, and counts it; for the gather itself
 * where there is none. */
static void join_edges(struct vr_ops *ops, struct vr_node *join, const struct vr_node *gather)
{
    const struct vr_nodes *deps = &gather->private->deps;
    struct vr_op *act = join->private->act;
    bool any = false;
    for (size_t i = 0; i < deps->count; i++) {
        struct vr_op *instance = deps->items[i]->private->act;
        if (deps->items[i]->private->type != VR_NODE_INSTANCE || !instance)
            continue;
        any = true;
        if (!instance->users || instance->users->to != act) /* `all { list, list[1] }` */
            vr_ops_edge(ops, instance, act);
    }
    if (!any)
        vr_ops_edge(ops, gather->private->act, act);
}

static void act_edges(struct vr_ops *ops, struct vr_node *node)
{
    struct vr_node_private *p = node->private;
    for (size_t i = 0; p->act && i < p->deps.count; i++) {
        struct vr_node *dep = p->deps.items[i];
        if (p->act->tally && dep->private->type == VR_NODE_GATHER)
            join_edges(ops, node, dep);
        else
            vr_ops_edge(ops, dep->private->act, p->act);
        if (dep->action == VR_ACTION_REPLACE && dep->private->cbd)
            vr_ops_edge(ops, p->act, dep->private->del);
    }
    if (p->turn)
        vr_ops_edge(ops, p->turn->private->act, p->act);
    if (p->act && p->del)
        vr_ops_edge(ops, p->cbd ? p->act : p->del, p->cbd ? p->del : p->act);
}

static void stands_on(struct vr_ops *ops, struct vr_node *node, struct vr_node *base)
{
    struct vr_node_private *p = node->private;
    if (!base->private->del || base == node)
        return;
    if (p->del)
        vr_ops_edge(ops, p->del, base->private->del);
    else if (p->act && !base->private->act && !vr_roll_member(p->plan, base->address))
        vr_ops_edge(ops, p->act, base->private->del)->soft = true;
}

/* What an interrupted run left of a replacement may still be in use by what used the thing of that
 * address. */
static void stands_on_old(struct vr_ops *ops, struct vr_node *node, const char *address)
{
    struct vr_plan *plan = node->private->plan;
    struct vr_node *old = vr_plan_address(plan, vr_plan_format(plan, "%s#replaced", address));
    for (int i = 2; old; i++) {
        stands_on(ops, node, old);
        old = vr_plan_address(plan, vr_plan_format(plan, "%s#replaced%d", address, i));
    }
}

static void del_edges(struct vr_ops *ops, struct vr_node *node)
{
    struct vr_row *row = node->private->row;
    json_t *deps = row && row->deps ? json_loads(row->deps, 0, NULL) : NULL, *item;
    size_t index;
    json_array_foreach(deps, index, item)
    {
        struct vr_node *base = vr_plan_address(node->private->plan, json_string_value(item));
        if (base)
            stands_on(ops, node, base);
        if (node->private->plan->deposed)
            stands_on_old(ops, node, json_string_value(item));
    }
    json_decref(deps);
}

/* An order, by taking whatever waits for nothing more. */

struct ordering {
    struct vr_op **order;
    size_t count;
    size_t *left; /* by position in items */
    bool *taken;
};

static void drop_edges(struct vr_ops *ops, struct ordering *o, const struct vr_op *only)
{
    for (size_t i = 0; i < ops->count; i++) {
        if (o->taken[i])
            continue;
        for (struct vr_op_edge *edge = ops->items[i]->users; edge; edge = edge->next) {
            if (edge->dropped || (only ? edge->to != only : !edge->soft))
                continue;
            size_t to = edge->to->ticket;
            edge->dropped = true;
            edge->to->waits--;
            if (--o->left[to] == 0 && !o->taken[to]) {
                o->taken[to] = true;
                o->order[o->count++] = edge->to;
            }
        }
    }
}

static void sort(struct vr_ops *ops)
{
    struct ordering o = {
        .order = vr_arena_alloc(ops->arena, (ops->count + 1) * sizeof(struct vr_op *)),
        .left = vr_alloc((ops->count + 1) * sizeof(size_t)),
        .taken = vr_alloc(ops->count + 1),
    };
    size_t next = 0;
    for (size_t i = 0; i < ops->count; i++) {
        ops->items[i]->ticket = i; /* borrowed as a number */
        o.left[i] = ops->items[i]->waits;
        if (o.left[i] == 0) {
            o.taken[i] = true;
            o.order[o.count++] = ops->items[i];
        }
    }
    for (bool soft = true; o.count < ops->count || next < o.count;) {
        if (next < o.count) {
            for (struct vr_op_edge *edge = o.order[next++]->users; edge; edge = edge->next) {
                size_t to = edge->to->ticket;
                if (!edge->dropped && --o.left[to] == 0 && !o.taken[to]) {
                    o.taken[to] = true;
                    o.order[o.count++] = edge->to;
                }
            }
            continue;
        }
        if (soft) { /* stuck: first without good manners, then anywhere (rows of different times may
                       disagree) */
            soft = false;
            drop_edges(ops, &o, NULL);
            continue;
        }
        size_t first = 0;
        while (o.taken[first] || !ops->items[first]->del)
            first++; /* what makes cannot be in a circle of its own: the graph has none */
        drop_edges(ops, &o, ops->items[first]);
    }
    free(o.left);
    free(o.taken);
    ops->items = o.order;
    for (size_t i = 0; i < ops->count; i++)
        ops->items[i]->ticket = 0;
}

/* How long things take: as remembered, else as others of their kind, else a second. */

struct average {
    double sum;
    size_t count;
};

static void learn(struct vr_ops *ops, struct vr_map *averages)
{
    for (size_t i = 0; i < ops->count; i++) {
        const struct vr_node *node = ops->items[i]->node;
        if (!node->private->row || node->private->row->duration <= 0)
            continue;
        struct average *average = vr_map_get(averages, node->kind->name);
        if (!average) {
            average = vr_arena_alloc(ops->arena, sizeof(*average));
            vr_map_set(averages, node->kind->name, average);
        }
        average->sum += node->private->row->duration;
        average->count++;
    }
}

static double cost(const struct vr_op *op, const struct vr_map *averages)
{
    if (!op->real)
        return 0;
    if (op->node->private->row && op->node->private->row->duration > 0)
        return op->node->private->row->duration;
    const struct average *average = vr_map_get(averages, op->node->kind->name);
    return average ? average->sum / (double)average->count : 1;
}

static void find_paths(struct vr_ops *ops)
{
    struct vr_map averages = {0};
    learn(ops, &averages);
    for (size_t i = ops->count; i-- > 0;) {
        struct vr_op *op = ops->items[i];
        double longest = 0;
        for (struct vr_op_edge *edge = op->users; edge; edge = edge->next)
            if (!edge->dropped && edge->to->path > longest)
                longest = edge->to->path;
        op->path = longest + cost(op, &averages);
    }
    vr_map_free(&averages);
}

/* Of a template each member has a count of its own, for all its joins of one tally. */
static struct vr_tally *tally_of(struct vr_ops *ops, const struct vr_node *join)
{
    struct vr_tally *tally = join->decl->tally;
    if (join->private->type != VR_NODE_INSTANCE || join->decl->turn) {
        tally->failed = 0;
        return tally;
    }
    const struct vr_nodes *beside = &join->parent->private->instances;
    for (size_t i = 0; i < beside->count; i++) {
        const struct vr_op *act = beside->items[i]->private->act;
        if (act && act->tally && beside->items[i]->decl->tally == tally)
            return act->tally;
    }
    struct vr_tally *own = vr_arena_alloc(ops->arena, sizeof(*own));
    *own = (struct vr_tally){.max_fail = tally->max_fail};
    return own;
}

struct vr_ops vr_ops_make(struct vr_plan *plan)
{
    struct vr_ops ops = {.arena = vr_arena_new(), .plan = plan};
    bool any_del = false;
    spread_cbd(plan);
    for (size_t i = 0; i < plan->all.count; i++) {
        struct vr_node *node = plan->all.items[i];
        if (node->private->left_out && node->private->type == VR_NODE_GONE)
            continue;
        if (takes_away(node)) {
            node->private->del = vr_ops_add(&ops, node, true);
            any_del = true;
        }
        if (acts(node))
            node->private->act = vr_ops_add(&ops, node, false);
        if (node->private->act && node->decl && node->decl->tally)
            node->private->act->tally = tally_of(&ops, node);
    }
    for (size_t i = plan->all.count;
         i-- > 0;) /* backwards: edges are put in front, and are walked in the recipe's order */
        act_edges(&ops, plan->all.items[i]);
    for (size_t i = plan->all.count; any_del && i-- > 0;)
        del_edges(&ops, plan->all.items[i]);
    vr_roll_ops(&ops);
    sort(&ops);
    find_paths(&ops);
    return ops;
}

void vr_ops_free(struct vr_ops *ops)
{
    vr_arena_free(ops->arena);
    *ops = (struct vr_ops){0};
}
