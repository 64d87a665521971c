/* Rolls: stale members of a collection are replaced a few at a time. Which they are and in what
 * phases is decided with the plan; the operations of a phase wait for all of the one before, so
 * that there are never fewer members in their place than wanted less `max_unavailable`, nor more
 * than wanted and `max_surge`. A run that was stopped leaves what the next plan reads: what is
 * stale still, and how many there are. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "engine/expr.h"
#include "engine/op.h"

/* What the recipe says: `roll = {max_unavailable =, max_surge =}`, numbers or "25%"; or false. */

static const json_t *policy(const struct vr_node *node)
{
    return json_object_get(node->private->fields, "roll");
}

/* As Kubernetes has it: of percentages, what may be missing is rounded down, what may be too many
 * up. */
static size_t amount(const json_t *value, size_t of, bool up, size_t otherwise)
{
    if (json_is_integer(value) && json_integer_value(value) >= 0)
        return (size_t)json_integer_value(value);
    if (!json_is_string(value))
        return otherwise;
    size_t number = strtoull(json_string_value(value), NULL, 10);
    bool share = strchr(json_string_value(value), '%') != NULL;
    return share ? (number * of + (up ? 99 : 0)) / 100 : number;
}

static struct vr_roll limits(const struct vr_node *node, size_t want)
{
    const json_t *said = policy(node);
    struct vr_roll roll = {0};
    roll.surge = amount(json_object_get(said, "max_surge"), want, true, 0);
    roll.unavailable = amount(json_object_get(said, "max_unavailable"), want, false, 1);
    if (roll.surge == 0 && roll.unavailable == 0)
        roll.unavailable = 1;
    return roll;
}

/* Who is stale. */

static const char *join(struct vr_plan *plan, const char *list, const char *word)
{
    return list ? vr_plan_format(plan, "%s, %s", list, word) : word;
}

/* What this apply changes that members are made of. */
static const char *changed(const struct vr_node *node)
{
    struct vr_plan *plan = node->private->plan;
    const char *list = NULL, *last = "";
    for (size_t i = 0; node->action == VR_ACTION_UPDATE && i < node->change_count; i++) {
        const char *path = node->changes[i].path;
        const char *field = vr_plan_format(plan, "%.*s", (int)strcspn(path, ".["), path);
        const struct vr_field *spec = vr_kind_field(node->kind, field);
        if (spec && spec->flags & VR_FIELD_ROLLS && strcmp(field, last) != 0)
            list = join(plan, list, last = field);
    }
    return list;
}

void vr_roll_mark(struct vr_node *node, struct vr_nodes *there)
{
    const char *ahead = changed(node);
    for (size_t i = 0; i < there->count; i++) {
        struct vr_node *member = there->items[i];
        const char *seen = member->stale;
        member->stale = !ahead || !seen || strstr(ahead, seen)
                            ? (ahead ? ahead : seen)
                            : join(node->private->plan, seen, ahead);
        if (member->stale && member->action == VR_ACTION_NOOP)
            member->reason = vr_plan_format(node->private->plan, "stale: %s", member->stale);
    }
}

/* Nothing may go whose templates would not go with it and come back for the new one. */
static bool rolls(const struct vr_node *node)
{
    const struct vr_plan *plan = node->private->plan;
    const struct vr_templates *over = &plan->templates[node->decl->index];
    if (json_is_false(policy(node)) || !vr_kind_has(node->kind, VR_VERB_ADD) ||
        !vr_kind_has(node->kind, VR_VERB_REMOVE))
        return false;
    for (size_t t = 0; t < over->count; t++)
        if (plan->selected[over->items[t]->index] != 1)
            return false;
    return true;
}

/* An earlier run has taken away some of what stands on it, or never made it. */
static bool is_half(const struct vr_node *member)
{
    const struct vr_plan *plan = member->private->plan;
    const struct vr_templates *over = &plan->templates[member->parent->decl->index];
    bool missing = false;
    for (size_t t = 0; t < over->count && !missing; t++) {
        char *address = vr_format("%s/%s", member->address, over->items[t]->address);
        const struct vr_row *row = vr_state_find(plan->options.state, address);
        missing = !row || !row->outputs;
        free(address);
    }
    return missing;
}

struct vr_nodes vr_roll_choose(struct vr_node *node, const struct vr_nodes *there)
{
    struct vr_plan *plan = node->private->plan;
    struct vr_nodes old = {0};
    if (!rolls(node))
        return old;
    for (int whole = 0; whole <= 1; whole++) {
        for (size_t i = 0; i < there->count; i++) {
            struct vr_node *member = there->items[i];
            if (!member->stale || vr_plan_held(plan, member->address))
                continue;
            bool sound = !vr_member_is_dead(member) && !is_half(member);
            if (sound != (whole == 1))
                continue;
            member->action = VR_ACTION_REMOVE;
            member->certainty = VR_EXACT;
            member->private->gone = vr_member_is_dead(member);
            vr_node_add(plan, &old, member);
        }
    }
    return old;
}

void vr_roll_goal(struct vr_node *node, size_t have, size_t *want)
{
    const json_t *count = json_object_get(node->private->inputs, "$roll");
    if (!json_is_integer(count))
        return;
    size_t goal = (size_t)json_integer_value(count), allowed;
    if (!vr_collection_wants(node, goal, &allowed) || allowed != goal)
        return; /* the recipe says something else now */
    struct vr_roll roll = limits(node, goal);
    if (have <= goal + roll.surge && have + roll.unavailable >= goal)
        *want = node->private->goal = goal;
    node->private->counts = *want != have && *want == goal;
}

/* The phases. */

static struct vr_phase *add_phase(struct vr_roll *roll, bool add, const struct vr_nodes *from,
                                  size_t *next, size_t count)
{
    struct vr_phase *phase = &roll->phases[roll->count++];
    *phase = (struct vr_phase){.add = add, .members = {from->items + *next, count}};
    for (size_t i = 0; i < count; i++)
        phase->members.items[i]->private->phase = phase;
    *next += count;
    return phase;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static const char *short_id(const struct vr_node *member)
{
    return member->address + strlen(member->parent->address) + strlen(member->kind->collection) + 1;
}

/* The first of those that come is for the first that goes. */
static void pair(struct vr_node *node, const struct vr_nodes *old, const struct vr_nodes *fresh)
{
    struct vr_plan *plan = node->private->plan;
    for (size_t i = 0; i < old->count; i++) {
        struct vr_node *gone = old->items[i];
        struct vr_node *new = i < fresh->count ? fresh->items[i] : NULL;
        gone->partner = new;
        if (!new) {
            gone->reason = vr_plan_format(plan, "stale: %s; another has come already", gone->stale);
            continue;
        }
        new->partner = gone;
        gone->reason = vr_plan_format(plan, "stale: %s; %s comes for it, %zu of %zu", gone->stale,
                                      short_id(new), i + 1, old->count);
        new->reason = vr_plan_format(plan, "for %s", short_id(gone));
    }
}

void vr_roll_plan(struct vr_node *node, const struct vr_nodes *old, const struct vr_nodes *fresh,
                  size_t have, size_t want)
{
    struct vr_plan *plan = node->private->plan;
    struct vr_roll *roll = vr_arena_alloc(plan->arena, sizeof(*roll));
    *roll = limits(node, want);
    roll->phases =
        vr_arena_alloc(plan->arena, (2 * (old->count + fresh->count) + 2) * sizeof(*roll->phases));
    node->private->roll = roll;
    node->private->counts = true;
    node->private->goal = want;
    pair(node, old, fresh);
    size_t low = want > roll->unavailable ? want - roll->unavailable : 0;
    for (size_t came = 0, went = 0; came < fresh->count || went < old->count;) {
        size_t room = have < want + roll->surge ? want + roll->surge - have : 0;
        size_t add = least(room, fresh->count - came);
        if (add > 0)
            add_phase(roll, true, fresh, &came, add);
        have += add;
        size_t take = least(have > low ? have - low : 0, old->count - went);
        if (take > 0)
            add_phase(roll, false, old, &went, take);
        have -= take;
    }
}

struct vr_node *vr_roll_member(const struct vr_plan *plan, const char *address)
{
    const char *bracket = strstr(address, "]");
    if (!bracket || (bracket[1] != '\0' && bracket[1] != '/'))
        return NULL;
    char *text = vr_strndup(address, (size_t)(bracket + 1 - address));
    struct vr_node *member = vr_plan_address(plan, text);
    free(text);
    return member && member->private->phase ? member : NULL;
}

/* The operations. */

/* Unknown in it is another member that is to come: it needs the whole list. */
static bool awaits_others(const json_t *value, const struct vr_node *collection,
                          const struct vr_node *own)
{
    const char *key, *why = json_string_value(json_object_get(value, "$unknown"));
    size_t index;
    json_t *item;
    if (why) {
        size_t length = strlen(collection->address);
        return strncmp(why, collection->address, length) == 0 && why[length] == '.' &&
               strstr(why + length, "[+") &&
               !(own && strncmp(why, own->address, strlen(own->address)) == 0);
    }
    json_object_foreach((json_t *)value, key, item)
    {
        if (awaits_others(item, collection, own))
            return true;
    }
    json_array_foreach(value, index, item)
    {
        if (awaits_others(item, collection, own))
            return true;
    }
    return false;
}

/* Whatever needs all members, however far, cannot stand between two phases. */
static void find_wide(struct vr_plan *plan, const struct vr_node *collection)
{
    for (size_t i = 0; i < plan->all.count; i++) {
        struct vr_node *node = plan->all.items[i];
        struct vr_node_private *p = node->private;
        bool gathers =
            p->type == VR_NODE_GATHER && node->decl->scope->collection == collection->decl;
        if (gathers || (p->open && p->type != VR_NODE_MEMBER && p->type != VR_NODE_GONE &&
                        node != collection && awaits_others(p->fields, collection, node->parent)))
            p->wide = collection;
    }
    for (bool more = true; more;) { /* nodes stand nearly in order: once or twice */
        more = false;
        for (size_t i = 0; i < plan->all.count; i++) {
            struct vr_node_private *p = plan->all.items[i]->private;
            for (size_t d = 0; p->wide != collection && d < p->deps.count; d++)
                if (p->deps.items[d]->private->wide == collection)
                    more = (p->wide = collection) != NULL;
        }
    }
}

static struct vr_op *barrier(struct vr_ops *ops, struct vr_node *collection)
{
    struct vr_op *op = vr_ops_add(ops, collection, false);
    op->barrier = true;
    op->real = false;
    return op;
}

/* A member and what stands on it are in their place. */
static void settled_before(struct vr_ops *ops, struct vr_node *member, struct vr_op *then)
{
    const struct vr_nodes *instances = &member->private->instances;
    vr_ops_edge(ops, member->private->act, then);
    for (size_t i = 0; i < instances->count; i++)
        if (instances->items[i]->private->wide != member->parent)
            vr_ops_edge(ops, instances->items[i]->private->act, then);
}

/* What those that come will need beside their collection is there before anybody goes. */
static void ground_before(struct vr_ops *ops, const struct vr_node *member, struct vr_op *gate)
{
    const struct vr_nodes *instances = &member->private->instances;
    for (size_t i = 0; i < instances->count; i++) {
        const struct vr_nodes *deps = &instances->items[i]->private->deps;
        for (size_t d = 0; d < deps->count; d++) {
            const struct vr_node_private *p = deps->items[d]->private;
            if (p->type == VR_NODE_DECL && p->wide != member->parent)
                vr_ops_edge(ops, p->act, gate);
        }
    }
}

/* It begins when all else of the collection is in its place. */
static struct vr_op *gate(struct vr_ops *ops, struct vr_node *collection)
{
    struct vr_plan *plan = collection->private->plan;
    struct vr_op *gate = barrier(ops, collection);
    gate->begins = true;
    vr_ops_edge(ops, collection->private->act, gate);
    const struct vr_nodes *members = &collection->private->members;
    for (size_t i = 0; i < members->count; i++)
        if (members->items[i]->private->phase)
            ground_before(ops, members->items[i], gate);
        else
            settled_before(ops, members->items[i], gate);
    for (size_t i = 0; i < plan->all.count; i++) {
        struct vr_node *node = plan->all.items[i];
        if (node->parent == collection && node->private->del && !node->private->phase)
            vr_ops_edge(ops, node->private->del, gate);
    }
    return gate;
}

static void add_members(struct vr_ops *ops, struct vr_node *collection, struct vr_phase *phase)
{
    struct vr_op *op = vr_ops_add(ops, collection, false);
    op->phase = phase;
    op->real = true;
    op->count = phase->members.count;
    const struct vr_phase *before = phase > collection->private->roll->phases ? phase - 1 : NULL;
    if (before) /* those that could not be taken away need nobody in their place */
        for (size_t i = 0; i < before->members.count; i++)
            vr_ops_edge(ops, before->members.items[i]->private->del, op)->loose = true;
    else
        vr_ops_edge(ops, phase->before, op);
    for (size_t i = 0; i < phase->members.count; i++) {
        vr_ops_edge(ops, op, phase->members.items[i]->private->act);
        settled_before(ops, phase->members.items[i], phase->after);
    }
    vr_ops_edge(ops, op, phase->after);
    for (size_t i = 0; i < collection->private->plan->all.count; i++) {
        struct vr_node *node = collection->private->plan->all.items[i];
        if (node->private->wide == collection && node->private->open)
            vr_ops_edge(ops, op, node->private->act);
    }
}

static void roll_collection(struct vr_ops *ops, struct vr_node *collection)
{
    struct vr_roll *roll = collection->private->roll;
    find_wide(collection->private->plan, collection);
    struct vr_op *last = gate(ops, collection);
    for (size_t i = 0; i < roll->count; i++) {
        struct vr_phase *phase = &roll->phases[i];
        phase->before = last;
        phase->after = last = barrier(ops, collection);
        vr_ops_edge(ops, phase->before, phase->after);
        if (phase->add)
            add_members(ops, collection, phase);
    }
    last->ends = true;
}

void vr_roll_ops(struct vr_ops *ops)
{
    size_t count = ops->plan->all.count;
    bool any = false;
    for (size_t i = 0; i < count; i++) {
        struct vr_node *node = ops->plan->all.items[i];
        if (node->private->roll) {
            roll_collection(ops, node);
            any = true;
        }
    }
    for (size_t i = 0; any && i < count; i++) { /* what goes: members, and what stands on them */
        struct vr_node *node = ops->plan->all.items[i];
        struct vr_node *member =
            node->private->del ? vr_roll_member(ops->plan, node->address) : NULL;
        if (!member || member->private->phase->add)
            continue;
        vr_ops_edge(ops, member->private->phase->before, node->private->del);
        vr_ops_edge(ops, node->private->del, member->private->phase->after);
    }
}
