/* A kind's page is Lua; the engine's struct vr_kind is filled from kind.describe(page) once, and
 * its payload leads back to the page. */
#include "script/provider.h"

#include <assert.h>
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "script/host.h"
#include "script/page.h"
#include "script/seal.h"
#include "script/value.h"

static const char provider_key;

enum { FUNCTION_SECONDS = 5 };

struct vr_provider *vr_provider_new(struct vr_script *script)
{
    lua_State *L = vr_script_lua(script);
    struct vr_provider *provider = vr_alloc(sizeof(*provider));
    provider->L = L;
    provider->target_ref = LUA_NOREF;
    provider->notes = json_array();
    lua_pushlightuserdata(L, provider);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &provider_key);
    return provider;
}

void vr_provider_free(struct vr_provider *provider)
{
    if (!provider)
        return;
    assert(provider->running == 0);
    for (struct vr_page *page = provider->pages, *next; page; page = next) {
        next = page->next;
        luaL_unref(provider->L, LUA_REGISTRYINDEX, page->ref);
        vr_kind_free(page->kind);
        json_decref(page->described);
        free(page);
    }
    luaL_unref(provider->L, LUA_REGISTRYINDEX, provider->target_ref);
    lua_pushnil(provider->L);
    lua_rawsetp(provider->L, LUA_REGISTRYINDEX, &provider_key);
    free(provider->stack);
    json_decref(provider->notes);
    free(provider);
}

lua_State *vr_provider_lua(const struct vr_provider *provider)
{
    return provider->L;
}

struct vr_provider *vr_provider_of(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &provider_key);
    struct vr_provider *provider = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return provider;
}

void vr_provider_bind(struct vr_provider *provider, const json_t *target, const char *stack)
{
    lua_State *L = provider->L;
    luaL_unref(L, LUA_REGISTRYINDEX, provider->target_ref);
    vr_value_push(L, target);
    provider->target_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    free(provider->stack);
    provider->stack = vr_strdup(stack);
}

const json_t *vr_provider_notes(const struct vr_provider *provider)
{
    return provider->notes;
}

size_t vr_provider_running(const struct vr_provider *provider)
{
    return provider->running;
}

/* --- kinds --- */

static unsigned field_flags(const json_t *field)
{
    static const struct {
        const char *name;
        unsigned flag;
    } flags[] = {
        {"replace", VR_FIELD_REPLACE},   {"secret", VR_FIELD_SECRET},
        {"computed", VR_FIELD_COMPUTED}, {"owned_elements", VR_FIELD_OWNED},
        {"ignore", VR_FIELD_IGNORE},     {"unordered", VR_FIELD_UNORDERED},
        {"rolls", VR_FIELD_ROLLS},
    };
    unsigned all = 0;
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
        if (json_is_true(json_object_get(field, flags[i].name)))
            all |= flags[i].flag;
    return all;
}

/* A field and its parts; lists add nothing to the path. */
static void add_field(struct vr_kind *kind, const char *path, const json_t *field)
{
    vr_kind_add_field(kind, path, field_flags(field),
                      json_string_value(json_object_get(field, "key")));
    const json_t *inner = field, *elem;
    while ((elem = json_object_get(inner, "elem")) &&
           json_is_string(json_object_get(inner, "type")) &&
           strcmp(json_string_value(json_object_get(inner, "type")), "list") == 0)
        inner = elem;
    json_t *fields = json_object_get(inner, "fields"), *part;
    const char *name;
    json_object_foreach(fields, name, part)
    {
        char *below = vr_format("%s.%s", path, name);
        add_field(kind, below, part);
        free(below);
    }
}

/* Calls a function of the page with fields and the target: one value is on the stack, or nothing
 * and false. */
static bool call_page(const struct vr_kind *kind, const char *function, const json_t *fields)
{
    struct vr_page *page = kind->payload;
    lua_State *L = page->provider->L;
    int top = lua_gettop(L);
    lua_checkstack(L, 8);
    lua_rawgeti(L, LUA_REGISTRYINDEX, page->ref);
    lua_getfield(L, -1, function);
    vr_seal_push(L, fields);
    lua_rawgeti(L, LUA_REGISTRYINDEX, page->provider->target_ref);
    /* A page may stumble over what is not known yet: then nothing is known of the result either. It
     * is called at once, so an endless loop would hold up everything. */
    vr_script_limit(L, FUNCTION_SECONDS, 0);
    int status = lua_isfunction(L, -3) ? lua_pcall(L, 2, 1, 0) : LUA_ERRRUN;
    vr_script_limit(L, 0, 0);
    if (status != LUA_OK && lua_isstring(L, -1))
        vr_log(VR_LOG_DEBUG, "%s of %s: %s", function, kind->name, lua_tostring(L, -1));
    if (status != LUA_OK || lua_isnil(L, -1)) {
        lua_settop(L, top);
        return false;
    }
    lua_replace(L, top + 1);
    lua_settop(L, top + 1);
    return true;
}

static char *kind_identity(const struct vr_kind *kind, const json_t *fields)
{
    if (!call_page(kind, "identity", fields))
        return NULL;
    lua_State *L = ((struct vr_page *)kind->payload)->provider->L;
    char *identity = lua_type(L, -1) == LUA_TSTRING ? vr_strdup(lua_tostring(L, -1)) : NULL;
    lua_pop(L, 1);
    return identity;
}

static json_t *kind_predict(const struct vr_kind *kind, const json_t *fields)
{
    if (!call_page(kind, "predict", fields))
        return NULL;
    struct vr_page *page = kind->payload;
    lua_State *L = page->provider->L;
    json_t *outputs = vr_value_get(L, -1, NULL);
    lua_pop(L, 1);
    if (!json_is_object(outputs)) {
        json_decref(outputs);
        return NULL;
    }
    json_t *secrets = json_array(), *holder = json_pack("{s:o}", "outputs", outputs);
    vr_seal_collect(fields, secrets);
    vr_seal_part(holder, "outputs", json_object_get(page->described, "outputs"), secrets);
    json_t *result = json_incref(json_object_get(holder, "outputs"));
    json_decref(holder);
    json_decref(secrets);
    return result;
}

static void describe_verbs(struct vr_kind *kind, const json_t *described)
{
    json_t *verbs = json_object_get(described, "verbs"),
           *timeouts = json_object_get(described, "timeouts");
    for (int verb = 0; verb < VR_VERBS; verb++) {
        const char *name = vr_verb_name((enum vr_verb)verb);
        if (json_is_true(json_object_get(verbs, name)))
            kind->verbs |= 1u << verb;
        kind->timeouts[verb] = json_number_value(json_object_get(timeouts, name));
    }
    if (json_is_true(json_object_get(verbs, "identity")))
        kind->identity = kind_identity;
    if (json_is_true(json_object_get(verbs, "predict")))
        kind->predict = kind_predict;
}

static struct vr_kind *kind_of(const json_t *described)
{
    struct vr_kind *kind = vr_kind_new(json_string_value(json_object_get(described, "name")));
    const char *name;
    json_t *part;
    json_object_foreach(json_object_get(described, "fields"), name, part)
        add_field(kind, name, part);
    json_object_foreach(json_object_get(described, "outputs"), name, part)
    {
        unsigned flags = json_is_true(json_object_get(part, "secret")) ? VR_OUTPUT_SECRET : 0;
        if (json_is_true(json_object_get(part, "volatile")))
            flags |= VR_OUTPUT_VOLATILE;
        vr_kind_add_output(kind, name, flags);
    }
    json_t *collection = json_object_get(described, "collection");
    if (collection)
        vr_kind_set_collection(kind, json_string_value(json_object_get(collection, "output")),
                               json_string_value(json_object_get(collection, "count")));
    kind->at_once = (size_t)json_integer_value(json_object_get(described, "at_once"));
    kind->remembered = json_is_true(json_object_get(described, "remembered"));
    kind->refuse_existing = json_is_true(json_object_get(described, "refuse_existing"));
    kind->fold_identity = json_is_true(json_object_get(described, "fold_identity"));
    vr_kind_set_leaves(kind, json_string_value(json_object_get(described, "leaves")));
    describe_verbs(kind, described);
    return kind;
}

/* require("kind").describe(page) */
static int describe(lua_State *L)
{
    lua_getglobal(L, "require");
    lua_pushliteral(L, "kind");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, "describe");
    lua_pushvalue(L, 1);
    lua_call(L, 1, 1);
    return 1;
}

static struct vr_page *find_page(struct vr_provider *provider, const char *name)
{
    for (struct vr_page *page = provider->pages; page; page = page->next)
        if (!page->stale && strcmp(page->kind->name, name) == 0)
            return page;
    return NULL;
}

static bool same_page(struct vr_page *page, lua_State *L, int index)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, page->ref);
    bool same = lua_rawequal(L, -1, index);
    lua_pop(L, 1);
    return same;
}

const struct vr_kind *vr_provider_page(struct vr_provider *provider, lua_State *L, int index,
                                       struct vr_error *err)
{
    index = lua_absindex(L, index);
    lua_pushcfunction(L, describe);
    lua_pushvalue(L, index);
    if (lua_pcall(L, 1, 1, 0) != LUA_OK) {
        vr_script_error(L, -1, err);
        lua_pop(L, 1);
        return NULL;
    }
    json_t *described = vr_value_get(L, -1, err);
    lua_pop(L, 1);
    if (!described)
        return NULL;
    struct vr_page *page =
        find_page(provider, json_string_value(json_object_get(described, "name")));
    if (page && same_page(page, L, index)) {
        json_decref(described);
        return page->kind;
    }
    if (page)
        page->stale = true;
    page = vr_alloc(sizeof(*page));
    page->provider = provider;
    page->described = described;
    page->kind = kind_of(described);
    page->kind->payload = page;
    page->next = provider->pages;
    provider->pages = page;
    lua_pushvalue(L, index);
    page->ref = luaL_ref(L, LUA_REGISTRYINDEX);
    return page->kind;
}

/* recipe.evaluate's kind(name) -> page, or nil, message: the standard library's, or a library's. */
static int find_kind(lua_State *L)
{
    lua_getglobal(L, "require");
    lua_pushliteral(L, "recipe.evaluate");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, "kind");
    lua_pushvalue(L, 1);
    lua_call(L, 1, 2);
    return 2;
}

const struct vr_kind *vr_provider_kind(struct vr_provider *provider, const char *name,
                                       struct vr_error *err)
{
    struct vr_page *known = find_page(provider, name);
    if (known)
        return known->kind;
    lua_State *L = provider->L;
    int top = lua_gettop(L);
    lua_pushcfunction(L, find_kind);
    lua_pushstring(L, name);
    const struct vr_kind *kind = NULL;
    if (lua_pcall(L, 1, 2, 0) != LUA_OK)
        vr_script_error(L, -1, err);
    else if (lua_istable(L, -2))
        kind = vr_provider_page(provider, L, -2, err);
    else
        vr_error_set(err, "kind", "%s", lua_isstring(L, -1) ? lua_tostring(L, -1) : "no such kind");
    lua_settop(L, top);
    return kind;
}
