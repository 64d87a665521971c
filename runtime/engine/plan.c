/* A walk over the graph from what needs nothing to what needs most. A node is visited when all that
 * it needs is planned: its fields are evaluated, it is read if it may exist, and what was seen
 * decides its action (decide.c). A collection makes its members and their instances as soon as it
 * is planned (collection.c). When nothing declared is left, the rows that nobody took are visited
 * in the same way (gone.c). All with lists: nothing recurses with the depth of the graph. */
#include "engine/plan.h"

#include <assert.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "engine/node.h"

enum { PHASE_DECLARED, PHASE_GONE, PHASE_DONE };

struct vr_refusal {
    vr_step_recorded done;
    void *payload;
    struct vr_refusal *next;
};

/* Nodes. */

struct vr_node *vr_node_new(struct vr_plan *plan, enum vr_node_type type, const char *address,
                            const struct vr_kind *kind)
{
    struct vr_node *node =
        vr_arena_alloc(plan->arena, sizeof(*node) + sizeof(struct vr_node_private));
    struct vr_node_private *p = node->private = (struct vr_node_private *)(node + 1);
    node->kind = kind;
    p->plan = plan;
    p->type = type;
    p->order = p->serial = plan->all.count;
    if (address) {
        node->address = vr_arena_strdup(plan->arena, address);
        vr_map_set(&plan->by_address, node->address, node);
    }
    p->reads_only = !vr_kind_has(kind, VR_VERB_CREATE) && !vr_kind_has(kind, VR_VERB_DELETE);
    vr_node_add(plan, &plan->all, node);
    plan->left++;
    return node;
}

void vr_node_rename(struct vr_node *node, const char *address)
{
    struct vr_plan *plan = node->private->plan;
    vr_map_remove(&plan->by_address, node->address);
    node->address = vr_arena_strdup(plan->arena, address);
    vr_map_set(&plan->by_address, node->address, node);
    vr_node_forget_values(node);
}

void vr_node_add(struct vr_plan *plan, struct vr_nodes *list, struct vr_node *node)
{
    list->items = vr_arena_grow(plan->arena, list->items, list->count, sizeof(*list->items));
    list->items[list->count++] = node;
}

void vr_node_needs(struct vr_node *node, struct vr_node *dep)
{
    struct vr_plan *plan = node->private->plan;
    vr_node_add(plan, &node->private->deps, dep);
    if (dep->private->planned)
        return;
    struct vr_link *link = vr_arena_alloc(plan->arena, sizeof(*link));
    *link = (struct vr_link){node, dep->private->users};
    dep->private->users = link;
    node->private->waits++;
}

void vr_node_enqueue(struct vr_node *node)
{
    struct vr_plan *plan = node->private->plan;
    if (node->private->waits > 0 || node->private->planned)
        return;
    if (plan->ready_tail)
        plan->ready_tail->private->ready = node;
    else
        plan->ready_head = node;
    plan->ready_tail = node;
}

void vr_node_planned(struct vr_node *node)
{
    struct vr_node_private *p = node->private;
    assert(!p->planned);
    p->planned = true;
    p->plan->left--;
    for (struct vr_link *link = p->users; link; link = link->next) {
        link->node->private->waits--;
        vr_node_enqueue(link->node);
    }
    vr_early_retry(p->users);
    p->users = NULL;
}

static struct vr_node *new_gather(struct vr_plan *plan, struct vr_decl *decl)
{
    struct vr_node *gather = vr_node_new(plan, VR_NODE_GATHER, NULL, decl->kind);
    gather->decl = decl;
    gather->private->waits = 1; /* for the collection to say who its members are */
    return gather;
}

/* What stands for all instances of a template, or for the one of the member at a position. */
static struct vr_node *gather_of(struct vr_plan *plan, struct vr_decl *decl, size_t position)
{
    if (position == SIZE_MAX)
        return plan->by_decl[decl->index];
    for (struct vr_pick *pick = plan->picks[decl->index]; pick; pick = pick->next)
        if (pick->position == position)
            return pick->node;
    struct vr_pick *pick = vr_arena_alloc(plan->arena, sizeof(*pick));
    *pick = (struct vr_pick){new_gather(plan, decl), position, plan->picks[decl->index]};
    plan->picks[decl->index] = pick;
    struct vr_node *collection = plan->by_decl[decl->scope->collection->index];
    if (collection->private->planned)
        vr_collection_gather(collection, pick->node, decl, position);
    return pick->node;
}

void vr_node_edges(struct vr_node *node, struct vr_node *member)
{
    struct vr_plan *plan = node->private->plan;
    const struct vr_decl *decl = node->decl;
    if (member)
        vr_node_needs(node, member);
    size_t count = vr_graph_edge_count(plan->options.graph, decl);
    for (size_t i = 0; i < count; i++) {
        const struct vr_edge *edge = vr_graph_edge(plan->options.graph, decl, i);
        struct vr_node *dep = plan->by_decl[edge->to->index];
        if (!edge->gather &&
            (edge->item || (!edge->field && member && edge->to == decl->scope->collection)))
            continue; /* its own member, which it needs anyway */
        if (edge->gather && edge->to->scope)
            dep = gather_of(plan, edge->to, edge->member);
        else if (edge->to->scope)
            dep = member->private->instances.items[plan->slot[edge->to->index]];
        if (dep)
            vr_node_needs(node, dep);
    }
}

void vr_node_take_row(struct vr_node *node, struct vr_row *row)
{
    struct vr_node_private *p = node->private;
    p->row = row;
    if (!row)
        return;
    row->mark = node;
    p->inputs = row->inputs ? json_loads(row->inputs, JSON_DECODE_ANY, NULL) : NULL;
    p->was = row->outputs ? json_loads(row->outputs, JSON_DECODE_ANY, NULL) : NULL;
    p->recorded = row->recorded ? vr_arena_strdup(p->plan->arena, row->recorded) : NULL;
    if (strcmp(row->address, node->address) != 0)
        node->moved_from = vr_arena_strdup(p->plan->arena, row->address);
    if (row->identity)
        node->identity = p->prior_id = vr_arena_strdup(p->plan->arena, row->identity);
    if (row->intent)
        p->intent = vr_arena_strdup(p->plan->arena, row->intent);
}

void vr_node_find_row(struct vr_node *node)
{
    struct vr_plan *plan = node->private->plan;
    struct vr_row *row = vr_state_find(plan->options.state, node->address);
    if (!row)
        row = vr_map_get(&plan->moved, node->address);
    if (row && !row->mark)
        vr_node_take_row(node, row);
}

struct vr_node *vr_plan_address(const struct vr_plan *plan, const char *address)
{
    struct vr_node *node = address ? vr_map_get(&plan->by_address, address) : NULL;
    if (!node && address && plan->decls) {
        struct vr_row *row = vr_state_find(plan->options.state, address);
        node = row ? row->mark : NULL; /* its row moved to another address */
    }
    return node;
}

bool vr_node_acts(const struct vr_node *node)
{
    return node->action != VR_ACTION_NOOP && node->action != VR_ACTION_UNKNOWN;
}

const char *vr_plan_format(struct vr_plan *plan, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = NULL;
    int length = vasprintf(&text, format, args);
    va_end(args);
    if (length < 0)
        abort();
    const char *kept = vr_arena_strdup(plan->arena, text);
    free(text);
    return kept;
}

void vr_plan_error_add(struct vr_plan *plan, const struct vr_node *node, struct vr_error *err)
{
    plan->errors = vr_realloc(plan->errors, (plan->error_count + 1) * sizeof(*plan->errors));
    struct vr_error *kept = &plan->errors[plan->error_count++];
    memset(kept, 0, sizeof(*kept));
    vr_error_move(kept, err);
    if (node && node->address && !strstr(kept->message, node->address)) { /* what a verb says */
        char *named = vr_format("%s: %s", node->address, kept->message);
        free(kept->message);
        kept->message = named;
    }
    if (node && !kept->file && node->file)
        vr_error_place(kept, node->file, node->line);
}

struct vr_job *vr_node_job(struct vr_crew *crew, struct vr_node *node, enum vr_verb verb,
                           void *owner)
{
    struct vr_node_private *p = node->private;
    struct vr_job *job = vr_job_new(crew, node->kind, verb, owner);
    struct vr_step *step = &job->step;
    const struct vr_decl *decl = node->decl ? node->decl : p->was_decl;
    if (decl && decl->timeouts[verb] > 0)
        step->timeout = decl->timeouts[verb];
    step->address = node->address;
    step->name = node->decl ? node->decl->name : node->address;
    step->file = node->file;
    step->line = node->line;
    step->fields = p->fields ? json_incref(p->fields) : json_object();
    if (vr_has_unknown(step->fields))
        step->unknown = vr_unknown_paths(step->fields);
    if (p->row) {
        step->prior = json_object();
        if (p->prior_id)
            json_object_set_new(step->prior, "id", json_string(p->prior_id));
        if (p->inputs)
            json_object_set(step->prior, "fields", p->inputs);
        if (p->was)
            json_object_set(step->prior, "outputs", p->was);
    }
    if (p->recorded)
        step->recorded = json_loads(p->recorded, JSON_DECODE_ANY, NULL);
    step->identity = node->identity;
    step->etag = p->etag;
    step->gone = p->gone;
    step->secrets = !p->digests;
    return job;
}

/* The plan. */

static void refuse_record(void *payload, struct vr_job *job, json_t *note, vr_step_recorded done,
                          void *done_payload)
{
    struct vr_plan *plan = payload;
    json_decref(note);
    (void)job;
    if (!done)
        return;
    struct vr_refusal *refusal = vr_alloc(sizeof(*refusal));
    *refusal = (struct vr_refusal){done, done_payload, plan->refusals};
    plan->refusals = refusal;
    plan->options.host->notify(plan->options.host->payload);
}

static void show_progress(void *payload, struct vr_job *job, const char *text, bool said)
{
    struct vr_plan *plan = payload;
    const struct vr_status *status = plan->options.status;
    if (status && status->progress)
        status->progress(status->payload, job->owner, VR_VERB_READ, text, said);
}

static const char **copy_list(struct vr_plan *plan, const char **list, size_t count)
{
    const char **copy = vr_arena_alloc(plan->arena, (count + 1) * sizeof(*copy));
    for (size_t i = 0; i < count; i++)
        copy[i] = vr_arena_strdup(plan->arena, list[i]);
    return copy;
}

struct vr_plan *vr_plan_new(const struct vr_plan_options *options)
{
    struct vr_plan *plan = vr_alloc(sizeof(*plan));
    plan->options = *options;
    plan->arena = vr_arena_new();
    plan->decls = options->graph ? vr_graph_decls(options->graph) : NULL;
    plan->options.targets = copy_list(plan, options->targets, options->target_count);
    plan->options.excludes = copy_list(plan, options->excludes, options->exclude_count);
    plan->options.holds = copy_list(plan, options->holds, options->hold_count);
    plan->options.replace = copy_list(plan, options->replace, options->replace_count);
    plan->options.roll = options->roll ? vr_arena_strdup(plan->arena, options->roll) : NULL;
    plan->crew = vr_crew_new(options->runner, options->host, &options->limits,
                             (struct vr_crew_sink){refuse_record, show_progress, plan});
    return plan;
}

static void free_node(struct vr_node *node)
{
    struct vr_node_private *p = node->private;
    json_t *owned[] = {p->fields,       p->triggers,    p->inputs,      p->was,
                       p->observed,     p->outputs,     p->own_changes, p->step_changes,
                       p->seen_members, p->early_fields};
    for (size_t i = 0; i < sizeof(owned) / sizeof(*owned); i++)
        json_decref(owned[i]);
    if (p->early_job)
        vr_job_free(p->early_job);
    vr_node_forget_values(node);
    for (size_t i = 0; i < node->change_count; i++) {
        json_decref(node->changes[i].before);
        json_decref(node->changes[i].after);
    }
    vr_error_clear(&node->error);
}

static void answer_refusals(struct vr_plan *plan, bool call)
{
    for (struct vr_refusal *refusal = plan->refusals, *next; refusal; refusal = next) {
        next = refusal->next;
        plan->refusals = next;
        if (call)
            refusal->done(refusal->payload, false);
        free(refusal);
        next = plan->refusals;
    }
}

void vr_plan_free(struct vr_plan *plan)
{
    if (!plan)
        return;
    answer_refusals(plan, false);
    for (size_t i = 0; i < plan->all.count; i++)
        free_node(plan->all.items[i]);
    for (size_t i = 0; i < plan->error_count; i++)
        vr_error_clear(&plan->errors[i]);
    free(plan->errors);
    free(plan->cancel_reason);
    vr_map_free(&plan->by_address);
    vr_map_free(&plan->moved);
    vr_map_free(&plan->renamed);
    vr_map_free(&plan->held);
    vr_crew_free(plan->crew);
    vr_arena_free(plan->arena);
    free(plan);
}

/* Rows before the walk. */

bool vr_plan_match(const char *pattern, const char *address)
{
    size_t length = strlen(pattern);
    if (length > 0 && pattern[length - 1] == '*')
        return strncmp(pattern, address, length - 1) == 0;
    return strcmp(pattern, address) == 0;
}

bool vr_plan_match_any(const char **patterns, size_t count, const char *address)
{
    for (size_t i = 0; i < count; i++)
        if (vr_plan_match(patterns[i], address))
            return true;
    return false;
}

/* "set.instances[id]" -> "set" */
static const char *collection_of(struct vr_plan *plan, const struct vr_row *row)
{
    size_t length = strlen(row->address), id = strlen(row->member);
    if (length < id + 3)
        return NULL;
    char *text = vr_arena_strdup(plan->arena, row->address);
    text[length - id - 2] = '\0';
    char *dot = strrchr(text, '.');
    if (!dot)
        return NULL;
    *dot = '\0';
    return text;
}

static void hold_member(struct vr_plan *plan, struct vr_row *row)
{
    const char *collection = collection_of(plan, row);
    if (!collection)
        return;
    struct vr_held *held = vr_arena_alloc(plan->arena, sizeof(*held));
    held->row = row;
    held->next = vr_map_get(&plan->held, collection);
    vr_map_set(&plan->held, collection, held);
}

/* What moves with a declaration: the members of a collection and their instances, too. */
static const char *moved_address(struct vr_plan *plan, const char *address)
{
    const char *to = vr_decls_moved_to(plan->decls, address);
    if (to)
        return vr_arena_strdup(plan->arena, to);
    const char *bracket = strchr(address, '['), *dot = bracket;
    while (dot && dot > address && *dot != '.')
        dot--;
    if (!dot || dot == address)
        return NULL;
    char *base = vr_strndup(address, (size_t)(dot - address));
    to = vr_decls_moved_to(plan->decls, base);
    const char *full = to ? vr_plan_format(plan, "%s%s", to, dot) : NULL;
    free(base);
    return full;
}

static void index_row(struct vr_plan *plan, struct vr_row *row)
{
    row->mark = NULL;
    if (row->member)
        hold_member(plan, row);
    if (!plan->decls || plan->options.destroy)
        return;
    const char *to = moved_address(plan, row->address);
    if (to && !vr_state_find(plan->options.state, to)) {
        vr_map_set(&plan->moved, to, row);
    } else if (row->identity && !row->member && !strchr(row->address, ']') &&
               !vr_decls_find(plan->decls, row->address) &&
               !vr_decls_is_removed(plan->decls, row->address)) {
        vr_map_set(&plan->renamed, vr_plan_format(plan, "%s %s", row->kind, row->identity), row);
    }
}

static void index_rows(struct vr_plan *plan)
{
    size_t slots = vr_state_slots(plan->options.state);
    for (size_t i = 0; i < slots; i++) {
        struct vr_row *row = vr_state_at(plan->options.state, i);
        if (row)
            index_row(plan, row);
    }
}

/* Targets and excludes: by declaration, along the edges. */

static int target_match(const struct vr_plan *plan, const char *address)
{
    const struct vr_plan_options *o = &plan->options;
    if (vr_plan_match_any(o->targets, o->target_count, address))
        return 1;
    for (size_t i = 0; i < o->target_count; i++) {
        const char *inner = strstr(o->targets[i], "]/");
        if (inner && vr_plan_match(inner + 2, address))
            return 2;
    }
    return 0;
}

bool vr_plan_held(const struct vr_plan *plan, const char *address)
{
    return vr_plan_match_any(plan->options.holds, plan->options.hold_count, address);
}

void vr_node_leave_out(struct vr_node *node, bool out)
{
    struct vr_plan *plan = node->private->plan;
    plan->left_out += out;
    node->private->left_out = out || vr_plan_held(plan, node->address);
}

static void select_nodes(struct vr_plan *plan)
{
    const struct vr_plan_options *o = &plan->options;
    size_t count = vr_decls_count(plan->decls);
    plan->selected = vr_arena_alloc(plan->arena, count + 1);
    for (size_t i = 0; i < count; i++)
        plan->selected[i] =
            o->target_count ? target_match(plan, vr_decls_at(plan->decls, i)->address) : 1;
    for (size_t i = count; o->target_count && i-- > 0;) { /* who needs before what is needed */
        const struct vr_decl *decl = vr_graph_at(o->graph, i);
        for (size_t e = 0; plan->selected[decl->index] && e < vr_graph_edge_count(o->graph, decl);
             e++) {
            size_t to = vr_graph_edge(o->graph, decl, e)->to->index;
            if (plan->selected[to] == 0 || plan->selected[decl->index] == 1)
                plan->selected[to] =
                    plan->selected[decl->index] == 2 && vr_decls_at(plan->decls, to)->scope ? 2 : 1;
        }
    }
    for (size_t i = 0; (o->exclude_count || o->hold_count) && i < count; i++) {
        const struct vr_decl *decl = vr_graph_at(o->graph, i);
        bool out = vr_plan_match_any(o->excludes, o->exclude_count, decl->address) ||
                   (vr_plan_held(plan, decl->address) && !vr_state_find(o->state, decl->address));
        for (size_t e = 0; !out && e < vr_graph_edge_count(o->graph, decl); e++)
            out = plan->selected[vr_graph_edge(o->graph, decl, e)->to->index] == 0 &&
                  plan->selected[decl->index];
        if (out)
            plan->selected[decl->index] = 0;
    }
}

static void need_secrets(void *payload, const struct vr_need *need)
{
    struct vr_plan *plan = payload;
    bool part = need->expr->type == VR_EXPR_REF && json_array_size(need->expr->path) > 0;
    if (need->decl && (!part || need->expr->tainted))
        plan->secrets[need->decl->index] = true;
}

static bool has_secret_outputs(const struct vr_kind *kind)
{
    for (size_t i = 0; i < kind->output_count; i++)
        if (kind->outputs[i].flags & VR_OUTPUT_SECRET)
            return true;
    return false;
}

/* Those that the text names after mark. */
static void need_named(struct vr_plan *plan, const char *text, const char *mark)
{
    for (const char *at = strstr(text, mark); at; at = strstr(at, mark)) {
        at += strlen(mark);
        char *address = vr_strndup(at, strcspn(at, "\""));
        const struct vr_decl *decl = vr_decls_find(plan->decls, address);
        if (decl)
            plan->secrets[decl->index] = true;
        free(address);
    }
}

/* What was made with secrets and may be changed or taken away by this plan. */
static void need_recorded(struct vr_plan *plan, const struct vr_row *row)
{
    const char *bracket = strstr(row->address, "]/");
    const struct vr_decl *decl = vr_decls_find(plan->decls, bracket ? bracket + 2 : row->address);
    if (!row->inputs || (decl && !plan->selected[decl->index]))
        return;
    need_named(plan, row->inputs, "\"$ref\":\"");
    need_named(plan, row->inputs, "\"$from\":[\"");
}

/* Whose secret outputs have a use: by the recipe, or by what was made with them and may go. */
static void find_secrets(struct vr_plan *plan)
{
    size_t count = vr_decls_count(plan->decls);
    plan->secrets = vr_arena_alloc(plan->arena, (count + 1) * sizeof(*plan->secrets));
    for (size_t i = 0; i < count; i++) {
        const struct vr_decl *decl = vr_decls_at(plan->decls, i);
        for (size_t f = 0; plan->selected[i] && f < decl->field_count; f++)
            vr_expr_refs(decl->fields[f].expr, need_secrets, plan);
        for (size_t t = 0; plan->selected[i] && t < decl->trigger_count; t++)
            vr_expr_refs(decl->triggers[t], need_secrets, plan);
    }
    for (size_t i = 0; i < vr_decls_output_count(plan->decls); i++)
        vr_expr_refs(vr_decls_output_at(plan->decls, i)->expr, need_secrets, plan);
    const struct vr_state *state = plan->options.state;
    for (size_t i = 0; i < vr_state_slots(state); i++) {
        const struct vr_row *row = vr_state_at(state, i);
        if (row)
            need_recorded(plan, row);
    }
    for (size_t i = 0; i < count; i++) {
        const struct vr_decl *decl = vr_decls_at(plan->decls, i);
        plan->secrets[i] = plan->secrets[i] || !has_secret_outputs(decl->kind) ||
                           !vr_state_find(state, decl->address); /* new, or by another name there */
    }
}

/* Nodes for what is declared. */

static void add_template(struct vr_plan *plan, struct vr_decl *decl)
{
    struct vr_templates *over = &plan->templates[decl->scope->collection->index];
    over->items = vr_arena_grow(plan->arena, over->items, over->count, sizeof(*over->items));
    plan->slot[decl->index] = over->count;
    over->items[over->count++] = decl;
    if (!plan->options.destroy)
        plan->by_decl[decl->index] = new_gather(plan, decl);
}

static void add_decl(struct vr_plan *plan, struct vr_decl *decl)
{
    if (decl->scope)
        add_template(plan, decl);
    if (decl->scope || plan->options.destroy)
        return;
    struct vr_node *node = vr_node_new(plan, VR_NODE_DECL, decl->address, decl->kind);
    node->decl = decl;
    node->file = decl->file;
    node->line = decl->line;
    node->private->order = decl->index;
    vr_node_leave_out(node, plan->selected[decl->index] == 0);
    node->private->digests = !plan->secrets[decl->index];
    plan->by_decl[decl->index] = node;
    vr_node_find_row(node);
}

static void add_declared(struct vr_plan *plan)
{
    size_t count = vr_decls_count(plan->decls);
    plan->by_decl = vr_arena_alloc(plan->arena, (count + 1) * sizeof(*plan->by_decl));
    plan->slot = vr_arena_alloc(plan->arena, (count + 1) * sizeof(*plan->slot));
    plan->picks = vr_arena_alloc(plan->arena, (count + 1) * sizeof(*plan->picks));
    plan->templates = vr_arena_alloc(plan->arena, (count + 1) * sizeof(*plan->templates));
    plan->current = vr_arena_alloc(plan->arena, (vr_decls_scope_count(plan->decls) + 1) *
                                                    sizeof(*plan->current));
    select_nodes(plan);
    find_secrets(plan);
    for (size_t i = 0; i < count; i++)
        add_decl(plan, vr_graph_at(plan->options.graph, i));
    for (size_t i = 0; i < count && !plan->options.destroy; i++) {
        struct vr_node *node = plan->by_decl[vr_graph_at(plan->options.graph, i)->index];
        if (node->private->type == VR_NODE_DECL) {
            vr_node_edges(node, NULL);
            vr_node_enqueue(node);
        }
    }
    for (size_t i = 0; i < plan->all.count && !plan->options.destroy; i++)
        vr_early_try(plan->all.items[i]);
}

/* The turn. */

static void totals(struct vr_plan *plan)
{
    const struct vr_status *status = plan->options.status;
    if (status && status->totals)
        status->totals(status->payload, plan->reads_done, vr_crew_running(plan->crew),
                       plan->reads_total);
}

static void start_reads(struct vr_plan *plan)
{
    struct vr_node *node;
    while (!plan->cancel_reason && (node = vr_crew_take(plan->crew))) {
        if (node->private->early == VR_EARLY_WAITING && node->private->planned) {
            node->private->early = VR_EARLY_NONE; /* nobody wants to know any more */
            vr_crew_leave(plan->crew, node->kind);
            plan->reads_done++;
            continue;
        }
        struct vr_job *job = vr_node_job(plan->crew, node, VR_VERB_READ, node);
        if (node->private->early == VR_EARLY_WAITING) {
            node->private->early = VR_EARLY_RUNNING;
            json_decref(job->step.fields);
            job->step.fields = json_incref(node->private->early_fields);
        }
        job->step.dry = true;
        const struct vr_status *status = plan->options.status;
        if (status && status->started)
            status->started(status->payload, node, VR_VERB_READ);
        vr_job_start(job);
        totals(plan);
    }
}

static void finish_reads(struct vr_plan *plan)
{
    struct vr_job *job;
    while ((job = vr_crew_finished(plan->crew))) {
        struct vr_node *node = job->owner;
        const struct vr_status *status = plan->options.status;
        double seconds = plan->options.host->now(plan->options.host->payload) - job->started;
        plan->reads_done++;
        vr_crew_leave(plan->crew, node->kind);
        if (job->error.message && status && status->failed)
            status->failed(status->payload, node, VR_VERB_READ, &job->error);
        else if (!job->error.message && status && status->done)
            status->done(status->payload, node, VR_VERB_READ, seconds);
        if (!vr_early_ended(node, job)) {
            if (node->private->type == VR_NODE_GONE)
                vr_gone_was_read(node, job);
            else
                vr_node_was_read(node, job);
            vr_job_free(job);
        }
        totals(plan);
    }
}

static void visit_ready(struct vr_plan *plan)
{
    struct vr_node *node;
    while (!plan->cancel_reason && (node = plan->ready_head)) {
        plan->ready_head = node->private->ready;
        if (!plan->ready_head)
            plan->ready_tail = NULL;
        node->private->ready = NULL;
        if (node->private->type == VR_NODE_GONE)
            vr_gone_visit(node);
        else
            vr_node_visit(node);
    }
}

/* Rows remember dependencies of different times, which may go round in a circle: begin anywhere
 * then. */
static void break_circle(struct vr_plan *plan)
{
    for (size_t i = 0; i < plan->all.count; i++) {
        struct vr_node *node = plan->all.items[i];
        if (!node->private->planned && node->private->waits > 0) {
            assert(node->private->type == VR_NODE_GONE);
            node->private->waits = 0;
            vr_node_enqueue(node);
            return;
        }
    }
}

static void finish(struct vr_plan *plan)
{
    if (plan->cancel_reason) {
        struct vr_error err = {0};
        vr_error_set(&err, "cancelled", "the plan was cancelled: %s", plan->cancel_reason);
        vr_plan_error_add(plan, NULL, &err);
    }
    vr_gone_settle(plan);
    vr_plan_sort(plan);
    plan->finished = true;
    plan->phase = PHASE_DONE;
    plan->done(plan->payload);
}

void vr_plan_turn(struct vr_plan *plan)
{
    if (!plan->started || plan->finished)
        return;
    answer_refusals(plan, true);
    for (;;) {
        finish_reads(plan);
        visit_ready(plan);
        start_reads(plan);
        if (vr_crew_running(plan->crew) > 0)
            return;
        if (plan->ready_head && !plan->cancel_reason)
            continue;
        if (vr_crew_has_finished(plan->crew))
            continue; /* a runner may end steps inside of start() */
        if (plan->cancel_reason) {
            finish(plan);
            return;
        }
        if (plan->left > 0) {
            assert(plan->phase == PHASE_GONE);
            break_circle(plan);
        } else if (plan->phase == PHASE_DECLARED) {
            plan->phase = PHASE_GONE;
            vr_gone_add(plan);
        } else {
            finish(plan);
            return;
        }
    }
}

void vr_plan_start(struct vr_plan *plan, vr_plan_done done, void *payload)
{
    assert(!plan->started);
    plan->started = true;
    plan->done = done;
    plan->payload = payload;
    plan->serial = vr_state_serial(plan->options.state);
    index_rows(plan);
    if (plan->decls)
        add_declared(plan);
    plan->options.host->notify(plan->options.host->payload);
}

void vr_plan_cancel(struct vr_plan *plan, const char *reason)
{
    if (plan->finished || plan->cancel_reason)
        return;
    plan->cancel_reason = vr_strdup(reason ? reason : "cancelled");
    vr_crew_cancel(plan->crew, plan->cancel_reason);
    plan->options.host->notify(plan->options.host->payload);
}
