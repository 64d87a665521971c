/* A step is one task that calls recipe.step.run(page, verb, ctx, ...). What a verb gives back is
 * sealed again: by the kind's word (secret outputs and fields), and wherever a text holds one of
 * the secrets that went in. */
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/mask.h"
#include "script/host.h"
#include "script/page.h"
#include "script/provider.h"
#include "script/seal.h"
#include "script/task.h"
#include "script/value.h"

enum { DEFAULT_SECONDS = 600 };

/* What a verb's ctx holds of its step; the step is NULL once it ended. */
struct handle {
    struct vr_step *step;
};

/* One ctx:record: outlives its task when that is cancelled while the note is on its way. */
struct note {
    struct vr_park park;
    struct note_wait *wait;
};

struct note_wait {
    struct note *note; /* NULL: nobody waits any more */
    bool done, ok;
};

struct running {
    struct vr_provider *provider;
    struct vr_step *step;
    struct vr_task *task;
    struct handle *handle;
    int handle_ref;
    json_t *secrets;
};

static void note_cancel(struct vr_park *park)
{
    struct note *note = (struct note *)park;
    if (note->wait)
        note->wait->note = NULL;
    note->wait = NULL;
}

static void note_recorded(void *payload, bool ok)
{
    struct note_wait *wait = payload;
    struct note *note = wait->note;
    wait->done = true;
    wait->ok = ok;
    if (!note) {
        free(wait);
        return;
    }
    vr_task_wake(&note->park);
}

static int note_finish(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    struct note *note = (struct note *)ctx;
    bool ok = note->wait->ok;
    free(note->wait);
    note->wait = NULL;
    if (!ok)
        return luaL_error(L, "the note could not be written to the state");
    lua_pushboolean(L, true);
    return 1;
}

/* ctx:record(t): parks until the note is safe on disk. */
static int ctx_record(lua_State *L)
{
    struct handle *handle = lua_touserdata(L, lua_upvalueindex(1));
    if (!handle->step)
        return luaL_error(L, "ctx:record after the verb ended");
    luaL_checkany(L, 2);
    struct vr_error err = {0};
    json_t *value = vr_value_get(L, 2, &err);
    if (!value)
        return luaL_error(L, "ctx:record: a note is plain data");
    struct note *note = lua_newuserdatauv(L, sizeof(*note), 0);
    *note = (struct note){.park.cancel = note_cancel};
    note->wait = vr_alloc(sizeof(*note->wait));
    note->wait->note = note;
    struct running *running = handle->step->runner;
    json_t *safe = vr_seal_known(value, running->secrets);
    json_decref(value);
    vr_step_record(handle->step, safe, note_recorded, note->wait);
    if (note->wait->done)
        return note_finish(L, LUA_OK, (lua_KContext)note);
    return vr_task_park(L, &note->park, note_finish, (lua_KContext)note);
}

static void tell(lua_State *L, bool said)
{
    struct handle *handle = lua_touserdata(L, lua_upvalueindex(1));
    const char *text = luaL_checkstring(L, 2);
    if (handle->step) {
        char *masked = vr_masked(text, strlen(text));
        vr_step_progress(handle->step, masked, said);
        free(masked);
    }
}

/* ctx:output(line): what a remote command printed, for the log and the line that shows the step. */
static int ctx_output(lua_State *L)
{
    tell(L, true);
    return 0;
}

/* ctx:progress(text): what is being waited for; a deadline that passes says it too. */
static int ctx_progress(lua_State *L)
{
    tell(L, false);
    if (lua_istable(L, 1)) {
        lua_pushvalue(L, 2);
        lua_setfield(L, 1, "waiting");
    }
    return 0;
}

/* ctx:waits(is_so): the step only waits for what others of the run do, or no longer. Returns
 * whether that is so of all that run: then nobody is left whom it could wait for. */
static int ctx_waits(lua_State *L)
{
    struct handle *handle = lua_touserdata(L, lua_upvalueindex(1));
    lua_pushboolean(L, handle->step && vr_step_waits(handle->step, lua_toboolean(L, 2)));
    return 1;
}

static void set_method(lua_State *L, int handle, const char *name, lua_CFunction function)
{
    lua_pushvalue(L, handle);
    lua_pushcclosure(L, function, 1);
    lua_setfield(L, -2, name);
}

static void set_text(lua_State *L, const char *name, const char *text)
{
    if (!text)
        return;
    lua_pushstring(L, text);
    lua_setfield(L, -2, name);
}

static void set_value(lua_State *L, const char *name, const json_t *value)
{
    if (!value || json_is_null(value))
        return;
    vr_seal_push(L, value);
    lua_setfield(L, -2, name);
}

/* Paths (arrays) as a set of texts: {"group.id", "rules.2.port"}. */
static void set_unknown(lua_State *L, const json_t *paths)
{
    lua_newtable(L);
    for (size_t i = 0; i < json_array_size(paths); i++) {
        const json_t *path = json_array_get(paths, i);
        struct vr_buf text = {0};
        for (size_t k = 0; k < json_array_size(path); k++) {
            const json_t *step = json_array_get(path, k);
            if (json_is_integer(step))
                vr_buf_printf(&text, "%s%" JSON_INTEGER_FORMAT, k ? "." : "",
                              json_integer_value(step) + 1);
            else
                vr_buf_printf(&text, "%s%s", k ? "." : "", json_string_value(step));
        }
        lua_pushboolean(L, true);
        lua_setfield(L, -2, text.data ? text.data : "");
        vr_buf_free(&text);
    }
    lua_setfield(L, -2, "unknown");
}

static void set_place(lua_State *L, const struct vr_step *step)
{
    if (!step->file)
        return;
    lua_pushfstring(L, "%s:%d", step->file, step->line);
    lua_setfield(L, -2, "place");
}

/* Pushes ctx, and sets running->handle. */
static void push_ctx(lua_State *L, struct running *running, double seconds)
{
    struct vr_step *step = running->step;
    struct handle *handle = lua_newuserdatauv(L, sizeof(*handle), 0);
    handle->step = step;
    running->handle = handle;
    int at = lua_gettop(L);
    lua_newtable(L);
    set_method(L, at, "record", ctx_record);
    set_method(L, at, "progress", ctx_progress);
    set_method(L, at, "output", ctx_output);
    set_method(L, at, "waits", ctx_waits);
    vr_seal_push(L, step->fields ? step->fields : json_null());
    if (lua_isnil(L, -1) || !lua_istable(L, -1)) {
        lua_pop(L, 1);
        lua_newtable(L);
    }
    lua_setfield(L, -2, "fields");
    set_unknown(L, step->unknown);
    set_value(L, "prior", step->prior);
    set_value(L, "changes", step->changes);
    set_value(L, "recorded", step->recorded);
    set_text(L, "identity", step->identity);
    set_text(L, "etag", step->etag);
    set_text(L, "address", step->address);
    set_text(L, "name", step->name);
    set_text(L, "kind", step->kind->name);
    set_text(L, "verb", vr_verb_name(step->verb));
    set_text(L, "stack", running->provider->stack);
    set_place(L, step);
    lua_rawgeti(L, LUA_REGISTRYINDEX, running->provider->target_ref);
    lua_setfield(L, -2, "target");
    lua_pushnumber(L, seconds);
    lua_setfield(L, -2, "seconds");
    lua_pushboolean(L, step->dry);
    lua_setfield(L, -2, "dry");
    lua_pushboolean(L, step->secrets);
    lua_setfield(L, -2, "secrets");
    lua_pushboolean(L, step->gone);
    lua_setfield(L, -2, "gone");
    lua_pushvalue(L, at);
    running->handle_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_remove(L, at);
}

/* A second plan of the same run says nothing twice. */
static void keep_note(struct running *running, const json_t *result)
{
    const char *text = json_string_value(json_object_get(result, "note"));
    if (!text)
        return;
    char *masked = vr_masked(text, strlen(text));
    json_t *note = json_pack("{s:s, s:s}", "address", running->step->address, "text", masked),
           *known;
    size_t index;
    free(masked);
    json_array_foreach(running->provider->notes, index, known)
    {
        if (json_equal(known, note)) {
            json_decref(note);
            return;
        }
    }
    json_array_append_new(running->provider->notes, note);
}

static json_t *take_result(lua_State *L, struct running *running, struct vr_error *err)
{
    json_t *result = vr_value_get(L, -1, err);
    if (!json_is_object(result)) {
        bool nothing = !result || json_is_null(result);
        json_decref(result);
        if (!nothing)
            vr_error_set(err, "internal", "%s of %s gave back something else than a table",
                         vr_verb_name(running->step->verb), running->step->kind->name);
        return NULL;
    }
    struct vr_page *page = running->step->kind->payload;
    const json_t *described = page->described;
    keep_note(running, result);
    vr_seal_part(result, "outputs", json_object_get(described, "outputs"), running->secrets);
    vr_seal_part(result, "fields", json_object_get(described, "fields"), running->secrets);
    json_t *item = json_object_get(json_object_get(described, "collection"), "item");
    json_t *members = json_object_get(result, "members");
    if (json_is_array(members)) {
        json_t *type = json_pack("{s:s, s:{s:s, s:O?}}", "type", "list", "elem", "type", "object",
                                 "fields", item);
        json_t *typed = vr_seal_typed(members, type);
        json_object_set_new(result, "members", vr_seal_known(typed, running->secrets));
        json_decref(typed);
        json_decref(type);
    }
    json_t *changes = json_object_get(result, "changes");
    if (changes)
        json_object_set_new(result, "changes", vr_seal_known(changes, running->secrets));
    return result;
}

static void step_ended(void *payload, lua_State *L, bool ok)
{
    struct running *running = payload;
    struct vr_step *step = running->step;
    struct vr_error err = {0};
    json_t *result = NULL;
    if (ok) {
        if (lua_gettop(L) > 0)
            result = take_result(L, running, &err);
    } else {
        vr_script_error(L, -1, &err);
        vr_mask(&err.message);
        vr_mask(&err.hint);
    }
    running->handle->step = NULL;
    luaL_unref(L, LUA_REGISTRYINDEX, running->handle_ref);
    running->provider->running--;
    json_decref(running->secrets);
    step->runner = NULL;
    free(running);
    vr_step_done(step, result, err.message ? &err : NULL);
}

/* Pushes recipe.step.run. */
static int load_step(lua_State *L)
{
    lua_getglobal(L, "require");
    lua_pushliteral(L, "recipe.step");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, "run");
    return 1;
}

static void start(void *payload, struct vr_step *step)
{
    struct vr_provider *provider = payload;
    lua_State *L = provider->L;
    struct vr_page *page = step->kind->payload;
    int top = lua_gettop(L);
    lua_checkstack(L, 16);
    lua_pushcfunction(L, load_step);
    if (lua_pcall(L, 0, 1, 0) != LUA_OK) {
        struct vr_error err = {0};
        vr_script_error(L, -1, &err);
        lua_settop(L, top);
        vr_step_done(step, NULL, &err);
        return;
    }
    struct running *running = vr_alloc(sizeof(*running));
    *running = (struct running){.provider = provider, .step = step, .secrets = json_array()};
    step->runner = running;
    vr_seal_collect(step->fields, running->secrets);
    vr_seal_collect(step->prior, running->secrets);
    for (size_t i = 0; i < json_array_size(running->secrets); i++) {
        const json_t *secret = json_array_get(running->secrets, i);
        vr_mask_derived(json_string_value(secret), json_string_length(secret));
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, page->ref);
    lua_pushstring(L, vr_verb_name(step->verb));
    double seconds = step->timeout > 0 ? step->timeout : DEFAULT_SECONDS;
    push_ctx(L, running, seconds);
    lua_pushnumber(L, seconds);
    if (step->verb == VR_VERB_ADD)
        lua_pushinteger(L, (lua_Integer)step->count);
    else
        lua_pushstring(L, step->verb == VR_VERB_REMOVE ? step->member : NULL);
    provider->running++;
    running->task = vr_task_start(L, 5, step_ended, running);
    lua_settop(L, top);
}

static void cancel(void *payload, struct vr_step *step, const char *reason)
{
    (void)payload;
    struct running *running = step->runner;
    if (running)
        vr_task_cancel(running->task, reason);
}

struct vr_runner vr_provider_runner(struct vr_provider *provider)
{
    return (struct vr_runner){.start = start, .cancel = cancel, .payload = provider};
}
