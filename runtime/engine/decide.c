/* From what is declared, remembered and read to one action a node. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "engine/expr.h"
#include "engine/node.h"

static const char *short_name(const struct vr_node *node)
{
    return node->address ? node->address : node->decl->address;
}

static void set_reason(struct vr_node *node, enum vr_action action, const char *reason)
{
    node->action = action;
    node->reason = reason;
}

static void block(struct vr_node *node, struct vr_error *err)
{
    struct vr_node_private *p = node->private;
    p->blocked = true;
    set_reason(node, VR_ACTION_UNKNOWN, "not planned because of an error");
    if (err) {
        vr_error_copy(&node->error, err);
        if (!node->error.file && node->file)
            vr_error_place(&node->error, node->file, node->line);
        vr_plan_error_add(p->plan, node, err);
    }
    if (p->type == VR_NODE_DECL && p->plan->templates[node->decl->index].count > 0)
        vr_collection_plan(node, NULL);
    vr_node_planned(node);
}

/* What the dependencies' actions mean for a node. */
struct standing {
    struct vr_node *unknown;   /* a dependency that could not be read */
    struct vr_node *created;   /* a whole reference to what does not exist yet */
    struct vr_node *made_anew; /* the same, in a field that forces replacement: what it lives on */
    struct vr_node *replaced;  /* what it lives on is replaced */
    struct vr_node *acting;    /* a dependency that the plan does something about */
    bool existing;             /* a whole reference to what exists */
    const struct vr_node *node;
};

static bool comes(const struct vr_node *node)
{
    return node->action == VR_ACTION_CREATE ||
           (node->private->type == VR_NODE_MEMBER && !node->member);
}

static void is_same_node(void *payload, struct vr_node *to, const char *field)
{
    const struct vr_node **wanted = payload;
    (void)field;
    if (to == *wanted)
        *wanted = NULL;
}

/* Its row, if there is one, says that it lived on this before. */
static bool lived_on(const struct vr_node *node, const struct vr_node *to, const char *field)
{
    const struct vr_node *wanted = to;
    if (!node->private->row)
        return true;
    vr_value_refs(node->private->plan, json_object_get(node->private->inputs, field), is_same_node,
                  &wanted);
    return wanted == NULL;
}

static void stand_on(void *payload, struct vr_node *to, const char *field)
{
    struct standing *s = payload;
    const struct vr_field *spec = field ? vr_kind_field(s->node->kind, field) : NULL;
    bool lives_on = spec && spec->flags & VR_FIELD_REPLACE && lived_on(s->node, to, field);
    if (comes(to)) {
        s->created = to;
        if (lives_on)
            s->made_anew = to;
    } else if (to->action == VR_ACTION_REPLACE && lives_on) {
        s->replaced = to;
    } else {
        s->existing = true;
    }
}

static struct standing stands(struct vr_node *node)
{
    struct vr_node_private *p = node->private;
    struct standing s = {.node = node};
    for (size_t i = 0; i < p->deps.count; i++) {
        struct vr_node *dep = p->deps.items[i];
        if (dep->action == VR_ACTION_UNKNOWN && !(node->decl && node->decl->tally))
            s.unknown = dep;
        if (dep->private->acts || (vr_node_acts(dep) && dep->action != VR_ACTION_ADOPT))
            s.acting = dep;
    }
    if (p->refs)
        vr_value_refs(p->plan, p->fields, stand_on, &s);
    return s;
}

/* Rows that only moved: declared so, or the same identity under another address. */
static void find_renamed(struct vr_node *node)
{
    struct vr_plan *plan = node->private->plan;
    if (node->private->row || !node->identity || node->private->type != VR_NODE_DECL ||
        plan->renamed.count == 0)
        return;
    struct vr_row *row =
        vr_map_get(&plan->renamed, vr_plan_format(plan, "%s %s", node->kind->name, node->identity));
    if (row && !row->mark)
        vr_node_take_row(node, row);
}

static void find_identity(struct vr_node *node)
{
    if (node->identity || !node->kind->identity)
        return;
    char *identity = node->kind->identity(node->kind, node->private->fields);
    if (!identity)
        return;
    node->identity = vr_arena_strdup(node->private->plan->arena, identity);
    free(identity);
}

void vr_node_outputs(struct vr_node *node, json_t *outputs)
{
    struct vr_node_private *p = node->private;
    json_decref(p->outputs);
    p->outputs =
        vr_value_taint(outputs, node->kind->outputs, node->kind->output_count, VR_OUTPUT_SECRET);
    vr_node_forget_values(node);
}

/* Stands in for what cannot be asked: the last that is known. */
static void from_row(struct vr_node *node)
{
    struct vr_node_private *p = node->private;
    p->partial = p->was == NULL;
    if (!p->fields && p->inputs)
        p->fields = vr_value_undigest(node, p->inputs);
    if (p->was)
        vr_node_outputs(node, vr_value_undigest(node, p->was));
}

static void left_out(struct vr_node *node)
{
    from_row(node);
    set_reason(node, VR_ACTION_NOOP, "left out");
    vr_collection_plan(node, NULL);
    vr_node_planned(node);
}

static void read_later(struct vr_node *node, struct vr_node *because)
{
    set_reason(node, VR_ACTION_READ,
               because ? vr_plan_format(node->private->plan, "is read when `%s` is done",
                                        short_name(because))
                       : "is read when its fields are known");
    node->certainty = VR_LATER;
    node->private->partial = true;
    vr_collection_plan(node, NULL);
    vr_node_planned(node);
}

static bool on_evicted(const struct vr_node *node)
{
    return node->private->type == VR_NODE_INSTANCE && node->parent->status &&
           strcmp(node->parent->status, "evicted") == 0;
}

/* What is on an evicted member is expected not to answer: it is as it was when that comes back. */
static void unreachable(struct vr_node *node, struct vr_error *err)
{
    bool evicted = on_evicted(node) && node->private->was;
    if (evicted)
        vr_error_clear(err);
    else
        vr_error_move(&node->error, err);
    from_row(node);
    set_reason(node, evicted ? VR_ACTION_NOOP : VR_ACTION_UNKNOWN,
               evicted ? "its member is evicted" : "unreachable");
    vr_collection_plan(node, NULL);
    vr_node_planned(node);
}

void vr_node_recall(struct vr_node *node)
{
    const json_t *was = node->private->was; /* without an id: a run that ended before it was made */
    json_t *result = json_object_get(was, "id")
                         ? json_pack("{s:o}", "outputs", vr_value_undigest(node, was))
                         : json_pack("{s:b}", "absent", true);
    vr_node_see(node, result);
    json_decref(result);
}

static void enqueue_read(struct vr_node *node)
{
    struct vr_plan *plan = node->private->plan;
    if (node->kind->remembered) {
        vr_node_recall(node);
        vr_node_compare(node);
        return;
    }
    if (vr_early_serves(node))
        return;
    plan->reads_total++;
    vr_crew_wait(plan->crew, node->kind, 0, node);
}

static void visit_gather(struct vr_node *node)
{
    for (size_t i = 0; i < node->private->deps.count; i++) {
        const struct vr_node *dep = node->private->deps.items[i];
        node->private->blocked = node->private->blocked || dep->private->blocked;
        node->private->acts = node->private->acts || vr_node_acts(dep);
        if (dep->action == VR_ACTION_UNKNOWN)
            node->action = VR_ACTION_UNKNOWN;
    }
    vr_node_planned(node);
}

static bool any_blocked(const struct vr_node *node)
{
    for (size_t i = 0; i < node->private->deps.count; i++)
        if (node->private->deps.items[i]->private->blocked)
            return true;
    return false;
}

void vr_node_visit(struct vr_node *node)
{
    struct vr_node_private *p = node->private;
    struct vr_error err = {0};
    if (p->type == VR_NODE_GATHER) {
        visit_gather(node);
        return;
    }
    if (any_blocked(node)) {
        block(node, NULL);
        return;
    }
    if (!p->left_out && !vr_node_evaluate(node, &err)) {
        block(node, &err);
        return;
    }
    if (p->left_out) {
        left_out(node);
        return;
    }
    find_identity(node);
    find_renamed(node);
    struct standing s = stands(node);
    if (p->reads_only && (p->open || s.created || (s.acting && node->decl->after_count > 0))) {
        read_later(node, s.acting);
    } else if (p->row ? s.made_anew || (s.created && !p->was)
                      : s.created || (p->open && !node->identity)) {
        p->absent = true;
        p->look = p->row != NULL || (node->identity && s.existing);
        vr_node_compare(node);
    } else {
        enqueue_read(node);
    }
}

void vr_node_see(struct vr_node *node, const json_t *result)
{
    struct vr_node_private *p = node->private;
    struct vr_arena *arena = p->plan->arena;
    const struct vr_kind *kind = node->kind;
    p->was_read = true;
    p->absent = !json_is_object(result) || json_is_true(json_object_get(result, "absent"));
    if (p->absent)
        return;
    json_t *fields = json_object_get(result, "fields"),
           *outputs = json_object_get(result, "outputs");
    json_decref(p->observed);
    p->observed = fields ? json_incref(fields) : json_object();
    p->observed = vr_value_taint(p->observed, kind->fields, kind->field_count, VR_FIELD_SECRET);
    vr_node_outputs(node, json_is_object(outputs) ? json_incref(outputs) : json_object());
    const char *etag = json_string_value(json_object_get(result, "etag"));
    const char *identity = json_string_value(json_object_get(result, "identity"));
    const char *status = json_string_value(json_object_get(result, "status"));
    const char *stale = json_string_value(json_object_get(result, "stale"));
    const json_t *changes = json_object_get(result, "changes");
    p->etag = etag ? vr_arena_strdup(arena, etag) : NULL;
    node->status = status ? vr_arena_strdup(arena, status) : NULL;
    node->stale = stale ? vr_arena_strdup(arena, stale) : NULL;
    node->rolls = stale && json_is_true(json_object_get(result, "rolls"));
    if (!identity && !node->identity)
        identity = json_string_value(json_object_get(p->outputs, "id"));
    if (identity)
        node->identity = vr_arena_strdup(arena, identity);
    json_decref(p->own_changes);
    p->own_changes = json_is_array(changes) ? json_incref((json_t *)changes) : NULL;
}

void vr_node_was_read(struct vr_node *node, struct vr_job *job)
{
    struct vr_node_private *p = node->private;
    struct vr_error *err = &job->error;
    bool lost = err->message && err->code && strcmp(err->code, "unreachable") == 0;
    struct standing s = stands(node);
    /* asked before what it is on is there */
    bool early = err->message && (lost || vr_has_unknown(p->fields));
    if (early && !p->plan->cancel_reason && (s.replaced || (s.created && !p->was))) {
        p->absent = p->look = true; /* looked at again in apply */
        vr_node_compare(node);
    } else if (lost || (early && p->was && !p->plan->cancel_reason)) {
        unreachable(node, err);
    } else if (err->message) {
        block(node, p->plan->cancel_reason ? NULL : err);
    } else {
        vr_node_see(node, job->result);
        if (!p->absent) {
            json_t *members = json_object_get(job->result, "members");
            if (!members && node->kind->collection)
                members = json_object_get(p->outputs, node->kind->collection);
            json_decref(p->seen_members);
            p->seen_members = json_is_array(members) ? json_incref(members) : NULL;
        }
        vr_node_compare(node);
    }
}

/* Certainty and reasons. */

static enum vr_certainty certainty(const struct vr_node *node)
{
    const struct vr_node_private *p = node->private;
    if (p->open)
        return VR_LATER;
    return p->was_read ? VR_EXACT : VR_PREDICTED;
}

static const char *scalar_text(struct vr_plan *plan, const json_t *value)
{
    if (!value || json_is_null(value))
        return "none";
    if (json_is_string(value) && json_string_length(value) <= 40 &&
        !strchr(json_string_value(value), '\n'))
        return json_string_value(value);
    if (json_is_integer(value))
        return vr_plan_format(plan, "%lld", (long long)json_integer_value(value));
    if (json_is_real(value))
        return vr_plan_format(plan, "%g", json_real_value(value));
    if (json_is_boolean(value))
        return json_is_true(value) ? "true" : "false";
    if (vr_is_unknown(value))
        return "(known after apply)";
    return NULL;
}

static const char *change_text(struct vr_plan *plan, const struct vr_change *change)
{
    const char *how = change->why == VR_WHY_OUTSIDE ? " outside" : "";
    const char *before = scalar_text(plan, change->before),
               *after = scalar_text(plan, change->after);
    const char *force = change->replace ? ", forces replacement" : "";
    if (change->secret)
        return vr_plan_format(plan, "field `%s` changed%s: (secret)%s", change->path, how, force);
    if (before && after)
        return vr_plan_format(plan, "field `%s` changed%s: %s -> %s%s", change->path, how, before,
                              after, force);
    return vr_plan_format(plan, "field `%s` changed%s%s", change->path, how, force);
}

void vr_node_why(struct vr_node *node)
{
    struct vr_plan *plan = node->private->plan;
    const struct vr_change *first = NULL;
    for (size_t i = 0; i < node->change_count; i++)
        if (!first || (node->changes[i].replace && !first->replace))
            first = &node->changes[i];
    if (!first)
        return;
    node->reason = change_text(plan, first);
    if (node->change_count > 1)
        node->reason =
            vr_plan_format(plan, "%s; and %zu more", node->reason, node->change_count - 1);
}

/* Actions. */

static void list_fields(struct vr_node *node)
{
    struct vr_node_private *p = node->private;
    node->changes =
        vr_arena_alloc(p->plan->arena, (json_object_size(p->fields) + 1) * sizeof(*node->changes));
    const char *key;
    json_t *value;
    json_object_foreach(p->fields, key, value)
    {
        const struct vr_field *spec = vr_kind_field(node->kind, key);
        struct vr_change *change = &node->changes[node->change_count++];
        change->path = vr_arena_strdup(p->plan->arena, key);
        change->after = vr_value_redact(p->plan, value);
        change->why = VR_WHY_RECIPE;
        change->secret = vr_value_hides(value) || (spec && spec->flags & VR_FIELD_SECRET);
    }
}

static void expect_outputs(struct vr_node *node)
{
    json_t *known =
        node->kind->predict ? node->kind->predict(node->kind, node->private->fields) : NULL;
    node->private->partial = true;
    vr_node_outputs(node, known ? known : json_object());
}

static void will_create(struct vr_node *node, const struct standing *s)
{
    struct vr_node_private *p = node->private;
    struct vr_plan *plan = p->plan;
    const char *reason = "new";
    if (s->made_anew && p->row)
        reason = vr_plan_format(plan, "`%s` is made anew", short_name(s->made_anew));
    else if (s->replaced && p->row)
        reason = vr_plan_format(plan, "`%s` is replaced", short_name(s->replaced));
    else if (p->intent && !p->was)
        reason = "an earlier run did not finish it";
    else if (p->row)
        reason = "was deleted outside";
    set_reason(node, VR_ACTION_CREATE, reason);
    node->certainty = certainty(node);
    if (p->row && !p->look && !p->was_read)
        p->look = true;
    list_fields(node);
    expect_outputs(node);
}

static bool wants_replace(struct vr_node *node, const struct standing *s)
{
    struct vr_node_private *p = node->private;
    struct vr_plan *plan = p->plan;
    bool replace = false;
    if (vr_plan_match_any(plan->options.replace, plan->options.replace_count, node->address)) {
        node->reason = "asked for";
        return true;
    }
    if (node->rolls && plan->options.roll && strcmp(plan->options.roll, node->address) == 0) {
        node->reason = vr_plan_format(plan, "stale: %s", node->stale);
        return true;
    }
    const json_t *recorded = json_object_get(p->inputs, "$triggers");
    bool triggered = false;
    for (size_t i = 0; recorded && i < json_array_size(p->triggers); i++) {
        const json_t *now = json_array_get(p->triggers, i);
        struct vr_node *on = vr_plan_address(plan, json_string_value(json_object_get(now, "$ref")));
        triggered =
            triggered || (on && vr_node_acts(on) && on->action != VR_ACTION_ADOPT) ||
            !vr_value_same(plan, now, json_array_get(recorded, i), node->kind->fold_identity);
    }
    if (triggered) {
        node->reason = "a value of `replace_triggered_by` changed, forces replacement";
        return true;
    }
    if (s->replaced) {
        node->reason = vr_plan_format(plan, "`%s` is replaced", short_name(s->replaced));
        return true;
    }
    for (size_t i = 0; i < node->change_count; i++)
        replace = replace || node->changes[i].replace;
    if (replace || (node->change_count > 0 && !vr_kind_has(node->kind, VR_VERB_UPDATE))) {
        vr_node_why(node);
        return true;
    }
    return false;
}

static bool refuse(struct vr_node *node, const char *code, const char *text, const char *hint)
{
    struct vr_error err = {0};
    vr_error_set(&err, code, "%s %s", node->address, text);
    vr_error_hint(&err, "%s", hint);
    block(node, &err);
    return false;
}

static void forget_volatile(struct vr_node *node)
{
    struct vr_node_private *p = node->private;
    json_t *outputs = NULL;
    for (size_t i = 0; i < node->kind->output_count; i++) {
        const struct vr_field *output = &node->kind->outputs[i];
        if (!(output->flags & VR_OUTPUT_VOLATILE))
            continue;
        if (!outputs)
            outputs = json_copy(p->outputs);
        json_object_set_new(outputs, output->path,
                            vr_unknown("%s.%s", node->address, output->path));
    }
    if (outputs)
        vr_node_outputs(node, outputs);
}

/* An existing thing: false when that is an error (the node is blocked then). */
static bool decide_existing(struct vr_node *node, const struct standing *s)
{
    struct vr_node_private *p = node->private;
    p->adopt = !p->row || (p->intent && strcmp(p->intent, "create") == 0 && !p->was);
    if (!p->row && node->kind->refuse_existing)
        return refuse(node, "exists", "exists already, and was not made here",
                      "give it another name, or take it over with `vmrun import`");
    vr_node_diff(node);
    if (p->reads_only) {
        set_reason(node, VR_ACTION_NOOP, "only read");
        return true;
    }
    if (wants_replace(node, s)) {
        if (!p->row)
            return refuse(node, "exists",
                          vr_plan_format(p->plan, "exists already and differs (%s)", node->reason),
                          "give it another name, or bring the recipe in line with it");
        if (node->decl->protect)
            return refuse(
                node, "protected",
                vr_plan_format(p->plan, "is protected and would be replaced (%s)", node->reason),
                "take `protect` away first if that is meant");
        node->action = VR_ACTION_REPLACE;
        p->cbd = node->decl->create_before_destroy;
        expect_outputs(node);
        if (!s->replaced && !p->open)
            node->certainty = VR_EXACT;
    } else if (node->change_count > 0) {
        node->action = VR_ACTION_UPDATE;
        vr_node_why(node);
        if (!p->row)
            node->reason =
                vr_plan_format(p->plan, "exists already and is taken over; %s", node->reason);
        forget_volatile(node);
    } else if (p->adopt) {
        set_reason(node, VR_ACTION_ADOPT,
                   p->row ? "was made by an earlier run" : "exists already and is right");
    } else {
        set_reason(node, VR_ACTION_NOOP, "as it should be");
    }
    node->certainty = p->open ? VR_LATER : s->replaced ? VR_PREDICTED : VR_EXACT;
    return true;
}

/* Only what happened outside is noted: nothing is done. */
static void only_refresh(struct vr_node *node)
{
    struct vr_node_private *p = node->private;
    if (node->action == VR_ACTION_CREATE)
        set_reason(node, p->row && p->was_read ? VR_ACTION_FORGET : VR_ACTION_NOOP,
                   p->row && p->was_read ? "was deleted outside" : "not there");
    else if (node->action != VR_ACTION_ADOPT)
        node->action = VR_ACTION_NOOP;
    p->keep_inputs = true;
}

static bool same_text(const json_t *value, const json_t *recorded)
{
    return recorded ? json_equal(value, recorded) : json_object_size(value) == 0;
}

/* Whether a text goes on with `"address"` and a comma or the end; *text moves behind it. An address
 * that JSON would escape is not recognized. */
static bool skip_address(const char **text, const char *address)
{
    size_t length = strlen(address);
    const char *at = *text;
    if (at[0] != '"' || strncmp(at + 1, address, length) != 0 || at[length + 1] != '"')
        return false;
    *text = at + length + 2 + (at[length + 2] == ',');
    return true;
}

static bool skip_deps(const struct vr_node *node, const char **text)
{
    for (size_t i = 0; i < node->private->deps.count; i++) {
        const struct vr_node *dep = node->private->deps.items[i];
        if (dep->private->type == VR_NODE_GATHER ? !skip_deps(dep, text)
                                                 : !skip_address(text, dep->address))
            return false;
    }
    return true;
}

/* Whether the row names the same dependencies; nearly always it does, and no text has to be made.
 */
static bool same_deps(struct vr_node *node, const char *recorded)
{
    const char *at = recorded + 1;
    if (*recorded == '[' && skip_deps(node, &at) && strcmp(at, "]") == 0)
        return true;
    json_t *deps = vr_node_deps(node);
    char *text = json_dumps(deps, JSON_COMPACT);
    bool same = strcmp(text, recorded) == 0;
    free(text);
    json_decref(deps);
    return same;
}

/* Whether the row says something else than it would now. */
static bool needs_note(struct vr_node *node)
{
    struct vr_node_private *p = node->private;
    if (node->action != VR_ACTION_NOOP || p->left_out)
        return false;
    if (!p->row)
        return p->was_read && !p->absent;
    if (node->moved_from || p->intent)
        return true;
    json_t *inputs = vr_node_inputs(node);
    json_t *outputs = p->outputs ? vr_value_redact(p->plan, p->outputs) : NULL;
    bool same = (p->keep_inputs || same_text(inputs, p->inputs)) && same_text(outputs, p->was) &&
                (!p->row->deps || same_deps(node, p->row->deps));
    json_decref(inputs);
    json_decref(outputs);
    return !same;
}

static void drop(json_t **value)
{
    json_decref(*value);
    *value = NULL;
}

/* What only the comparison needed: most nodes of most plans end here. */
static void drop_records(struct vr_node *node)
{
    struct vr_node_private *p = node->private;
    drop(&p->inputs);
    drop(&p->was);
    drop(&p->own_changes);
    drop(&p->seen_members);
}

void vr_node_compare(struct vr_node *node)
{
    struct vr_node_private *p = node->private;
    struct standing s = stands(node);
    if (p->absent && (p->reads_only || !vr_kind_has(node->kind, VR_VERB_CREATE))) {
        refuse(node, "absent", "does not exist, and its kind cannot make it",
               "check its name, or make it first");
        return;
    }
    if (p->absent)
        will_create(node, &s);
    else if (!decide_existing(node, &s))
        return;
    if (s.unknown && vr_node_acts(node) && node->action != VR_ACTION_ADOPT) {
        vr_error_set(&node->error, "unreachable", "%s needs %s, which could not be read",
                     node->address, short_name(s.unknown));
        set_reason(
            node, VR_ACTION_UNKNOWN,
            vr_plan_format(p->plan, "needs `%s`, which is not reachable", short_name(s.unknown)));
    }
    if (p->plan->options.refresh_only)
        only_refresh(node);
    vr_collection_plan(node, p->seen_members);
    p->note = needs_note(node) || p->note;
    if (node->action == VR_ACTION_NOOP && !p->note)
        drop_records(node);
    vr_node_planned(node);
}
