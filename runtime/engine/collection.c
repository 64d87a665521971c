/* Collections: members that are there, that come and that go, and the instances of templates over
 * them. A member is keyed by the provider's id; one that is still to come has no id and is called
 * [+1], [+2], ... until it is there. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "engine/expr.h"
#include "engine/node.h"

char *vr_member_address(const struct vr_node *collection, const char *id)
{
    return vr_format("%s.%s[%s]", collection->address, collection->kind->collection, id);
}

static bool is_count(const json_t *value)
{
    return json_is_integer(value) && json_integer_value(value) >= 0;
}

bool vr_collection_wants(const struct vr_node *node, size_t have, size_t *want)
{
    const char *name = node->kind->count_field;
    const json_t *count = name ? json_object_get(node->private->fields, name) : NULL;
    const json_t *min = json_is_object(count) ? json_object_get(count, "min") : count,
                 *max = json_is_object(count) ? json_object_get(count, "max") : count;
    if (!is_count(min) || !is_count(max))
        return false;
    size_t low = (size_t)json_integer_value(min), high = (size_t)json_integer_value(max);
    *want = have < low ? low : have > high ? high : have;
    return true;
}

static bool count_is_open(const struct vr_node *node)
{
    const char *name = node->kind->count_field;
    return name && vr_is_unknown(json_object_get(node->private->fields, name));
}

static const char *member_id(struct vr_plan *plan, const json_t *item)
{
    const json_t *id = json_object_get(item, "id");
    if (json_is_integer(id))
        return vr_plan_format(plan, "%lld", (long long)json_integer_value(id));
    return json_is_string(id) ? vr_arena_strdup(plan->arena, json_string_value(id)) : NULL;
}

/* What a kind told of a member; whether it is stale is of this read, not of the member. */
static json_t *outputs_of(const json_t *item)
{
    if (!json_object_get(item, "stale"))
        return json_incref((json_t *)item);
    json_t *outputs = json_copy((json_t *)item);
    json_object_del(outputs, "stale");
    return outputs;
}

static struct vr_node *add_member(struct vr_node *collection, const char *id, const json_t *item)
{
    struct vr_plan *plan = collection->private->plan;
    char *address = vr_member_address(collection, id);
    struct vr_node *member = vr_node_new(plan, VR_NODE_MEMBER, address, collection->kind);
    struct vr_node_private *p = member->private;
    free(address);
    member->parent = collection;
    member->file = collection->file;
    member->line = collection->line;
    p->order = collection->private->order;
    p->reads_only = false;
    p->blocked = collection->private->blocked;
    p->outputs = item ? outputs_of(item) : NULL;
    vr_node_add(plan, &p->deps, collection);
    return member;
}

static struct vr_node *existing_member(struct vr_node *collection, const json_t *item)
{
    struct vr_plan *plan = collection->private->plan;
    const char *id = member_id(plan, item);
    if (!id)
        return NULL;
    struct vr_node *member = add_member(collection, id, item);
    const char *status = json_string_value(json_object_get(item, "status"));
    const char *stale = json_string_value(json_object_get(item, "stale"));
    member->member = id;
    member->status = status ? vr_arena_strdup(plan->arena, status) : NULL;
    member->stale = stale ? vr_arena_strdup(plan->arena, stale) : NULL;
    vr_node_find_row(member);
    member->action = VR_ACTION_NOOP;
    member->reason = "as it should be";
    member->private->was_read = true;
    if (!member->private->row) {
        member->action = VR_ACTION_ADOPT;
        member->reason =
            collection->private->intent ? "was added by an earlier run" : "is there already";
    } else {
        json_t *now = vr_value_redact(plan, member->private->outputs);
        member->private->note = !json_equal(now, member->private->was);
        json_decref(now);
    }
    return member;
}

static struct vr_node *coming_member(struct vr_node *collection, size_t number, bool tentative)
{
    char id[32];
    snprintf(id, sizeof(id), "+%zu", number);
    struct vr_node *member = add_member(collection, id, NULL);
    member->action = VR_ACTION_ADD;
    member->reason = tentative ? "how many is known after apply" : "to come";
    member->certainty = VR_LATER;
    member->private->partial = true;
    member->private->tentative = tentative;
    return member;
}

/* Who goes first: what is dead, then what is stale, then the newest (the last in the provider's
 * order); never who is held. */
bool vr_member_is_dead(const struct vr_node *member)
{
    static const char *const words[] = {"failed", "evicted", "deleted", "preempted"};
    const char *state = json_string_value(json_object_get(member->private->outputs, "state"));
    for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
        if ((member->status && strcasecmp(member->status, words[i]) == 0) ||
            (state && strcasecmp(state, words[i]) == 0))
            return true;
    return false;
}

enum { IS_SOUND, IS_STALE, IS_DEAD };

static int worth(const struct vr_node *member)
{
    return vr_member_is_dead(member) ? IS_DEAD : member->stale ? IS_STALE : IS_SOUND;
}

static void remove_member(struct vr_node *member)
{
    struct vr_node *collection = member->parent;
    int is = worth(member);
    member->action = VR_ACTION_REMOVE;
    member->certainty = VR_EXACT;
    member->private->gone = is == IS_DEAD;
    member->reason =
        vr_plan_format(member->private->plan, "`%s` shrinks; %s%s", collection->address,
                       is == IS_SOUND ? "the newest goes first" : "this one is ",
                       is == IS_SOUND   ? ""
                       : is == IS_STALE ? "stale"
                       : member->status ? member->status
                                        : "failed");
}

static void choose_victims(struct vr_nodes *there, size_t count)
{
    for (int is = IS_DEAD; is >= IS_SOUND; is--) {
        for (size_t i = there->count; i-- > 0 && count > 0;) {
            struct vr_node *member = there->items[i];
            if (member->action == VR_ACTION_REMOVE || worth(member) != is ||
                vr_plan_held(member->private->plan, member->address))
                continue;
            remove_member(member);
            count--;
        }
    }
}

static bool is_made(const struct vr_node *node)
{
    return node->action == VR_ACTION_CREATE || node->action == VR_ACTION_REPLACE;
}

/* Members of the state that the world does not have any more. */
static void forget_vanished(struct vr_node *collection, const char *reason)
{
    struct vr_plan *plan = collection->private->plan;
    for (struct vr_held *held = vr_map_get(
             &plan->held, collection->moved_from ? collection->moved_from : collection->address);
         held; held = held->next) {
        if (held->row->mark)
            continue;
        struct vr_node *member = add_member(collection, held->row->member, NULL);
        vr_node_take_row(member, held->row);
        member->member = vr_arena_strdup(plan->arena, held->row->member);
        member->action = VR_ACTION_FORGET;
        member->reason = reason;
        member->private->absent = member->private->gone = !is_made(collection);
        member->private->outputs = member->private->was ? json_incref(member->private->was) : NULL;
        vr_node_planned(member);
    }
}

static void members_of_rows(struct vr_node *collection, struct vr_nodes *there)
{
    struct vr_plan *plan = collection->private->plan;
    size_t first = there->count;
    for (struct vr_held *held = vr_map_get(&plan->held, collection->address); held;
         held = held->next) {
        struct vr_node *member = add_member(collection, held->row->member, NULL);
        vr_node_take_row(member, held->row);
        member->member = vr_arena_strdup(plan->arena, held->row->member);
        member->action = VR_ACTION_NOOP;
        member->reason = "as last seen";
        member->private->outputs =
            member->private->was ? vr_value_undigest(member, member->private->was) : NULL;
        vr_node_add(plan, there, member);
    }
    for (size_t a = first, b = there->count; a + 1 < b;
         a++) { /* the list of rows is newest first */
        struct vr_node *swap = there->items[a];
        there->items[a] = there->items[--b];
        there->items[b] = swap;
    }
}

static void change_count(struct vr_node *node, size_t have, size_t want)
{
    struct vr_plan *plan = node->private->plan;
    struct vr_change *changes =
        vr_arena_alloc(plan->arena, (node->change_count + 1) * sizeof(*changes));
    if (node->change_count > 0)
        memcpy(changes, node->changes, node->change_count * sizeof(*changes));
    changes[node->change_count++] = (struct vr_change){
        .path = vr_arena_strdup(plan->arena, node->kind->count_field),
        .before = json_integer((json_int_t)have),
        .after = json_integer((json_int_t)want),
        .why = VR_WHY_RECIPE,
    };
    const char *name = node->kind->count_field;
    const json_t *recorded = json_object_get(node->private->inputs, name);
    if (recorded && json_equal(recorded, json_object_get(node->private->fields, name)))
        changes[node->change_count - 1].why = VR_WHY_OUTSIDE;
    node->changes = changes;
}

static void grow(struct vr_node *node, size_t have, size_t want)
{
    node->add = want - have;
    if (node->action == VR_ACTION_CREATE || node->action == VR_ACTION_REPLACE)
        return;
    change_count(node, have, want);
    if (node->action == VR_ACTION_NOOP || node->action == VR_ACTION_ADOPT) {
        node->action = VR_ACTION_ADD;
        node->reason = vr_plan_format(node->private->plan, "grows from %zu to %zu", have, want);
    }
}

/* `rolling` of those that go do so in turn with others, of a roll. */
static void shrink(struct vr_node *node, struct vr_nodes *there, size_t have, size_t want,
                   size_t rolling)
{
    change_count(node, have, want);
    choose_victims(there, have - want - rolling);
    node->private->note = true;
    if (node->action == VR_ACTION_NOOP)
        node->reason = vr_plan_format(node->private->plan, "shrinks from %zu to %zu", have, want);
}

/* Members that are there: those that stay go to the node's list. */
static void take_there(struct vr_node *node, const json_t *seen, struct vr_nodes *there)
{
    size_t index;
    json_t *item;
    bool as_remembered = !seen && !is_made(node);
    if (as_remembered)
        members_of_rows(node, there);
    json_array_foreach(seen, index, item)
    {
        struct vr_node *member = existing_member(node, item);
        if (member)
            vr_node_add(node->private->plan, there, member);
    }
}

static void make_members(struct vr_node *node, const json_t *seen)
{
    struct vr_node_private *p = node->private;
    struct vr_plan *plan = p->plan;
    struct vr_nodes there = {0}, old = {0}, fresh = {0};
    size_t want = 0;
    bool settled = p->blocked || p->left_out || node->action == VR_ACTION_UNKNOWN ||
                   plan->options.refresh_only;
    if (!is_made(node) || settled)
        take_there(node, seen, &there);
    vr_roll_mark(node, &there);
    if (!settled)
        old = vr_roll_choose(node, &there);
    if (vr_collection_wants(node, there.count, &want))
        vr_roll_goal(node, there.count, &want);
    else
        want = there.count;
    size_t surplus = want < there.count ? there.count - want : 0;
    size_t rolling =
        surplus < old.count ? surplus : old.count; /* they go, and none comes for them */
    if (!settled && want > there.count)
        grow(node, there.count, want);
    else if (!settled && surplus > 0)
        shrink(node, &there, there.count, want, rolling);
    for (size_t i = 0; i < there.count; i++) {
        struct vr_node *member = there.items[i];
        if (member->action != VR_ACTION_REMOVE)
            vr_node_add(plan, &p->members, member);
        vr_node_planned(member);
    }
    bool tentative = is_made(node) && count_is_open(node);
    size_t coming = settled ? 0 : tentative ? 1 : node->add;
    for (size_t i = 0; i < coming; i++) {
        struct vr_node *member = coming_member(node, i + 1, tentative);
        vr_node_add(plan, &p->members, member);
        vr_node_planned(member);
    }
    for (size_t i = rolling; i < old.count; i++) {
        struct vr_node *member = coming_member(node, coming + i - rolling + 1, false);
        vr_node_add(plan, &p->members, member);
        vr_node_add(plan, &fresh, member);
        vr_node_planned(member);
    }
    if (old.count > 0)
        vr_roll_plan(node, &old, &fresh, want + rolling, want);
    if (!settled)
        forget_vanished(node, is_made(node) && p->row
                                  ? vr_plan_format(plan, "goes with `%s`", node->address)
                                  : "does not exist any more");
}

void vr_collection_list(struct vr_node *node)
{
    struct vr_nodes *members = &node->private->members;
    json_t *list = json_array(), *outputs;
    for (size_t i = 0; i < members->count; i++) {
        struct vr_node *member = members->items[i];
        if (member->member && member->private->outputs)
            json_array_append(list, member->private->outputs);
        else
            json_array_append_new(list, vr_unknown("%s", member->address));
    }
    outputs = node->private->outputs ? json_copy(node->private->outputs) : json_object();
    json_object_set_new(outputs, node->kind->collection, list);
    vr_node_outputs(node, outputs);
}

static struct vr_node *add_instance(struct vr_node *member, struct vr_decl *decl)
{
    struct vr_plan *plan = member->private->plan;
    char *address = vr_format("%s/%s", member->address, decl->address);
    struct vr_node *node = vr_node_new(plan, VR_NODE_INSTANCE, address, decl->kind);
    free(address);
    node->decl = decl;
    node->file = decl->file;
    node->line = decl->line;
    node->template_address = decl->address;
    node->parent = member;
    node->private->order = decl->index;
    unsigned char selected = plan->selected[decl->index];
    vr_node_leave_out(
        node, selected == 0 ||
                  (selected == 2 && !vr_plan_match_any(plan->options.targets,
                                                       plan->options.target_count, node->address)));
    vr_node_find_row(node);
    return node;
}

void vr_collection_gather(struct vr_node *node, struct vr_node *gather, struct vr_decl *decl,
                          size_t position)
{
    struct vr_plan *plan = node->private->plan;
    struct vr_nodes *members = &node->private->members;
    for (size_t m = 0; m < members->count; m++)
        if (position == SIZE_MAX || position == m)
            vr_node_needs(gather,
                          members->items[m]->private->instances.items[plan->slot[decl->index]]);
    vr_node_add(plan, &gather->private->deps, node);
    gather->private->waits--;
    vr_node_enqueue(gather);
}

/* Between two turns: who stays or comes has its own when the one at_once places before it had its.
 */
static void take_turns(struct vr_node *collection, const struct vr_decl *join)
{
    struct vr_plan *plan = collection->private->plan;
    const struct vr_nodes *members = &collection->private->members;
    struct vr_nodes line = {0};
    for (size_t m = 0; m < members->count; m++)
        if (members->items[m]->action != VR_ACTION_REMOVE)
            vr_node_add(plan, &line, members->items[m]);
    size_t width = join->share ? line.count * join->at_once / 100 : join->at_once;
    if (width == 0)
        width = 1;
    for (size_t m = width; m < line.count; m++)
        line.items[m]->private->instances.items[plan->slot[join->index]]->private->turn =
            line.items[m - width]->private->instances.items[plan->slot[join->turn->index]];
}

static void instantiate(struct vr_node *collection)
{
    struct vr_plan *plan = collection->private->plan;
    struct vr_templates *over = &plan->templates[collection->decl->index];
    struct vr_nodes *members = &collection->private->members;
    for (size_t m = 0; m < members->count; m++)
        for (size_t t = 0; t < over->count; t++)
            vr_node_add(plan, &members->items[m]->private->instances,
                        add_instance(members->items[m], over->items[t]));
    for (size_t t = 0; t < over->count; t++)
        for (size_t m = 0; m < members->count; m++)
            vr_node_edges(members->items[m]->private->instances.items[t], members->items[m]);
    for (size_t t = 0; t < over->count; t++)
        if (over->items[t]->turn)
            take_turns(collection, over->items[t]);
    for (size_t t = 0; t < over->count; t++) {
        vr_collection_gather(collection, plan->by_decl[over->items[t]->index], over->items[t],
                             SIZE_MAX);
        for (struct vr_pick *pick = plan->picks[over->items[t]->index]; pick; pick = pick->next)
            if (pick->node->private->waits > 0 && pick->node->private->deps.count == 0)
                vr_collection_gather(collection, pick->node, over->items[t], pick->position);
        for (size_t m = 0; m < members->count; m++) {
            vr_node_enqueue(members->items[m]->private->instances.items[t]);
            vr_early_try(members->items[m]->private->instances.items[t]);
        }
    }
}

void vr_collection_plan(struct vr_node *node, const json_t *members)
{
    struct vr_plan *plan = node->private->plan;
    if (node->private->type != VR_NODE_DECL ||
        (!node->kind->collection && plan->templates[node->decl->index].count == 0))
        return;
    if (node->kind->collection)
        make_members(node, members);
    struct vr_nodes *list = &node->private->members;
    if (node->kind->collection && node->private->fields &&
        !(list->count > 0 && list->items[list->count - 1]->private->tentative))
        vr_collection_list(node);
    instantiate(node);
}

/* A collection that is replaced may count its members from the start again: the old ones' rows are
 * gone by then. */
static bool is_free(struct vr_plan *plan, const char *address)
{
    const struct vr_node *node = vr_map_get(&plan->by_address, address);
    return !node ||
           (node->action == VR_ACTION_FORGET && !vr_state_find(plan->options.state, address));
}

const char *vr_collection_taken(const struct vr_node *node, const json_t *members)
{
    struct vr_plan *plan = node->private->plan;
    size_t index;
    json_t *item;
    json_array_foreach(members, index, item)
    {
        const char *id = member_id(plan, item);
        char *address = id ? vr_member_address(node, id) : NULL;
        const struct vr_node *old = address ? vr_map_get(&plan->by_address, address) : NULL;
        bool taken = old && old->action == VR_ACTION_FORGET && !is_free(plan, address);
        free(address);
        if (taken)
            return old->address;
    }
    return NULL;
}

size_t vr_collection_bind(struct vr_node *node, const json_t *members, const struct vr_phase *phase)
{
    struct vr_plan *plan = node->private->plan;
    struct vr_nodes *list = &node->private->members;
    size_t next = 0, bound = 0, index;
    json_t *item;
    json_array_foreach(members, index, item)
    {
        const char *id = member_id(plan, item);
        char *address = id ? vr_member_address(node, id) : NULL;
        while (next < list->count &&
               (list->items[next]->member || list->items[next]->private->phase != phase))
            next++;
        if (address && next < list->count && is_free(plan, address)) {
            struct vr_node *member = list->items[next];
            const char *status = json_string_value(json_object_get(item, "status"));
            member->member = id;
            member->status = status ? vr_arena_strdup(plan->arena, status) : NULL;
            json_decref(member->private->outputs);
            member->private->outputs = outputs_of(item);
            member->private->partial = false;
            vr_node_rename(member, address);
            for (size_t i = 0; i < member->private->instances.count; i++) {
                struct vr_node *instance = member->private->instances.items[i];
                char *full = vr_format("%s/%s", address, instance->template_address);
                vr_node_rename(instance, full);
                free(full);
            }
            bound++;
        }
        free(address);
    }
    return bound;
}
