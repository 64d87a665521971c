#include "script/recipe.h"

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "script/declare.h"
#include "script/host.h"
#include "script/provider.h"
#include "script/value.h"

enum { CPU_SECONDS = 30 };
/* Of the collector, in percent: a recipe's values stay, so looking for garbage among them is mostly
 * in vain; Lua's own afterwards. */
enum { READING_PAUSE = 400, PAUSE = 200 };
/* Debian 12's Lua writes to a stack that is no longer there when it was moved while __concat ran
 * (its patch for CVE-2022-33099 without Lua's 603b2c64), and references are joined by `..`. So the
 * stack is as large from the start as recipes make it, and this claim keeps the collector from
 * making it smaller. */
enum { STACK = 20000 };
static const size_t MEMORY = (size_t)1 << 30;

struct vr_recipe {
    struct vr_decls *decls;
    json_t *params, *warnings;
};

/* $VMRUN_RECIPE_SECONDS gives a slow recipe more time. */
static double cpu_seconds(void)
{
    const char *text = getenv("VMRUN_RECIPE_SECONDS");
    double seconds = text ? strtod(text, NULL) : 0;
    return seconds > 0 ? seconds : CPU_SECONDS;
}

static void push_paths(lua_State *L, const char *paths)
{
    lua_newtable(L);
    lua_Integer n = 0;
    for (const char *at = paths ? paths : ""; *at;) {
        size_t length = strcspn(at, ":");
        if (length > 0) {
            lua_pushlstring(L, at, length);
            lua_rawseti(L, -2, ++n);
        }
        at += length + (at[length] == ':');
    }
}

/* evaluate.run(options), in protected mode: everything in here may raise. */
static int evaluate(lua_State *L)
{
    const struct vr_recipe_options *options = lua_touserdata(L, 1);
    lua_settop(L, 0);
    luaL_checkstack(L, STACK, "a recipe needs more");
    lua_getglobal(L, "require");
    lua_pushliteral(L, "recipe.evaluate");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, "run");
    lua_newtable(L);
    lua_pushstring(L, options->path);
    lua_setfield(L, -2, "path");
    push_paths(L, options->library_paths);
    lua_setfield(L, -2, "paths");
    if (options->given) {
        vr_value_push(L, options->given);
        lua_setfield(L, -2, "given");
    }
    lua_pushboolean(L, options->lint);
    lua_setfield(L, -2, "lint");
    vr_script_limit(L, options->seconds > 0 ? options->seconds : cpu_seconds(),
                    options->bytes ? options->bytes : MEMORY);
    lua_call(L, 1, 1);
    return 1;
}

static json_t *take_list(lua_State *L, const char *name)
{
    lua_getfield(L, -1, name);
    json_t *list = vr_value_get(L, -1, NULL);
    lua_pop(L, 1);
    if (json_is_array(list))
        return list;
    json_decref(list); /* an empty Lua table is an empty object */
    return json_array();
}

static void read_recipe(struct vr_recipe *recipe, lua_State *L,
                        const struct vr_recipe_options *options)
{
    lua_pushcfunction(L, evaluate);
    lua_pushlightuserdata(L, (void *)options);
    lua_gc(L, LUA_GCINC, READING_PAUSE, 0, 0);
    int status = lua_pcall(L, 1, 1, 0);
    lua_gc(L, LUA_GCINC, PAUSE, 0, 0);
    struct vr_error err = {0};
    if (status != LUA_OK) {
        if (vr_declare_limit(L))
            lua_replace(L, -2);
        vr_script_error(L, -1, &err); /* before the limits are lifted: they know the place */
    }
    vr_script_limit(L, 0, 0);
    if (status == LUA_OK &&
        vr_declare_limit(L)) /* swallowed by a pcall of the recipe at its very end */
        lua_pop(L, 1);
    if (status == LUA_OK) {
        recipe->params = take_list(L, "params");
        recipe->warnings = take_list(L, "warnings");
    } else {
        if (!err.file)
            vr_error_place(&err, options->path, 0);
        vr_decls_error(recipe->decls, &err);
    }
    lua_pop(L, 1);
}

struct vr_recipe *vr_recipe_load(struct vr_provider *provider,
                                 const struct vr_recipe_options *options)
{
    lua_State *L = vr_provider_lua(provider);
    struct vr_recipe *recipe = vr_alloc(sizeof(*recipe));
    recipe->decls = vr_decls_new();
    vr_declare_into(L, recipe->decls);
    read_recipe(recipe, L, options);
    vr_declare_into(L, NULL);
    if (!recipe->params)
        recipe->params = json_array();
    if (!recipe->warnings)
        recipe->warnings = json_array();
    return recipe;
}

static int read_params(lua_State *L)
{
    lua_getglobal(L, "require");
    lua_pushliteral(L, "recipe.params_file");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, "read");
    lua_pushvalue(L, 1);
    lua_call(L, 1, 1);
    return 1;
}

json_t *vr_recipe_params_file(struct vr_provider *provider, const char *path, struct vr_error *err)
{
    lua_State *L = vr_provider_lua(provider);
    lua_pushcfunction(L, read_params);
    lua_pushstring(L, path);
    vr_script_limit(L, CPU_SECONDS, MEMORY);
    int status = lua_pcall(L, 1, 1, 0);
    vr_script_limit(L, 0, 0);
    json_t *params = NULL;
    if (status == LUA_OK)
        params = vr_value_get(L, -1, err);
    else
        vr_script_error(L, -1, err);
    lua_pop(L, 1);
    return params;
}

void vr_recipe_free(struct vr_recipe *recipe)
{
    if (!recipe)
        return;
    vr_decls_free(recipe->decls);
    json_decref(recipe->params);
    json_decref(recipe->warnings);
    free(recipe);
}

struct vr_decls *vr_recipe_decls(const struct vr_recipe *recipe)
{
    return recipe->decls;
}

const json_t *vr_recipe_params(const struct vr_recipe *recipe)
{
    return recipe->params;
}

const json_t *vr_recipe_warnings(const struct vr_recipe *recipe)
{
    return recipe->warnings;
}
