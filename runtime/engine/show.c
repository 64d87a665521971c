/* What others see of a plan: nodes in the order to show, sums, values, JSON. */
#include <stdlib.h>
#include <string.h>

#include "engine/expr.h"
#include "engine/node.h"

const char *vr_action_name(enum vr_action action)
{
    static const char *const names[] = {
        [VR_ACTION_NOOP] = "no-op",      [VR_ACTION_READ] = "read",
        [VR_ACTION_ADOPT] = "adopt",     [VR_ACTION_CREATE] = "create",
        [VR_ACTION_UPDATE] = "update",   [VR_ACTION_REPLACE] = "replace",
        [VR_ACTION_DELETE] = "delete",   [VR_ACTION_FORGET] = "forget",
        [VR_ACTION_ADD] = "add",         [VR_ACTION_REMOVE] = "remove",
        [VR_ACTION_UNKNOWN] = "unknown",
    };
    return names[action];
}

const char *vr_certainty_name(enum vr_certainty certainty)
{
    static const char *const names[] = {"exact", "predicted", "known after apply"};
    return names[certainty];
}

const char *vr_why_name(enum vr_why why)
{
    static const char *const names[] = {"recipe", "outside", "both", "adopted", "upstream"};
    return names[why];
}

static int rank(const struct vr_node *node)
{
    switch (node->action) {
    case VR_ACTION_DELETE:
    case VR_ACTION_REMOVE:
    case VR_ACTION_FORGET:
        return 0;
    case VR_ACTION_REPLACE:
        return 1;
    default:
        return 2;
    }
}

static int compare_places(const struct vr_node *a, const struct vr_node *b)
{
    int files = strcmp(a->file ? a->file : "", b->file ? b->file : "");
    if (files != 0)
        return files;
    if (a->line != b->line)
        return a->line < b->line ? -1 : 1;
    return a->private->order < b->private->order ? -1 : a->private->order > b->private->order;
}

static int compare_nodes(const void *left, const void *right)
{
    const struct vr_node *a = *(struct vr_node *const *)left, *b = *(struct vr_node *const *)right;
    if (rank(a) != rank(b))
        return rank(a) - rank(b);
    int places = compare_places(a, b);
    return places != 0 ? places : a->private->serial < b->private->serial ? -1 : 1;
}

void vr_plan_sort(struct vr_plan *plan)
{
    plan->shown.items =
        vr_arena_alloc(plan->arena, (plan->all.count + 1) * sizeof(*plan->shown.items));
    plan->shown.count = 0;
    for (size_t i = 0; i < plan->all.count; i++) {
        struct vr_node *node = plan->all.items[i];
        if (node->address && node->private->planned && !node->private->left_out)
            plan->shown.items[plan->shown.count++] = node;
    }
    qsort(plan->shown.items, plan->shown.count, sizeof(*plan->shown.items), compare_nodes);
}

size_t vr_plan_count(const struct vr_plan *plan)
{
    return plan->shown.count;
}

struct vr_node *vr_plan_at(const struct vr_plan *plan, size_t index)
{
    return plan->shown.items[index];
}

struct vr_node *vr_plan_find(const struct vr_plan *plan, const char *address)
{
    return vr_plan_address(plan, address);
}

size_t vr_plan_error_count(const struct vr_plan *plan)
{
    return plan->error_count;
}

const struct vr_error *vr_plan_error_at(const struct vr_plan *plan, size_t index)
{
    return &plan->errors[index];
}

bool vr_node_drifted(const struct vr_node *node)
{
    const struct vr_node_private *p = node->private;
    if (p->row && p->was_read && p->absent && !p->gone)
        return true;
    for (size_t i = 0; i < node->change_count; i++)
        if (node->changes[i].why == VR_WHY_OUTSIDE || node->changes[i].why == VR_WHY_BOTH)
            return true;
    return false;
}

static void count_node(struct vr_plan_summary *sum, const struct vr_node *node)
{
    bool member = node->private->type == VR_NODE_MEMBER;
    switch (node->action) {
    case VR_ACTION_CREATE:
        sum->add++;
        break;
    case VR_ACTION_UPDATE:
        sum->change++;
        break;
    case VR_ACTION_ADD:
        sum->add += member;
        break;
    case VR_ACTION_REPLACE:
        sum->add++;
        sum->destroy++;
        break;
    case VR_ACTION_DELETE:
    case VR_ACTION_REMOVE:
        sum->destroy++;
        break;
    case VR_ACTION_ADOPT:
        sum->adopt++;
        break;
    case VR_ACTION_FORGET:
        sum->forget++;
        break;
    case VR_ACTION_UNKNOWN:
        sum->unknown++;
        return;
    case VR_ACTION_READ:
        break;
    case VR_ACTION_NOOP:
        return;
    }
    sum->exact += node->certainty == VR_EXACT;
    sum->predicted += node->certainty == VR_PREDICTED;
    sum->later += node->certainty == VR_LATER;
}

struct vr_plan_summary vr_plan_summary(const struct vr_plan *plan)
{
    struct vr_plan_summary sum = {.left_out = plan->left_out,
                                  .refresh_only = plan->options.refresh_only};
    for (size_t i = 0; i < plan->shown.count; i++) {
        count_node(&sum, plan->shown.items[i]);
        sum.drifted += vr_node_drifted(plan->shown.items[i]);
    }
    return sum;
}

bool vr_plan_empty(const struct vr_plan *plan)
{
    for (size_t i = 0; i < plan->shown.count; i++)
        if (vr_node_acts(plan->shown.items[i]))
            return false;
    return true;
}

bool vr_node_waits(const struct vr_node *node)
{
    bool stays = node->action == VR_ACTION_NOOP || node->action == VR_ACTION_UPDATE ||
                 node->action == VR_ACTION_ADOPT;
    return node->rolls && stays && !node->private->left_out && node->decl && !node->decl->protect;
}

const struct vr_node *vr_plan_next_roll(const struct vr_plan *plan)
{
    for (size_t i = 0; i < plan->shown.count; i++) {
        if (vr_node_waits(plan->shown.items[i]))
            return plan->shown.items[i];
    }
    return NULL;
}

static json_t *without_marks(const json_t *value)
{
    const char *key;
    size_t index;
    json_t *item;
    if (json_is_object(value)) {
        json_t *made = json_object();
        json_object_foreach((json_t *)value, key, item)
        {
            if (strcmp(key, "$ref") != 0)
                json_object_set_new(made, key, without_marks(item));
        }
        return made;
    }
    if (!json_is_array(value))
        return json_incref((json_t *)value);
    json_t *made = json_array();
    json_array_foreach(value, index, item) json_array_append_new(made, without_marks(item));
    return made;
}

json_t *vr_plan_output(const struct vr_plan *plan, const struct vr_output *output,
                       struct vr_error *err)
{
    struct vr_lookup lookup = vr_plan_lookup((struct vr_plan *)plan);
    json_t *value = vr_expr_eval(output->expr, &lookup, err);
    if (!value) {
        if (err && err->message && !err->file)
            vr_error_place(err, output->file, output->line);
        return NULL;
    }
    json_t *plain = without_marks(value);
    json_decref(value);
    return plain;
}

json_t *vr_plan_value(const struct vr_plan *plan, const struct vr_node *node)
{
    (void)plan;
    json_t *value = vr_node_value((struct vr_node *)node, VR_DEPTH), *plain = without_marks(value);
    json_decref(value);
    return plain;
}

/* JSON. */

static void set_text(json_t *object, const char *key, const char *text)
{
    if (text)
        json_object_set_new(object, key, json_string(text));
}

static json_t *change_json(const struct vr_change *change)
{
    json_t *json = json_pack("{s:s,s:s,s:b}", "path", change->path, "why", vr_why_name(change->why),
                             "replace", change->replace);
    if (change->secret)
        json_object_set_new(json, "secret", json_true());
    if (change->before)
        json_object_set(json, "before", change->before);
    if (change->after)
        json_object_set(json, "after", change->after);
    return json;
}

/* How many come in each phase, or, below zero, go. */
static json_t *phases_json(const struct vr_roll *roll)
{
    json_t *list = json_array();
    for (size_t i = 0; i < roll->count; i++) {
        json_int_t count = (json_int_t)roll->phases[i].members.count;
        json_array_append_new(list, json_integer(roll->phases[i].add ? count : -count));
    }
    return list;
}

json_t *vr_node_json(const struct vr_node *node)
{
    json_t *json = json_pack("{s:s,s:s,s:s}", "address", node->address, "kind", node->kind->name,
                             "action", vr_action_name(node->action));
    if (node->action != VR_ACTION_UNKNOWN)
        set_text(json, "certainty", vr_certainty_name(node->certainty));
    set_text(json, "reason", node->reason);
    set_text(json, "file", node->file);
    if (node->file)
        json_object_set_new(json, "line", json_integer(node->line));
    set_text(json, "identity", node->identity);
    set_text(json, "etag", node->private->etag);
    set_text(json, "member", node->member);
    set_text(json, "template", node->template_address);
    set_text(json, "parent", node->parent ? node->parent->address : NULL);
    set_text(json, "status", node->status);
    set_text(json, "stale", node->stale);
    if (node->rolls)
        json_object_set_new(json, "rolls", json_true());
    if (node->partner)
        set_text(json, node->action == VR_ACTION_REMOVE ? "replaced_by" : "replaces",
                 node->partner->address);
    set_text(json, "moved_from", node->moved_from);
    set_text(json, "error", node->error.message);
    if (node->add)
        json_object_set_new(json, "add", json_integer((json_int_t)node->add));
    if (node->private->roll)
        json_object_set_new(json, "roll", phases_json(node->private->roll));
    if (node->change_count > 0) {
        json_t *changes = json_array();
        for (size_t i = 0; i < node->change_count; i++)
            json_array_append_new(changes, change_json(&node->changes[i]));
        json_object_set_new(json, "changes", changes);
    }
    return json;
}

static json_t *summary_json(const struct vr_plan *plan)
{
    struct vr_plan_summary sum = vr_plan_summary(plan);
    json_t *json = json_object();
    const struct {
        const char *name;
        size_t value;
    } parts[] = {
        {"add", sum.add},           {"change", sum.change},       {"destroy", sum.destroy},
        {"adopt", sum.adopt},       {"forget", sum.forget},       {"unknown", sum.unknown},
        {"exact", sum.exact},       {"predicted", sum.predicted}, {"known_after_apply", sum.later},
        {"left_out", sum.left_out}, {"drifted", sum.drifted}};
    for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++)
        json_object_set_new(json, parts[i].name, json_integer((json_int_t)parts[i].value));
    return json;
}

static bool is_listed(const struct vr_node *node)
{
    return node->action != VR_ACTION_NOOP || node->moved_from || node->change_count > 0 ||
           node->stale;
}

json_t *vr_plan_json(const struct vr_plan *plan)
{
    json_t *actions = json_array();
    for (size_t i = 0; i < plan->shown.count; i++)
        if (is_listed(plan->shown.items[i]))
            json_array_append_new(actions, vr_node_json(plan->shown.items[i]));
    return json_pack("{s:i,s:s,s:s,s:I,s:b,s:o,s:o}", "format", 1, "vmrun", VMRUN_VERSION, "stack",
                     vr_state_stack(plan->options.state), "serial", (json_int_t)plan->serial,
                     "destroy", plan->options.destroy, "actions", actions, "summary",
                     summary_json(plan));
}

/* A saved plan against this one. */

static bool same_part(const json_t *a, const json_t *b, const char *key)
{
    const json_t *x = json_object_get(a, key), *y = json_object_get(b, key);
    return x == y || (x && y && json_equal(x, y));
}

static bool same_action(const json_t *saved, const json_t *now, struct vr_error *err)
{
    static const char *const keys[] = {"action", "changes", "add", "identity",
                                       "member", "etag",    "kind"};
    const char *address = json_string_value(json_object_get(saved, "address"));
    for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
        if (same_part(saved, now, keys[i]))
            continue;
        const json_t *was = json_object_get(saved, "action"), *is = json_object_get(now, "action");
        if (strcmp(keys[i], "action") == 0)
            vr_error_set(err, "moved", "plan no longer holds: %s was to %s, now it is to %s",
                         address, json_string_value(was), json_string_value(is));
        else
            vr_error_set(err, "moved", "plan no longer holds: %s differs in its %s now", address,
                         keys[i]);
        vr_error_hint(err, "plan again");
        return false;
    }
    return true;
}

static bool moved(struct vr_error *err, const char *address, const char *what)
{
    vr_error_set(err, "moved", "plan no longer holds: %s %s", address, what);
    vr_error_hint(err, "plan again");
    return false;
}

bool vr_plan_matches(const struct vr_plan *plan, const json_t *saved, struct vr_error *err)
{
    if (json_integer_value(json_object_get(saved, "format")) != 1) {
        vr_error_set(err, "format", "this is not a plan that vmrun %s can read", VMRUN_VERSION);
        return false;
    }
    const char *stack = json_string_value(json_object_get(saved, "stack"));
    if (!stack || strcmp(stack, vr_state_stack(plan->options.state)) != 0) {
        vr_error_set(err, "stack", "the plan is for the stack '%s', not for '%s'",
                     stack ? stack : "", vr_state_stack(plan->options.state));
        return false;
    }
    json_t *now = vr_plan_json(plan), *actions = json_object_get(now, "actions"), *item;
    struct vr_map left = {0};
    size_t index;
    bool same = true;
    json_array_foreach(actions, index, item)
        vr_map_set(&left, json_string_value(json_object_get(item, "address")), item);
    json_array_foreach(json_object_get(saved, "actions"), index, item)
    {
        const char *address = json_string_value(json_object_get(item, "address"));
        const json_t *other = address ? vr_map_remove(&left, address) : NULL;
        if (!other)
            same = moved(err, address ? address : "an action", "has nothing to do now");
        else
            same = same_action(item, other, err);
        if (!same)
            break;
    }
    size_t cursor = 0;
    const char *extra = NULL;
    if (same && vr_map_next(&left, &cursor, &extra))
        same = moved(err, extra, "was not in it");
    vr_map_free(&left);
    json_decref(now);
    return same;
}
