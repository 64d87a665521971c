/* What a node is worth to others: its fields and outputs in one object, marked with {"$ref":
 * address}, so that a whole reference can be told from a plain object wherever it ends up. A value
 * holds the values of what its fields refer to, but only a few levels deep: below that stands
 * {"$ref", "id"}, so that a chain of 100,000 nodes is no object of that depth. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "engine/digest.h"
#include "engine/expr.h"
#include "engine/node.h"

static bool is_ref(const json_t *value)
{
    return json_is_object(value) && json_is_string(json_object_get(value, "$ref"));
}

static json_t *share(const json_t *value)
{
    return json_incref((json_t *)value);
}

/* Rebuilds a value with each object that `change` answers for replaced. Shares what stays. change
 * returns NULL to go on inside of the value. */
typedef json_t *(*change_fn)(void *payload, const json_t *object);

static json_t *rebuild(const json_t *value, change_fn change, void *payload)
{
    json_t *made = NULL;
    if (json_is_object(value)) {
        if ((made = change(payload, value)))
            return made;
        const char *key;
        json_t *item;
        json_object_foreach((json_t *)value, key, item)
        {
            json_t *now = rebuild(item, change, payload);
            if (now != item && !made)
                made = json_copy((json_t *)value);
            if (now != item)
                json_object_set(made, key, now);
            json_decref(now);
        }
    } else if (json_is_array(value)) {
        size_t index;
        json_t *item;
        json_array_foreach(value, index, item)
        {
            json_t *now = rebuild(item, change, payload);
            if (now != item && !made)
                made = json_copy((json_t *)value);
            if (now != item)
                json_array_set(made, index, now);
            json_decref(now);
        }
    }
    return made ? made : share(value);
}

static json_t *bare_ref(const char *address, const json_t *id)
{
    json_t *ref = json_pack("{s:s}", "$ref", address);
    if (json_is_string(id))
        json_object_set(ref, "id", (json_t *)id);
    return ref;
}

static json_t *compact_ref(void *payload, const json_t *object)
{
    (void)payload;
    if (!is_ref(object))
        return NULL;
    return bare_ref(json_string_value(json_object_get(object, "$ref")),
                    json_object_get(object, "id"));
}

json_t *vr_value_compact(const json_t *value)
{
    return rebuild(value, compact_ref, NULL);
}

json_t *vr_value_redact(const struct vr_plan *plan, const json_t *value)
{
    json_t *compact = vr_value_compact(value);
    if (!vr_has_secret(compact))
        return compact;
    json_t *redacted = vr_state_redact(plan->options.state, compact);
    json_decref(compact);
    return redacted;
}

/* What the state knows of a secret is its digest: as a value it is not known. */
static json_t *undigest(void *payload, const json_t *object)
{
    const struct vr_node *node = payload;
    return vr_is_digest(object) ? vr_unknown("%s: a secret that cannot be read now", node->address)
                                : NULL;
}

struct trimming {
    struct vr_plan *plan;
    int depth;
};

static json_t *trim_ref(void *payload, const json_t *object)
{
    struct trimming *t = payload;
    if (!is_ref(object))
        return NULL;
    const char *address = json_string_value(json_object_get(object, "$ref"));
    struct vr_node *node = t->depth > 0 ? vr_plan_address(t->plan, address) : NULL;
    return node ? vr_node_value(node, t->depth) : bare_ref(address, json_object_get(object, "id"));
}

const char *vr_node_id(const struct vr_node *node)
{
    const json_t *id = json_object_get(node->private->outputs, "id");
    return json_is_string(id) ? json_string_value(id) : node->identity;
}

static void set_new_keys(json_t *object, json_t *from)
{
    const char *key;
    json_t *item;
    json_object_foreach(from, key, item)
    {
        if (!json_object_get(object, key))
            json_object_set(object, key, item);
    }
}

static json_t *make_value(struct vr_node *node, int depth)
{
    struct vr_node_private *p = node->private;
    const char *id = vr_node_id(node);
    json_t *value = json_pack("{s:s}", "$ref", node->address);
    if (depth == 0) {
        if (id)
            json_object_set_new(value, "id", json_string(id));
        return value;
    }
    json_t *fields = p->fields ? share(p->fields) : NULL;
    if (p->refs && fields) {
        struct trimming t = {p->plan, depth - 1};
        json_decref(fields);
        fields = rebuild(p->fields, trim_ref, &t);
    }
    if (p->outputs) {
        json_t *outputs = p->digests ? vr_value_undigest(node, p->outputs) : share(p->outputs);
        json_object_update(value, outputs);
        json_decref(outputs);
    }
    set_new_keys(value, fields);
    if (p->observed)
        set_new_keys(value, p->observed);
    for (size_t i = 0; p->partial && i < node->kind->output_count; i++) {
        const char *name = node->kind->outputs[i].path;
        if (!json_object_get(value, name))
            json_object_set_new(value, name, vr_unknown("%s.%s", node->address, name));
    }
    if (id && !json_object_get(value, "id"))
        json_object_set_new(value, "id", json_string(id));
    json_decref(fields);
    return value;
}

json_t *vr_node_value(struct vr_node *node, int depth)
{
    json_t **cached = &node->private->value[depth];
    if (!*cached)
        *cached = make_value(node, depth);
    return share(*cached);
}

void vr_node_forget_values(struct vr_node *node)
{
    for (int i = 0; i <= VR_DEPTH; i++) {
        json_decref(node->private->value[i]);
        node->private->value[i] = NULL;
    }
}

/* Lookup for expressions. */

static struct vr_node *declared(struct vr_plan *plan, const struct vr_decl *decl)
{
    if (!decl->scope)
        return plan->by_decl[decl->index];
    struct vr_node *member = plan->current[decl->scope->index];
    size_t slot = plan->slot[decl->index];
    return member && slot < member->private->instances.count
               ? member->private->instances.items[slot]
               : NULL;
}

/* What the state says of a node that is not planned yet. */
static json_t *remembered(struct vr_node *node)
{
    struct vr_node_private *p = node->private;
    if (!p->was || !p->inputs)
        return NULL;
    json_t *inputs = vr_value_live(node, p->inputs), *outputs = vr_value_undigest(node, p->was);
    json_t *fields = vr_value_undigest(node, inputs),
           *value = json_pack("{s:s}", "$ref", node->address);
    json_object_update(value, outputs);
    set_new_keys(value, fields);
    if (p->prior_id && !json_object_get(value, "id"))
        json_object_set_new(value, "id", json_string(p->prior_id));
    json_decref(inputs);
    json_decref(outputs);
    json_decref(fields);
    return value;
}

static json_t *value_for(struct vr_node *node, bool *partial)
{
    if (node && !node->private->planned && node->private->plan->early)
        return remembered(node);
    if (!node || !node->private->planned || node->private->blocked)
        return NULL;
    *partial = node->private->partial;
    return vr_node_value(node, VR_DEPTH);
}

static json_t *look_up_ref(void *payload, const struct vr_decl *decl, bool whole, bool *partial)
{
    (void)whole;
    return value_for(declared(payload, decl), partial);
}

static json_t *look_up_item(void *payload, const struct vr_scope *scope, bool whole, bool *partial)
{
    struct vr_plan *plan = payload;
    (void)whole;
    return value_for(plan->current[scope->index], partial);
}

static size_t look_up_members(void *payload, const struct vr_scope *scope)
{
    struct vr_plan *plan = payload;
    struct vr_node *collection = plan->by_decl[scope->collection->index];
    if (!collection || !collection->private->planned || collection->private->blocked)
        return SIZE_MAX;
    size_t count = collection->private->members.count;
    size_t want = 0; /* where it could not be asked, there may be more than are known */
    bool open = count > 0 ? collection->private->members.items[count - 1]->private->tentative
                          : collection->private->partial || collection->action == VR_ACTION_UNKNOWN;
    return open || (vr_collection_wants(collection, count, &want) && want > count) ? SIZE_MAX
                                                                                   : count;
}

static void look_up_enter(void *payload, const struct vr_scope *scope, size_t index)
{
    struct vr_plan *plan = payload;
    struct vr_node *collection = plan->by_decl[scope->collection->index];
    if (index == SIZE_MAX)
        plan->current[scope->index] = scope == plan->standing_scope ? plan->standing : NULL;
    else
        plan->current[scope->index] = collection->private->members.items[index];
}

struct vr_lookup vr_plan_lookup(struct vr_plan *plan)
{
    return (struct vr_lookup){look_up_ref, look_up_item, look_up_members, look_up_enter, plan};
}

/* Evaluation. */

json_t *vr_value_wrap(const json_t *value)
{
    if (json_is_string(value))
        return json_pack("{s:O}", "$secret", value);
    if (json_is_array(value)) {
        json_t *made = json_array();
        size_t index;
        json_t *item;
        json_array_foreach(value, index, item) json_array_append_new(made, vr_value_wrap(item));
        return made;
    }
    if (!json_is_object(value) || vr_is_secret(value) || vr_is_digest(value) ||
        vr_is_unknown(value) || is_ref(value))
        return share(value);
    json_t *made = json_object();
    const char *key;
    json_t *item;
    json_object_foreach((json_t *)value, key, item)
        json_object_set_new(made, key, vr_value_wrap(item));
    return made;
}

static json_t *taint_path(const json_t *value, const char *path)
{
    if (json_is_array(value)) {
        json_t *made = json_array();
        size_t index;
        json_t *item;
        json_array_foreach(value, index, item) json_array_append_new(made, taint_path(item, path));
        return made;
    }
    if (*path == '\0')
        return vr_value_wrap(value);
    if (!json_is_object(value) || vr_is_secret(value) || vr_is_unknown(value) || is_ref(value))
        return share(value);
    size_t length = strcspn(path, ".");
    char *key = vr_strndup(path, length);
    json_t *item = json_object_get(value, key), *made = share(value);
    if (item) {
        json_decref(made);
        made = json_copy((json_t *)value);
        json_object_set_new(made, key, taint_path(item, path + length + (path[length] == '.')));
    }
    free(key);
    return made;
}

json_t *vr_value_taint(json_t *value, const struct vr_field *fields, size_t count, unsigned flag)
{
    for (size_t i = 0; value && i < count; i++) {
        if (!(fields[i].flags & flag))
            continue;
        json_t *tainted = taint_path(value, fields[i].path);
        json_decref(value);
        value = tainted;
    }
    return value;
}

void vr_value_scan(const json_t *value, bool *refs, bool *open)
{
    const char *key;
    size_t index;
    json_t *item;
    if (json_is_object(value)) {
        if (is_ref(value))
            *refs = true;
        else if (vr_is_unknown(value))
            *open = true;
        else
            json_object_foreach((json_t *)value, key, item) vr_value_scan(item, refs, open);
    } else if (json_is_array(value)) {
        json_array_foreach(value, index, item) vr_value_scan(item, refs, open);
    }
}

bool vr_value_open(const json_t *value)
{
    bool refs = false, open = false;
    vr_value_scan(value, &refs, &open);
    return open;
}

static json_t *evaluate_fields(const struct vr_decl *decl, const struct vr_lookup *lookup,
                               struct vr_error *err)
{
    json_t *fields = json_object();
    for (size_t i = 0; i < decl->field_count; i++) {
        const struct vr_decl_field *field = &decl->fields[i];
        json_t *value = vr_expr_eval(field->expr, lookup, err);
        if (!value) {
            if (err && err->message && !err->file)
                vr_error_place(err, field->file, field->line);
            json_decref(fields);
            return NULL;
        }
        if (json_is_null(value))
            json_decref(value);
        else
            json_object_set_new(fields, field->name, value);
    }
    return vr_value_taint(fields, decl->kind->fields, decl->kind->field_count, VR_FIELD_SECRET);
}

static json_t *evaluate_triggers(const struct vr_decl *decl, const struct vr_lookup *lookup,
                                 struct vr_error *err)
{
    json_t *triggers = json_array();
    for (size_t i = 0; i < decl->trigger_count; i++) {
        json_t *value = vr_expr_eval(decl->triggers[i], lookup, err);
        if (!value) {
            json_decref(triggers);
            return NULL;
        }
        json_array_append_new(triggers, value);
    }
    return triggers;
}

static void stand(struct vr_plan *plan, struct vr_scope *scope, struct vr_node *member)
{
    plan->standing_scope = scope;
    plan->standing = member;
    if (scope)
        plan->current[scope->index] = member;
}

json_t *vr_node_desired(struct vr_node *node)
{
    struct vr_plan *plan = node->private->plan;
    struct vr_lookup lookup = vr_plan_lookup(plan);
    struct vr_error err = {0};
    stand(plan, node->decl->scope, node->parent);
    json_t *fields = evaluate_fields(node->decl, &lookup, &err);
    stand(plan, node->decl->scope, NULL);
    stand(plan, NULL, NULL);
    vr_error_clear(&err);
    return fields;
}

bool vr_node_evaluate(struct vr_node *node, struct vr_error *err)
{
    struct vr_node_private *p = node->private;
    struct vr_scope *scope = node->decl->scope;
    struct vr_lookup lookup = vr_plan_lookup(p->plan);
    stand(p->plan, scope, node->parent);
    json_t *fields = evaluate_fields(node->decl, &lookup, err);
    json_t *triggers =
        fields && node->decl->trigger_count ? evaluate_triggers(node->decl, &lookup, err) : NULL;
    if (scope)
        stand(p->plan, scope, NULL);
    stand(p->plan, NULL, NULL);
    if (!fields || (node->decl->trigger_count && !triggers)) {
        json_decref(fields);
        if (err && err->message && !err->file)
            vr_error_place(err, node->file, node->line);
        return false;
    }
    json_decref(p->fields);
    json_decref(p->triggers);
    p->fields = fields;
    p->triggers = triggers;
    p->refs = p->open = false;
    vr_value_scan(fields, &p->refs, &p->open);
    return true;
}

bool vr_value_fills(const json_t *planned, const json_t *actual)
{
    if (planned == actual || vr_is_unknown(planned))
        return true;
    if (is_ref(planned)) {
        const json_t *was = json_object_get(planned, "id"), *now = json_object_get(actual, "id");
        return is_ref(actual) && (!json_is_string(was) || json_equal(was, now));
    }
    if (json_is_object(planned) && json_is_object(actual)) {
        const char *key;
        json_t *item;
        json_object_foreach((json_t *)planned, key, item)
        {
            json_t *now = json_object_get(actual, key);
            if (!(now ? vr_value_fills(item, now) : vr_is_unknown(item)))
                return false;
        }
        return true;
    }
    if (json_is_array(planned) && json_is_array(actual) &&
        json_array_size(planned) == json_array_size(actual)) {
        for (size_t i = 0; i < json_array_size(planned); i++)
            if (!vr_value_fills(json_array_get(planned, i), json_array_get(actual, i)))
                return false;
        return true;
    }
    return json_equal(planned, actual);
}

static void visit_refs(struct vr_plan *plan, const json_t *value, const char *field,
                       vr_value_visit visit, void *payload)
{
    const char *key;
    size_t index;
    json_t *item;
    if (is_ref(value)) {
        struct vr_node *node =
            vr_plan_address(plan, json_string_value(json_object_get(value, "$ref")));
        if (node)
            visit(payload, node, field);
    } else if (json_is_object(value)) {
        json_object_foreach((json_t *)value, key, item)
            visit_refs(plan, item, field ? field : key, visit, payload);
    } else if (json_is_array(value)) {
        json_array_foreach(value, index, item) visit_refs(plan, item, field, visit, payload);
    }
}

void vr_value_refs(struct vr_plan *plan, const json_t *fields, vr_value_visit visit, void *payload)
{
    visit_refs(plan, fields, NULL, visit, payload);
}

/* What a row says, and back. */

/* A secret that came out of another node's output says where from, so that it can be had again
 * without the recipe. */
static void note_source(const struct vr_node *node, const struct vr_expr *expr, json_t *redacted)
{
    if (expr->type == VR_EXPR_REF && json_array_size(expr->path) > 0 && vr_is_digest(redacted)) {
        struct vr_node *source = declared(node->private->plan, expr->decl);
        if (!source)
            return;
        json_t *from = json_pack("[s]", source->address);
        json_array_extend(from, expr->path);
        json_object_set_new(redacted, "$from", from);
    } else if (expr->type == VR_EXPR_OBJECT && json_is_object(redacted)) {
        for (size_t i = 0; i < expr->count; i++)
            note_source(node, expr->items[i], json_object_get(redacted, expr->keys[i]));
    } else if (expr->type == VR_EXPR_ARRAY && json_array_size(redacted) == expr->count) {
        for (size_t i = 0; i < expr->count; i++)
            note_source(node, expr->items[i], json_array_get(redacted, i));
    }
}

json_t *vr_node_inputs(struct vr_node *node)
{
    struct vr_node_private *p = node->private;
    json_t *inputs = p->fields ? vr_value_redact(p->plan, p->fields) : json_object();
    if (!node->decl)
        return inputs;
    bool secrets = p->fields && vr_has_secret(p->fields);
    if (inputs == p->fields) {
        json_decref(inputs);
        inputs = json_copy(p->fields);
    }
    if (secrets) {
        stand(p->plan, node->decl->scope, node->parent);
        for (size_t i = 0; i < node->decl->field_count; i++) {
            json_t *value = json_object_get(inputs, node->decl->fields[i].name);
            if (value)
                note_source(node, node->decl->fields[i].expr, value);
        }
        stand(p->plan, node->decl->scope, NULL);
        stand(p->plan, NULL, NULL);
    }
    if (p->triggers)
        json_object_set_new(inputs, "$triggers", vr_value_redact(p->plan, p->triggers));
    if (node->decl->protect)
        json_object_set_new(inputs, "$protect", json_true());
    if (p->counts && node->kind->count_field &&
        json_is_object(json_object_get(p->fields, node->kind->count_field)))
        json_object_set_new(inputs, "$roll", json_integer((json_int_t)p->goal));
    return inputs;
}

static void add_address(json_t *list, struct vr_node *dep)
{
    if (dep->private->type != VR_NODE_GATHER) {
        json_array_append_new(list, json_string(dep->address));
        return;
    }
    for (size_t i = 0; i < dep->private->deps.count; i++)
        add_address(list, dep->private->deps.items[i]);
}

json_t *vr_node_deps(struct vr_node *node)
{
    json_t *list = json_array();
    for (size_t i = 0; i < node->private->deps.count; i++)
        add_address(list, node->private->deps.items[i]);
    return list;
}

static json_t *step_into(json_t *value, const json_t *path)
{
    for (size_t i = 1; value && i < json_array_size(path); i++) {
        const json_t *step = json_array_get(path, i);
        value = json_is_string(step) ? json_object_get(value, json_string_value(step))
                                     : json_array_get(value, (size_t)json_integer_value(step));
    }
    return value;
}

static json_t *revive_ref(void *payload, const json_t *object)
{
    struct vr_node *node = payload;
    if (is_ref(object)) {
        struct vr_node *to = vr_plan_address(node->private->plan,
                                             json_string_value(json_object_get(object, "$ref")));
        return to && to->private->planned ? vr_node_value(to, VR_DEPTH) : share(object);
    }
    const json_t *from = json_object_get(object, "$from");
    if (!vr_is_digest(object))
        return NULL;
    struct vr_node *to =
        from ? vr_plan_address(node->private->plan, json_string_value(json_array_get(from, 0)))
             : NULL;
    json_t *whole = to && to->private->planned ? vr_node_value(to, VR_DEPTH) : NULL;
    json_t *value = step_into(whole, from);
    value = share(value && vr_is_secret(value) ? value : object);
    json_decref(whole);
    return value;
}

/* Secrets that the recipe still says: where the record has a digest and the recipe a secret of that
 * digest. */
static json_t *fill_secrets(struct vr_plan *plan, const json_t *recorded, const json_t *desired)
{
    const char *key;
    size_t index;
    json_t *item;
    if (vr_is_digest(recorded))
        return share(vr_is_secret(desired) && vr_value_same(plan, recorded, desired, false)
                         ? desired
                         : recorded);
    if (json_is_object(recorded) && json_is_object(desired) && !is_ref(recorded)) {
        json_t *made = json_object();
        json_object_foreach((json_t *)recorded, key, item)
            json_object_set_new(made, key, fill_secrets(plan, item, json_object_get(desired, key)));
        return made;
    }
    if (json_is_array(recorded) && json_is_array(desired)) {
        json_t *made = json_array();
        json_array_foreach(recorded, index, item)
            json_array_append_new(made, fill_secrets(plan, item, json_array_get(desired, index)));
        return made;
    }
    return share(recorded);
}

bool vr_value_hides(const json_t *value)
{
    const char *key;
    size_t index;
    json_t *item;
    if (vr_is_secret(value) || vr_is_digest(value))
        return true;
    if (json_is_object(value) && !is_ref(value)) {
        json_object_foreach((json_t *)value, key, item)
        {
            if (vr_value_hides(item))
                return true;
        }
    }
    json_array_foreach(value, index, item)
    {
        if (vr_value_hides(item))
            return true;
    }
    return false;
}

json_t *vr_value_with_secrets(struct vr_node *node, const struct vr_decl *decl, json_t *recorded)
{
    struct vr_plan *plan = node->private->plan;
    if (!decl || !vr_value_hides(recorded))
        return recorded;
    struct vr_lookup lookup = vr_plan_lookup(plan);
    struct vr_error err = {0};
    stand(plan, decl->scope, node->parent);
    json_t *desired = evaluate_fields(decl, &lookup, &err);
    stand(plan, decl->scope, NULL);
    stand(plan, NULL, NULL);
    vr_error_clear(&err);
    json_t *filled = desired ? fill_secrets(plan, recorded, desired) : share(recorded);
    json_decref(desired);
    json_decref(recorded);
    return filled;
}

json_t *vr_value_live(struct vr_node *node, const json_t *recorded)
{
    json_t *live = rebuild(recorded, revive_ref, node);
    if (json_object_get(live, "$triggers") || json_object_get(live, "$protect") ||
        json_object_get(live, "$roll")) {
        json_t *copy = json_copy(live);
        json_decref(live);
        json_object_del(copy, "$triggers");
        json_object_del(copy, "$protect");
        json_object_del(copy, "$roll");
        live = copy;
    }
    return live;
}

json_t *vr_value_undigest(struct vr_node *node, const json_t *recorded)
{
    return rebuild(recorded, undigest, node);
}
