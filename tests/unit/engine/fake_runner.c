#include "fake_runner.h"

#include <assert.h>
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "engine/expr.h"
#include "engine/node.h"

struct fake_step {
    struct vr_step *step;
    double ends;
    uint64_t order;
    bool noted; /* its note must be durable before the effect */
    bool cancelled;
    struct fake_step *next;
};

uint64_t fake_random(struct fake *fake, uint64_t below)
{
    fake->seed += 0x9e3779b97f4a7c15u; /* splitmix64 */
    uint64_t z = fake->seed;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return below ? z % below : z;
}

void fake_seeds(void (*live)(uint64_t seed), uint64_t otherwise)
{
    const char *only = getenv("VMRUN_SEED"), *many = getenv("VMRUN_SEEDS");
    uint64_t first = only ? strtoull(only, NULL, 10) : 1;
    uint64_t last = only ? first : many ? strtoull(many, NULL, 10) : otherwise;
    for (uint64_t seed = first; seed <= last; seed++)
        live(seed);
}

static void broke(struct fake *fake, const char *rule, const char *address)
{
    if (!fake->broken)
        fake->broken = vr_format("%s: %s", rule, address);
}

/* Things. */

struct fake_thing *fake_find(struct fake *fake, const char *address)
{
    return vr_map_get(&fake->by_address, address);
}

static struct fake_thing *find_id(struct fake *fake, const char *id)
{
    return id ? vr_map_get(&fake->by_id, id) : NULL;
}

static void free_thing(struct fake_thing *thing)
{
    free(thing->id);
    free(thing->address);
    free(thing->kind);
    free(thing->status);
    free(thing->stale);
    json_decref(thing->fields);
    json_decref(thing->outputs);
    json_decref(thing->members);
    free(thing);
}

static void insert_thing(struct fake *fake, struct fake_thing *thing)
{
    thing->next = fake->things;
    if (thing->next)
        thing->next->prev = thing;
    fake->things = thing;
    vr_map_set(&fake->by_id, thing->id, thing);
    vr_map_set(&fake->by_address, thing->address, thing);
}

static void destroy_thing(struct fake *fake, struct fake_thing *thing)
{
    if (thing->prev)
        thing->prev->next = thing->next;
    else
        fake->things = thing->next;
    if (thing->next)
        thing->next->prev = thing->prev;
    vr_map_remove(&fake->by_id, thing->id);
    if (fake_find(fake, thing->address) == thing)
        vr_map_remove(&fake->by_address, thing->address);
    free_thing(thing);
}

void fake_lose(struct fake *fake, const char *address)
{
    struct fake_thing *thing = fake_find(fake, address);
    ck_assert_msg(thing != NULL, "no %s to lose", address);
    destroy_thing(fake, thing);
}

size_t fake_count(const struct fake *fake)
{
    size_t count = 0;
    for (struct fake_thing *thing = fake->things; thing; thing = thing->next)
        count++;
    return count;
}

/* Fields as the world keeps them: whole references by id, secrets as texts. */
static json_t *plain(const json_t *value)
{
    const char *key;
    size_t index;
    json_t *item;
    if (vr_is_secret(value))
        return json_string(vr_secret_text(value));
    if (json_is_object(value) && json_object_get(value, "$ref"))
        return json_pack("{s:O?}", "id", json_object_get(value, "id"));
    if (json_is_object(value)) {
        json_t *made = json_object();
        json_object_foreach((json_t *)value, key, item) json_object_set_new(made, key, plain(item));
        return made;
    }
    if (json_is_array(value)) {
        json_t *made = json_array();
        json_array_foreach(value, index, item) json_array_append_new(made, plain(item));
        return made;
    }
    return json_deep_copy(value);
}

/* Rules. */

static bool refers_to(const json_t *value, const char *id)
{
    const char *key;
    size_t index;
    json_t *item;
    if (json_is_object(value)) {
        const char *own = json_string_value(json_object_get(value, "id"));
        if (own && strcmp(own, id) == 0)
            return true;
        json_object_foreach((json_t *)value, key, item)
        {
            if (refers_to(item, id))
                return true;
        }
    }
    if (json_is_array(value)) {
        json_array_foreach(value, index, item)
        {
            if (refers_to(item, id))
                return true;
        }
    }
    return false;
}

static void check_refs(struct fake *fake, const json_t *value, const char *address)
{
    const char *key;
    size_t index;
    json_t *item;
    if (vr_is_unknown(value)) {
        broke(fake, "an unknown value in an effect", address);
    } else if (json_is_object(value) && json_object_get(value, "$ref")) {
        const char *id = json_string_value(json_object_get(value, "id"));
        const char *to = json_string_value(json_object_get(value, "$ref"));
        bool member = strchr(to, '[') && to[strlen(to) - 1] == ']';
        if (!id || (!member && !find_id(fake, id)))
            broke(fake, "before its dependency", address);
    } else if (json_is_object(value)) {
        json_object_foreach((json_t *)value, key, item) check_refs(fake, item, address);
    } else if (json_is_array(value)) {
        json_array_foreach(value, index, item) check_refs(fake, item, address);
    }
}

/* What a declaration needs is there, and nothing is being done to it. */
static void check_needs(struct fake *fake, const struct vr_step *step)
{
    const struct vr_decl *decl = vr_decls_find(fake->text->decls, step->address);
    for (size_t i = 0; decl && !decl->scope && i < vr_graph_edge_count(fake->graph, decl); i++) {
        const struct vr_decl *to = vr_graph_edge(fake->graph, decl, i)->to;
        if (to->scope)
            continue;
        if (!fake_find(fake, to->address))
            broke(fake, "before what it needs", step->address);
        for (struct fake_step *entry = fake->steps; entry; entry = entry->next)
            if (strcmp(entry->step->address, to->address) == 0)
                broke(fake, "while what it needs is worked on", step->address);
    }
}

/* Nothing is done that the plan did not show, and with no other values. */
static void check_shown(struct fake *fake, const struct vr_step *step)
{
    static const unsigned allowed[] = {
        [VR_ACTION_CREATE] = 1u << VR_VERB_CREATE | 1u << VR_VERB_UPDATE | 1u << VR_VERB_ADD,
        [VR_ACTION_UPDATE] = 1u << VR_VERB_UPDATE | 1u << VR_VERB_ADD,
        [VR_ACTION_REPLACE] = 1u << VR_VERB_DELETE | 1u << VR_VERB_CREATE | 1u << VR_VERB_ADD,
        [VR_ACTION_DELETE] = 1u << VR_VERB_DELETE,
        [VR_ACTION_ADD] = 1u << VR_VERB_ADD,
        [VR_ACTION_REMOVE] = 1u << VR_VERB_REMOVE,
        [VR_ACTION_UNKNOWN] = 0,
    };
    const struct vr_node *node = vr_plan_find(fake->plan, step->address);
    bool rolls = node && node->private->roll && step->verb == VR_VERB_ADD;
    if (rolls && node->add == 0 && step->recorded)
        broke(fake, "a note of an earlier run", step->address);
    if (!node || !(rolls || allowed[node->action] & 1u << step->verb)) {
        broke(fake, "not in the plan", step->address);
        return;
    }
    for (size_t i = 0; step->verb == VR_VERB_CREATE && i < node->change_count; i++) {
        const struct vr_change *change = &node->changes[i];
        const json_t *field = json_object_get(step->fields, change->path);
        if (field && change->after && !vr_value_fills(change->after, field) &&
            !vr_value_same(fake->plan, change->after, field, false))
            broke(fake, "other than shown", step->address);
    }
}

static void check_start(struct fake *fake, const struct vr_step *step)
{
    if (step->verb == VR_VERB_READ)
        return;
    check_shown(fake, step);
    if (step->verb == VR_VERB_CREATE || step->verb == VR_VERB_UPDATE) {
        check_refs(fake, step->fields, step->address);
        check_needs(fake, step);
    }
    const struct vr_row *row = vr_state_find(fake->state, step->address);
    char *deposed = row && row->intent ? NULL : vr_format("%s#replaced", step->address);
    if (deposed)
        row = vr_state_find(fake->state, deposed);
    if (!row || !row->intent || strcmp(row->intent, vr_verb_name(step->verb)) != 0)
        broke(fake, "no intent", step->address);
    free(deposed);
}

/* Effects. */

static char *fake_identity(const struct vr_kind *kind, const json_t *fields)
{
    const char *name = json_string_value(json_object_get(fields, "name"));
    return name ? vr_format("/%s/%s", kind->name, name) : NULL;
}

static json_t *fake_predict(const struct vr_kind *kind, const json_t *fields)
{
    const struct fake *fake = kind->payload;
    char *id = fake_identity(kind, fields);
    json_t *known =
        id ? json_pack("{s:s,s:s}", "id", id, "etag", fake->predict_wrong ? "e0" : "e1") : NULL;
    free(id);
    return known;
}

/* What carries this address as a tag, but for the old one of a replacement. */
static struct fake_thing *find_tag(struct fake *fake, const char *address)
{
    struct fake_thing *thing = fake_find(fake, address);
    char *deposed = vr_format("%s#replaced", address);
    const struct vr_row *old = vr_state_find(fake->state, deposed);
    free(deposed);
    if (!thing || !old || !old->identity || strcmp(thing->id, old->identity) != 0)
        return thing;
    for (struct fake_thing *other = fake->things; other; other = other->next)
        if (other != thing && strcmp(other->address, address) == 0)
            return other;
    return NULL;
}

static struct fake_thing *target_of(struct fake *fake, const struct vr_step *step)
{
    return step->identity ? find_id(fake, step->identity) : find_tag(fake, step->address);
}

static void add_members(struct fake *fake, struct fake_thing *thing, size_t count, json_t *fresh)
{
    fake->added += count;
    for (size_t i = 0; i < count; i++) {
        json_t *member = json_object();
        size_t number = ++fake->next_id;
        char *id =
            vr_format("m%zu", fake->ids_again ? json_array_size(thing->members) + 1 : number);
        char *ip = vr_format("10.0.0.%zu", fake->next_id);
        json_object_set_new(member, "id", json_string(id));
        json_object_set_new(member, "ip", json_string(ip));
        json_t *size = json_object_get(thing->fields, "size");
        if (size)
            json_object_set(member, "size", size);
        json_array_append(thing->members, member);
        json_array_append_new(fresh, member);
        free(id);
        free(ip);
    }
}

static json_t *do_create(struct fake *fake, struct vr_step *step, struct vr_error *err)
{
    char *identity = fake_identity(step->kind, step->fields);
    char *deposed = vr_format("%s#replaced", step->address);
    /* the new one is made before the old one goes */
    bool first = vr_state_find(fake->state, deposed);
    bool twice = find_id(fake, identity) || (!identity && !first && fake_find(fake, step->address));
    free(deposed);
    if (!identity)
        identity = vr_format("id-%zu", ++fake->next_id);
    if (twice) {
        broke(fake, "created twice", step->address);
        vr_error_set(err, "conflict", "exists");
        free(identity);
        return NULL;
    }
    struct fake_thing *thing = vr_alloc(sizeof(*thing));
    thing->id = identity;
    thing->address = vr_strdup(step->address);
    thing->kind = vr_strdup(step->kind->name);
    thing->fields = plain(step->fields);
    char *secret = vr_format("s3cret-%zu", ++fake->next_id);
    thing->outputs = json_pack("{s:s,s:s,s:s}", "id", identity, "secret", secret, "etag", "e1");
    free(secret);
    thing->members = step->kind->collection ? json_array() : NULL;
    insert_thing(fake, thing);
    json_t *result = json_pack("{s:O,s:s}", "outputs", thing->outputs, "identity", identity);
    if (thing->members && fake->members_at_once) {
        json_t *fresh = json_array();
        add_members(fake, thing, (size_t)json_integer_value(json_object_get(step->fields, "count")),
                    fresh);
        json_object_set_new(result, "members", fresh);
    }
    return result;
}

/* An update that lets go of a thing can only come first where no replacement goes round in a circle
 * with it. */
static bool may_be_used(struct fake *fake, const char *by)
{
    struct vr_node *user = vr_plan_find(fake->plan, by);
    if (user && (user->action == VR_ACTION_DELETE || user->action == VR_ACTION_REPLACE))
        return false;
    for (size_t i = 0; i < vr_plan_count(fake->plan); i++)
        if (vr_plan_at(fake->plan, i)->action == VR_ACTION_REPLACE)
            return true;
    return false;
}

static void check_unused(struct fake *fake, const struct fake_thing *thing,
                         const struct vr_step *step)
{
    for (struct fake_thing *other = fake->sync ? NULL : fake->things; other; other = other->next)
        if (other != thing && refers_to(other->fields, thing->id) && !other->unreachable &&
            !may_be_used(fake, other->address))
            broke(fake, "deleted while in use", step->address);
}

static json_t *do_remove(struct fake *fake, struct vr_step *step, struct vr_error *err)
{
    struct fake_thing *thing = target_of(fake, step);
    for (struct fake_thing *other = fake->things; other; other = other->next)
        if (strncmp(other->address, step->address, strlen(step->address)) == 0 && other != thing)
            broke(fake, "member removed before its instances", step->address);
    for (size_t i = 0; thing && i < json_array_size(thing->members); i++) {
        const json_t *member = json_array_get(thing->members, i);
        if (strcmp(json_string_value(json_object_get(member, "id")), step->member) == 0) {
            json_array_remove(thing->members, i);
            fake->removed++;
            return NULL;
        }
    }
    vr_error_set(err, "absent", "no member %s", step->member);
    return NULL;
}

static json_t *perform(struct fake *fake, struct vr_step *step, struct vr_error *err)
{
    struct fake_thing *thing = target_of(fake, step);
    json_t *fresh;
    switch (step->verb) {
    case VR_VERB_CREATE:
        return do_create(fake, step, err);
    case VR_VERB_UPDATE:
        if (!thing) {
            broke(fake, "updated while absent", step->address);
            vr_error_set(err, "absent", "nothing to update");
            return NULL;
        }
        json_decref(thing->fields);
        thing->fields = plain(step->fields);
        return json_pack("{s:O}", "outputs", thing->outputs);
    case VR_VERB_DELETE:
        if (thing) {
            check_unused(fake, thing, step);
            destroy_thing(fake, thing);
        }
        return NULL;
    case VR_VERB_ADD:
        if (!thing) {
            vr_error_set(err, "absent", "no set");
            return NULL;
        }
        fresh = json_array();
        add_members(fake, thing, step->count, fresh);
        return json_pack("{s:o}", "members", fresh);
    default:
        return do_remove(fake, step, err);
    }
}

/* With what each is stale for: it was made of another size. */
static json_t *seen_members(const struct fake_thing *thing)
{
    json_t *seen = json_deep_copy(thing->members), *member;
    const json_t *size = json_object_get(thing->fields, "size");
    size_t index;
    json_array_foreach(seen, index, member)
    {
        const json_t *own = json_object_get(member, "size");
        if (size && own && !json_equal(size, own))
            json_object_set_new(member, "stale", json_string("size"));
    }
    return seen;
}

static json_t *do_read(struct fake *fake, struct vr_step *step, struct vr_error *err)
{
    struct fake_thing *thing = target_of(fake, step);
    if ((thing && thing->unreachable) ||
        (fake->lost_address && strcmp(fake->lost_address, step->address) == 0)) {
        vr_error_set(err, "unreachable", "no answer from %s", step->address);
        return NULL;
    }
    if (!thing)
        return json_null();
    json_t *fields = json_deep_copy(thing->fields);
    json_object_del(fields, "pw");
    json_t *result = json_pack("{s:o,s:O,s:s}", "fields", fields, "outputs", thing->outputs,
                               "identity", thing->id);
    const json_t *known = json_object_get(json_object_get(step->prior, "outputs"), "secret");
    if (known && !step->secrets) {
        json_t *outputs = json_copy(thing->outputs);
        json_object_set(outputs, "secret", (json_t *)known);
        json_object_set_new(result, "outputs", outputs);
    }
    fake->told += vr_kind_output(step->kind, "secret") && (step->secrets || !known);
    if (thing->members)
        json_object_set_new(result, "members", seen_members(thing));
    if (fake->own_changes)
        json_object_set(result, "changes", fake->own_changes);
    if (thing->status)
        json_object_set_new(result, "status", json_string(thing->status));
    if (thing->stale)
        json_object_update_new(result, json_pack("{s:s, s:b}", "stale", thing->stale, "rolls", 1));
    return result;
}

/* The runner. */

static void end_step(struct fake *fake, struct vr_step *step, bool cancelled)
{
    struct vr_error err = {0};
    json_t *result = NULL;
    fake->running--;
    if (step->verb == VR_VERB_READ) {
        result = cancelled ? NULL : do_read(fake, step, &err);
        if (cancelled)
            vr_error_set(&err, "cancelled", "read cancelled");
        vr_step_done(step, result, &err);
        return;
    }
    bool fails = (fake->fail_percent && fake_random(fake, 100) < fake->fail_percent) ||
                 (fake->fail_address && strcmp(fake->fail_address, step->address) == 0);
    bool effect = !(fails || cancelled) || (fake->random && fake_random(fake, 2));
    if (effect)
        result = perform(fake, step, &err);
    if (effect && fake->watch)
        fake->watch(fake);
    if ((fails || cancelled) && !err.message) {
        json_decref(result);
        result = NULL;
        vr_error_set(&err,
                     cancelled         ? "cancelled"
                     : fake->fail_code ? fake->fail_code
                                       : "broken",
                     "%s of %s broke", vr_verb_name(step->verb), step->address);
    }
    vr_step_done(step, result, &err);
}

static void noted(void *payload, bool ok)
{
    struct fake_step *waiting = payload;
    waiting->noted = false;
    (void)ok;
}

static void start(void *payload, struct vr_step *step)
{
    struct fake *fake = payload;
    bool read = step->verb == VR_VERB_READ;
    fake->running++;
    fake->reads += read;
    fake->writes += !read;
    if (fake->running > fake->most)
        fake->most = fake->running;
    if (fake->each && fake->running > fake->each)
        broke(fake, "limit", step->address);
    check_start(fake, step);
    if (!read) {
        vr_buf_printf(&fake->log, "%s%s %s", fake->log.length ? "; " : "", vr_verb_name(step->verb),
                      step->address);
        json_decref(fake->last_fields);
        json_decref(fake->last_changes);
        json_decref(fake->last_prior);
        json_decref(fake->last_recorded);
        fake->last_fields = json_incref(step->fields);
        fake->last_changes = json_deep_copy(step->changes);
        fake->last_prior = json_deep_copy(step->prior);
        fake->last_recorded = json_deep_copy(step->recorded);
    }
    if (fake->sync) {
        end_step(fake, step, false);
        return;
    }
    struct fake_step *entry = vr_alloc(sizeof(*entry));
    entry->step = step;
    double seconds = fake->random ? 0.1 + (double)fake_random(fake, 1000) / 100
                     : read       ? 0.001
                                  : fake->seconds;
    entry->ends = fake->clock + seconds;
    entry->order = fake->reads + fake->writes;
    entry->next = fake->steps;
    fake->steps = entry;
    if (fake->record && !read) {
        entry->noted = true;
        fake->recorded++;
        vr_step_record(step, json_pack("{s:s}", "note", step->address), noted, entry);
    }
    vr_step_progress(step, "works", false);
}

static void cancel(void *payload, struct vr_step *step, const char *reason)
{
    struct fake *fake = payload;
    (void)reason;
    for (struct fake_step *entry = fake->steps; entry; entry = entry->next) {
        if (entry->step == step) {
            entry->cancelled = true;
            entry->noted = false;
            entry->ends = fake->clock;
        }
    }
}

static double now(void *payload)
{
    return ((struct fake *)payload)->clock;
}

static bool end_next(struct fake *fake)
{
    struct fake_step **best = NULL;
    for (struct fake_step **at = &fake->steps; *at; at = &(*at)->next)
        if (!(*at)->noted && (!best || (*at)->ends < (*best)->ends ||
                              ((*at)->ends == (*best)->ends && (*at)->order < (*best)->order)))
            best = at;
    if (!best)
        return false;
    struct fake_step *entry = *best;
    *best = entry->next;
    if (entry->ends > fake->clock)
        fake->clock = entry->ends;
    end_step(fake, entry->step, entry->cancelled);
    free(entry);
    return true;
}

/* The stack. */

/* The writer's thread tells when a commit is durable; drive_run waits for that itself, so that
 * turns do not depend on threads. */
static void host_notify(void *payload)
{
    struct fake *fake = payload;
    if (pthread_equal(pthread_self(), fake->thread))
        fake->notified = true;
}

struct fake *fake_new(uint64_t seed)
{
    struct fake *fake = vr_alloc(sizeof(*fake));
    char shared[] = "/dev/shm/vmrun-fake-XXXXXX", other[] = "/tmp/vmrun-fake-XXXXXX";
    fake->root = vr_strdup(access("/dev/shm", W_OK) == 0 ? mkdtemp(shared) : mkdtemp(other));
    fake->seed = seed;
    fake->thread = pthread_self();
    fake->seconds = 1;
    fake->crash_after = fake->cancel_after = -1;
    fake->runner = (struct vr_runner){start, cancel, fake};
    fake->host = (struct vr_host){host_notify, now, fake};
    fake_reopen(fake);
    return fake;
}

void fake_reopen(struct fake *fake)
{
    struct vr_error err = {0};
    vr_run_free(fake->run);
    vr_plan_free(fake->plan);
    fake->run = NULL;
    fake->plan = NULL;
    vr_state_close(fake->state);
    struct vr_state_options options = {.folder = fake->root, .stack = "main"};
    fake->state = vr_state_open(&options, &err);
    ck_assert_msg(fake->state != NULL, "%s", err.message);
}

static void forget_recipe(struct fake *fake)
{
    vr_run_free(fake->run);
    vr_plan_free(fake->plan);
    fake->run = NULL;
    fake->plan = NULL;
    vr_graph_free(fake->graph);
    fake->graph = NULL;
    if (fake->text)
        graph_text_free(fake->text);
    fake->text = NULL;
}

void fake_free(struct fake *fake)
{
    forget_recipe(fake);
    vr_state_close(fake->state);
    while (fake->things)
        destroy_thing(fake, fake->things);
    char *command = vr_format("rm -rf %s", fake->root);
    ck_assert_int_eq(system(command), 0);
    free(command);
    free(fake->root);
    free(fake->broken);
    vr_map_free(&fake->by_id);
    vr_map_free(&fake->by_address);
    vr_buf_free(&fake->log);
    json_decref(fake->last_fields);
    json_decref(fake->last_changes);
    json_decref(fake->last_prior);
    json_decref(fake->last_recorded);
    json_decref(fake->own_changes);
    free(fake);
}

static void set_up_kind(const struct fake *fake, struct vr_kind *kind, unsigned verbs)
{
    kind->verbs = verbs;
    kind->payload = (void *)fake;
    vr_kind_add_field(kind, "name", VR_FIELD_REPLACE, NULL);
    vr_kind_add_field(kind, "on", VR_FIELD_REPLACE, NULL);
    vr_kind_add_field(kind, "pw", VR_FIELD_SECRET, NULL);
    vr_kind_add_field(kind, "size", VR_FIELD_ROLLS, NULL);
    vr_kind_add_field(kind, "roll", VR_FIELD_IGNORE, NULL);
    if (!fake->no_identity)
        kind->identity = fake_identity;
    if (fake->predict)
        kind->predict = fake_predict;
}

void fake_recipe(struct fake *fake, const char *text)
{
    struct vr_error err = {0};
    forget_recipe(fake);
    fake->text = graph_text_new(text);
    unsigned all =
        1u << VR_VERB_READ | 1u << VR_VERB_CREATE | 1u << VR_VERB_UPDATE | 1u << VR_VERB_DELETE;
    set_up_kind(fake, fake->text->plain, all);
    set_up_kind(fake, fake->text->set, all | 1u << VR_VERB_ADD | 1u << VR_VERB_REMOVE);
    fake->graph = vr_graph_new(fake->text->decls, &err);
    ck_assert_msg(fake->graph != NULL, "%s", err.message);
}

static const struct vr_kind *find_kind(void *payload, const char *name)
{
    struct fake *fake = payload;
    return strcmp(name, "t.x") == 0     ? fake->text->plain
           : strcmp(name, "t.set") == 0 ? fake->text->set
                                        : NULL;
}

static void ended(void *payload)
{
    ((struct fake *)payload)->ended = true;
}

static void drive_plan(struct fake *fake)
{
    fake->ended = false;
    vr_plan_start(fake->plan, ended, fake);
    while (!fake->ended) {
        if (fake->notified) {
            fake->notified = false;
            vr_plan_turn(fake->plan);
            if (fake->cancel_plan && fake->steps)
                vr_plan_cancel(fake->plan, "ctrl-c");
        } else if (!end_next(fake)) {
            ck_abort_msg("the plan waits for nothing");
        }
    }
}

struct vr_plan *fake_plan_with(struct fake *fake, struct vr_plan_options options)
{
    vr_run_free(fake->run);
    vr_plan_free(fake->plan);
    fake->run = NULL;
    options.graph = fake->graph;
    options.state = fake->state;
    options.runner = &fake->runner;
    options.host = &fake->host;
    options.limits.each = fake->each;
    options.find_kind = find_kind;
    options.payload = fake;
    fake->plan = vr_plan_new(&options);
    drive_plan(fake);
    return fake->plan;
}

struct vr_plan *fake_plan(struct fake *fake)
{
    return fake_plan_with(fake, (struct vr_plan_options){0});
}

/* A crash: the files of the state as they are now come back after the run has been wound up. */
static void keep_files(struct fake *fake)
{
    char *command = vr_format("mkdir %s/kept && cp %s/state.db* %s/digest.key %s/kept/", fake->root,
                              fake->root, fake->root, fake->root);
    ck_assert_int_eq(system(command), 0);
    free(command);
}

static void restore_files(struct fake *fake)
{
    vr_run_free(fake->run);
    vr_plan_free(fake->plan);
    fake->run = NULL;
    fake->plan = NULL;
    vr_state_close(fake->state);
    fake->state = NULL;
    char *command = vr_format("rm -f %s/state.db* && cp %s/kept/* %s/ && rm -r %s/kept", fake->root,
                              fake->root, fake->root, fake->root);
    ck_assert_int_eq(system(command), 0);
    free(command);
    fake_reopen(fake);
}

static void crash(struct fake *fake)
{
    fake->crash_after = -1;
    fake->crashed = true;
    keep_files(fake);
    /* what runs has its effect or not, and nobody hears of it */
    vr_run_cancel(fake->run, VR_CANCEL_NOW, "crash");
}

static void drive_run(struct fake *fake)
{
    fake->ended = false;
    fake->turns = 0;
    vr_run_start(fake->run, ended, fake);
    while (!fake->ended) {
        if (fake->notified) {
            fake->notified = false;
            uint64_t before = vr_state_durable(fake->state);
            vr_run_turn(fake->run);
            struct vr_error err = {0};
            vr_state_sync(fake->state, &err);
            vr_error_clear(&err);
            fake->notified = fake->notified || vr_state_durable(fake->state) != before;
            fake->turns++;
            if (fake->cancel_after >= 0 && fake->cancel_after-- == 0)
                vr_run_cancel(fake->run, fake->cancel_how, "ctrl-c");
            if (fake->crash_after >= 0 && fake->crash_after-- == 0 && !fake->ended)
                crash(fake);
        } else if (!end_next(fake)) {
            fprintf(stderr, "%s\n", fake->broken ? fake->broken : "");
            ck_abort_msg("the run waits for nothing");
        }
    }
}

struct vr_run_summary fake_apply(struct fake *fake)
{
    struct vr_error err = {0};
    struct vr_run_options options = {
        .plan = fake->plan, .runner = &fake->runner, .host = &fake->host};
    options.limits.each = fake->each;
    fake->crashed = false;
    fake->run = vr_run_new(&options, &err);
    ck_assert_msg(fake->run != NULL, "%s", err.message);
    drive_run(fake);
    struct vr_run_summary summary = vr_run_summary(fake->run);
    if (fake->crashed)
        restore_files(fake);
    return summary;
}

struct vr_run_summary fake_run(struct fake *fake)
{
    fake_plan(fake);
    for (size_t i = 0; i < vr_plan_error_count(fake->plan); i++)
        ck_abort_msg("%s", vr_plan_error_at(fake->plan, i)->message);
    return fake_apply(fake);
}

char *fake_strays(struct fake *fake)
{
    struct vr_buf buf = {0};
    for (struct fake_thing *thing = fake->things; thing; thing = thing->next) {
        const struct vr_row *row = vr_state_find(fake->state, thing->address);
        if (!row || !row->identity || strcmp(row->identity, thing->id) != 0)
            vr_buf_printf(&buf, "orphan %s; ", thing->address);
        for (size_t i = 0; i < json_array_size(thing->members); i++) {
            char *address = vr_format(
                "%s.items[%s]", thing->address,
                json_string_value(json_object_get(json_array_get(thing->members, i), "id")));
            if (!vr_state_find(fake->state, address))
                vr_buf_printf(&buf, "orphan %s; ", address);
            free(address);
        }
    }
    for (size_t i = 0; i < vr_state_slots(fake->state); i++) {
        const struct vr_row *row = vr_state_at(fake->state, i);
        if (row && !row->member && !find_id(fake, row->identity))
            vr_buf_printf(&buf, "lost %s; ", row->address);
        if (row && row->intent)
            vr_buf_printf(&buf, "open %s; ", row->address);
    }
    return vr_buf_steal(&buf);
}

char *fake_show(const struct vr_plan *plan)
{
    struct vr_buf buf = {0};
    for (size_t i = 0; i < vr_plan_count(plan); i++) {
        const struct vr_node *node = vr_plan_at(plan, i);
        if (node->action != VR_ACTION_NOOP)
            vr_buf_printf(&buf, "%s%s %s", buf.length ? "; " : "", vr_action_name(node->action),
                          node->address);
    }
    return vr_buf_steal(&buf);
}

char *fake_take_log(struct fake *fake)
{
    char *text = vr_buf_steal(&fake->log);
    fake->log = (struct vr_buf){0};
    return text;
}
