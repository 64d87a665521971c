/* What the recipe language (stdlib/recipe/) builds with: expressions and declarations of the
 * engine, as light userdata, and proxies: userdata with a table behind them. Only the standard
 * library gets this module, never a recipe. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <lauxlib.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/mask.h"
#include "engine/decl.h"
#include "engine/function.h"
#include "script/declare.h"
#include "script/host.h"
#include "script/provider.h"
#include "script/value.h"

static const char current_key, proxy_key, limit_key;

enum { LARGEST_FILE = 64 << 20 };

void vr_declare_into(lua_State *L, struct vr_decls *decls)
{
    lua_pushlightuserdata(L, decls);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &current_key);
}

struct vr_decls *vr_declare_current(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &current_key);
    struct vr_decls *decls = lua_touserdata(L, -1);
    lua_pop(L, 1);
    if (!decls)
        luaL_error(L, "no recipe is being read");
    return decls;
}

static struct vr_exprs *exprs_of(lua_State *L)
{
    return vr_decls_exprs(vr_declare_current(L));
}

static void *pointer(lua_State *L, int index)
{
    luaL_checktype(L, index, LUA_TLIGHTUSERDATA);
    return lua_touserdata(L, index);
}

static int push(lua_State *L, void *object)
{
    lua_pushlightuserdata(L, object);
    return 1;
}

static int failed(lua_State *L, struct vr_error *err)
{
    lua_pushnil(L);
    lua_pushstring(L, err->message ? err->message : "failed");
    lua_pushstring(L, err->code);
    vr_error_clear(err);
    return 3;
}

/* Proxies */

static int declare_proxy(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_newuserdatauv(L, 0, 1);
    lua_pushvalue(L, 2);
    lua_setiuservalue(L, -2, 1);
    lua_pushboolean(L, true);
    lua_rawsetp(L, 1, &proxy_key);
    lua_pushvalue(L, 1);
    lua_setmetatable(L, -2);
    return 1;
}

bool vr_declare_data(lua_State *L, int index)
{
    if (lua_type(L, index) != LUA_TUSERDATA || !lua_getmetatable(L, index))
        return false;
    bool proxy = lua_rawgetp(L, -1, &proxy_key) == LUA_TBOOLEAN;
    lua_pop(L, 2);
    if (proxy)
        lua_getiuservalue(L, index, 1);
    return proxy;
}

static int declare_data(lua_State *L)
{
    return vr_declare_data(L, 1);
}

/* Expressions */

static json_t *value_at(lua_State *L, int index)
{
    struct vr_error err = {0};
    json_t *value = vr_value_get(L, index, &err);
    if (value)
        return value;
    lua_pushstring(L, err.message);
    vr_error_clear(&err);
    lua_error(L);
    return NULL;
}

static int declare_literal(lua_State *L)
{
    struct vr_exprs *exprs = exprs_of(L);
    json_t *value = lua_isnoneornil(L, 1) ? json_null() : value_at(L, 1);
    return push(L, vr_expr_literal(exprs, value));
}

static int declare_sealed(lua_State *L)
{
    struct vr_exprs *exprs = exprs_of(L);
    size_t length;
    const char *text = luaL_checklstring(L, 1, &length);
    json_t *secret = json_pack("{s:o}", "$secret", json_stringn(text, length));
    if (!secret)
        return luaL_error(L, "a secret is not UTF-8 text");
    vr_mask_secret(text, length);
    return push(L, vr_expr_literal(exprs, secret));
}

/* The expressions of the list at index, in the arena. */
static struct vr_expr **items_at(lua_State *L, struct vr_exprs *exprs, int index, size_t *count)
{
    luaL_checktype(L, index, LUA_TTABLE);
    *count = lua_rawlen(L, index);
    struct vr_expr **items = vr_arena_alloc(vr_exprs_arena(exprs), (*count + 1) * sizeof(*items));
    for (size_t i = 0; i < *count; i++) {
        lua_rawgeti(L, index, (lua_Integer)i + 1);
        items[i] = pointer(L, -1);
        lua_pop(L, 1);
    }
    return items;
}

static int declare_array(lua_State *L)
{
    struct vr_exprs *exprs = exprs_of(L);
    size_t count;
    struct vr_expr **items = items_at(L, exprs, 1, &count);
    return push(L, vr_expr_array(exprs, items, count));
}

static int declare_object(lua_State *L)
{
    struct vr_exprs *exprs = exprs_of(L);
    size_t count;
    luaL_checktype(L, 1, LUA_TTABLE);
    struct vr_expr **items = items_at(L, exprs, 2, &count);
    const char **keys = vr_arena_alloc(vr_exprs_arena(exprs), (count + 1) * sizeof(*keys));
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, 1, (lua_Integer)i + 1);
        keys[i] = vr_arena_strdup(vr_exprs_arena(exprs), luaL_checkstring(L, -1));
        lua_pop(L, 1);
    }
    return push(L, vr_expr_object(exprs, keys, items, count));
}

static int declare_ref(lua_State *L)
{
    return push(L, vr_expr_ref(exprs_of(L), pointer(L, 1), NULL));
}

static int declare_item(lua_State *L)
{
    return push(L, vr_expr_item(exprs_of(L), pointer(L, 1), NULL));
}

static int declare_index(lua_State *L)
{
    struct vr_exprs *exprs = exprs_of(L);
    struct vr_expr *of = pointer(L, 1);
    json_t *step = lua_isinteger(L, 2) ? json_integer(lua_tointeger(L, 2))
                                       : json_string(luaL_checkstring(L, 2));
    if (!step)
        return luaL_error(L, "a name is not UTF-8 text");
    return push(L, vr_expr_index(exprs, of, step));
}

static int declare_join(lua_State *L)
{
    struct vr_exprs *exprs = exprs_of(L);
    size_t count;
    struct vr_expr **items = items_at(L, exprs, 1, &count);
    return push(L, vr_expr_join(exprs, items, count));
}

static int declare_call(lua_State *L)
{
    struct vr_exprs *exprs = exprs_of(L);
    const char *name = luaL_checkstring(L, 1);
    size_t count;
    struct vr_expr **items = items_at(L, exprs, 2, &count);
    struct vr_error err = {0};
    struct vr_expr *call = vr_expr_call(exprs, name, items, count, &err);
    return call ? push(L, call) : failed(L, &err);
}

static int declare_gather(lua_State *L)
{
    return push(L, vr_expr_gather(exprs_of(L), pointer(L, 1), pointer(L, 2)));
}

static int declare_secret(lua_State *L)
{
    return push(L, vr_expr_secret(exprs_of(L), pointer(L, 1)));
}

static int declare_constant(lua_State *L)
{
    lua_pushboolean(L, vr_expr_constant(pointer(L, 1)));
    return 1;
}

static int declare_tainted(lua_State *L)
{
    lua_pushboolean(L, vr_expr_tainted(pointer(L, 1)));
    return 1;
}

static int declare_text(lua_State *L)
{
    char *text = vr_expr_text(pointer(L, 1));
    lua_pushstring(L, text);
    free(text);
    return 1;
}

static int declare_eval(lua_State *L)
{
    struct vr_error err = {0};
    json_t *value = vr_expr_eval(pointer(L, 1), NULL, &err);
    if (!value)
        return failed(L, &err);
    if (json_is_null(value))
        lua_pushnil(L);
    else
        vr_value_push(L, value);
    json_decref(value);
    return 1;
}

static int declare_functions(lua_State *L)
{
    size_t count;
    const struct vr_function *functions = vr_function_list(&count);
    lua_createtable(L, (int)count, 0);
    for (size_t i = 0; i < count; i++) {
        lua_pushstring(L, functions[i].name);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

/* Declarations */

static int declare_kind(lua_State *L)
{
    struct vr_error err = {0};
    const struct vr_kind *kind = vr_provider_page(vr_provider_of(L), L, 2, &err);
    return kind ? push(L, (void *)kind) : failed(L, &err);
}

/* add(kind, name, prefix, scope, file, line): the address is PREFIX KIND.NAME. */
static int declare_add(lua_State *L)
{
    struct vr_decls *decls = vr_declare_current(L);
    const struct vr_kind *kind = pointer(L, 1);
    const char *name = luaL_checkstring(L, 2), *prefix = luaL_checkstring(L, 3);
    struct vr_scope *scope = lua_isnoneornil(L, 4) ? NULL : pointer(L, 4);
    const char *file = luaL_checkstring(L, 5);
    int line = (int)luaL_checkinteger(L, 6);
    struct vr_error err = {0};
    char *address = vr_format("%s%s.%s", prefix, kind->name, name);
    struct vr_decl *decl = vr_decls_add(decls, kind, name, address, scope, file, line, &err);
    free(address);
    return decl ? push(L, decl) : failed(L, &err);
}

static int declare_set(lua_State *L)
{
    vr_decl_set(vr_declare_current(L), pointer(L, 1), luaL_checkstring(L, 2), pointer(L, 3),
                luaL_checkstring(L, 4), (int)luaL_checkinteger(L, 5));
    return 0;
}

static int declare_after(lua_State *L)
{
    vr_decl_after(vr_declare_current(L), pointer(L, 1), pointer(L, 2));
    return 0;
}

/* tally(max_fail or nil: any number) -> pointer */
static int declare_tally(lua_State *L)
{
    lua_Integer most = luaL_optinteger(L, 1, -1);
    return push(L, vr_decls_tally(vr_declare_current(L), most < 0 ? SIZE_MAX : (size_t)most));
}

/* join(decl, tally, any) */
static int declare_join_of(lua_State *L)
{
    struct vr_decl *decl = pointer(L, 1);
    decl->tally = pointer(L, 2);
    decl->any = lua_toboolean(L, 3);
    return 0;
}

/* turn_of(join, decl, at_once, share): both of one scope */
static int declare_turn_of(lua_State *L)
{
    struct vr_decl *join = pointer(L, 1);
    join->turn = pointer(L, 2);
    join->at_once = (size_t)luaL_checkinteger(L, 3);
    join->share = lua_toboolean(L, 4);
    return 0;
}

static int declare_trigger(lua_State *L)
{
    vr_decl_trigger(vr_declare_current(L), pointer(L, 1), pointer(L, 2));
    return 0;
}

static int declare_ignore(lua_State *L)
{
    vr_decl_ignore(vr_declare_current(L), pointer(L, 1), luaL_checkstring(L, 2));
    return 0;
}

static int declare_lifecycle(lua_State *L)
{
    struct vr_decl *decl = pointer(L, 1);
    decl->protect = lua_toboolean(L, 2);
    decl->create_before_destroy = lua_toboolean(L, 3);
    return 0;
}

static int declare_version(lua_State *L)
{
    lua_pushliteral(L, VMRUN_VERSION);
    return 1;
}

/* timeout(decl, verb, seconds): false when there is no such verb */
static int declare_timeout(lua_State *L)
{
    struct vr_decl *decl = pointer(L, 1);
    const char *name = luaL_checkstring(L, 2);
    double seconds = luaL_checknumber(L, 3);
    bool known = false;
    for (int verb = 0; verb < VR_VERBS && !known; verb++) {
        known = strcmp(vr_verb_name((enum vr_verb)verb), name) == 0;
        if (known)
            decl->timeouts[verb] = seconds;
    }
    lua_pushboolean(L, known);
    return 1;
}

static int declare_address(lua_State *L)
{
    const struct vr_decl *decl = pointer(L, 1);
    lua_pushstring(L, decl->address);
    return 1;
}

/* The declaration whose collection an expression is; nothing when it is another value. */
static int declare_collection(lua_State *L)
{
    const struct vr_expr *expr = pointer(L, 1);
    if (expr->type != VR_EXPR_REF || !expr->decl->kind->collection ||
        json_array_size(expr->path) != 1)
        return 0;
    const char *name = json_string_value(json_array_get(expr->path, 0));
    if (!name || strcmp(name, expr->decl->kind->collection) != 0)
        return 0;
    return push(L, expr->decl);
}

static int declare_scope(lua_State *L)
{
    struct vr_error err = {0};
    struct vr_scope *scope = vr_decls_scope(vr_declare_current(L), pointer(L, 1), &err);
    return scope ? push(L, scope) : failed(L, &err);
}

static int declare_output(lua_State *L)
{
    struct vr_error err = {0};
    if (!vr_decls_output(vr_declare_current(L), luaL_checkstring(L, 1), pointer(L, 2), NULL,
                         luaL_checkstring(L, 3), (int)luaL_checkinteger(L, 4), &err))
        return failed(L, &err);
    lua_pushboolean(L, true);
    return 1;
}

static int declare_moved(lua_State *L)
{
    vr_decls_moved(vr_declare_current(L), luaL_checkstring(L, 1), luaL_checkstring(L, 2));
    return 0;
}

static int declare_removed(lua_State *L)
{
    vr_decls_removed(vr_declare_current(L), luaL_checkstring(L, 1));
    return 0;
}

static int declare_error(lua_State *L)
{
    struct vr_error err = {0};
    vr_error_set(&err, "recipe", "%s", luaL_checkstring(L, 1));
    if (!lua_isnoneornil(L, 2))
        vr_error_hint(&err, "%s", luaL_checkstring(L, 2));
    vr_error_place(&err, luaL_checkstring(L, 3), (int)luaL_checkinteger(L, 4));
    err.column = (int)luaL_optinteger(L, 5, 0);
    err.width = (int)luaL_optinteger(L, 6, 0);
    vr_decls_error(vr_declare_current(L), &err);
    return 0;
}

/* Errors */

/* The place of the recipe's code that runs, from the set of chunk names at index. */
static bool recipe_place(lua_State *L, int files, lua_Debug *ar)
{
    for (int level = 0; lua_getstack(L, level, ar); level++) {
        if (!lua_getinfo(L, "Sl", ar) || ar->currentline <= 0)
            continue;
        bool found = lua_getfield(L, files, ar->source) != LUA_TNIL;
        lua_pop(L, 1);
        if (found)
            return true;
    }
    return false;
}

/* place(files): the source of the recipe's code that runs, out of the table by chunk name, and its
 * line; nothing when none runs. */
static int declare_place(lua_State *L)
{
    lua_Debug ar;
    luaL_checktype(L, 1, LUA_TTABLE);
    if (!recipe_place(L, 1, &ar))
        return 0;
    lua_getfield(L, 1, ar.source);
    lua_pushinteger(L, ar.currentline);
    return 2;
}

/* Constructors: `kind "name" { fields }` is two calls. Most recipes are made of them, so neither
 * makes a table. */

/* A text of letters, digits, '_', '-' and '.' that begins with none of the last two. */
static bool is_name(lua_State *L, int index)
{
    size_t length = 0;
    const char *name = lua_type(L, index) == LUA_TSTRING ? lua_tolstring(L, index, &length) : NULL;
    bool good = length > 0 && name[0] != '-' && name[0] != '.';
    for (size_t i = 0; good && i < length; i++)
        good = isalnum((unsigned char)name[i]) || (name[i] && strchr("_-.", name[i]));
    return good;
}

static int declare_is_name(lua_State *L)
{
    lua_pushboolean(L, is_name(L, 1));
    return 1;
}

/* Upvalues of both: what constructor() was given; of the second then the name, where it stands, and
 * the component and the loop around it. */
enum { PAGE = 1, KIND, NOW, DECLARE, NAME, REFUSE = NAME, AT_FILE, AT_LINE, PREFIX, SCOPE };

static void push_now(lua_State *L, const char *field)
{
    lua_getfield(L, lua_upvalueindex(NOW), field);
}

static void set_now(lua_State *L, const char *field)
{
    lua_setfield(L, lua_upvalueindex(NOW), field);
}

/* The second call: ({ fields }) -> the resource, or poison. */
static int construct(lua_State *L)
{
    static const int passed[] = {PAGE, KIND, NAME, AT_FILE, AT_LINE};
    lua_Debug ar;
    lua_settop(L, 1);
    push_now(L, "pending");
    lua_getstack(L, 0, &ar);
    lua_getinfo(L, "f", &ar);
    lua_pushnil(L);
    lua_rawset(L, 2);
    push_now(L, "prefix");
    push_now(L, "scope");
    lua_pushvalue(L, lua_upvalueindex(PREFIX));
    set_now(L, "prefix");
    lua_pushvalue(L, lua_upvalueindex(SCOPE));
    set_now(L, "scope");
    lua_pushvalue(L, lua_upvalueindex(DECLARE));
    for (size_t i = 0; i < sizeof(passed) / sizeof(*passed); i++)
        lua_pushvalue(L, lua_upvalueindex(passed[i]));
    lua_pushvalue(L, 1);
    lua_call(L, 6, 1);
    lua_insert(L, 3); /* below what was before */
    set_now(L, "scope");
    set_now(L, "prefix");
    return 1;
}

/* The first call: ("name") -> the second, which now.pending holds until it is called. */
static int name_it(lua_State *L)
{
    lua_Debug ar;
    lua_settop(L, 1);
    if (!is_name(L, 1)) {
        lua_pushvalue(L, lua_upvalueindex(REFUSE));
        lua_pushvalue(L, lua_upvalueindex(PAGE));
        lua_pushvalue(L, 1);
        lua_call(L, 2, 1);
        return 1;
    }
    for (int i = PAGE; i < NAME; i++)
        lua_pushvalue(L, lua_upvalueindex(i));
    lua_pushvalue(L, 1);
    push_now(L, "files");
    if (recipe_place(L, lua_gettop(L), &ar)) {
        lua_getfield(L, -1, ar.source);
        lua_getfield(L, -1, "path");
        lua_replace(L, -3);
        lua_pop(L, 1);
        lua_pushinteger(L, ar.currentline);
    } else {
        lua_pop(L, 1);
        push_now(L, "path");
        lua_pushinteger(L, 1);
    }
    push_now(L, "prefix");
    push_now(L, "scope");
    lua_pushcclosure(L, construct, SCOPE);
    push_now(L, "pending");
    lua_pushvalue(L, 2);
    lua_pushboolean(L, true);
    lua_rawset(L, 3);
    lua_settop(L, 2);
    return 1;
}

/* constructor(page, kind, now, declare, refuse): declare(page, kind, name, file, line, fields)
 * makes the resource; refuse(page, name) gives what takes the place of one with a bad name. */
static int declare_constructor(lua_State *L)
{
    lua_settop(L, REFUSE);
    lua_pushcclosure(L, name_it, REFUSE);
    return 1;
}

/* waiting(second) -> page, name, file, line */
static int declare_waiting(lua_State *L)
{
    static const int told[] = {PAGE, NAME, AT_FILE, AT_LINE};
    luaL_argcheck(L, lua_tocfunction(L, 1) == construct, 1, "no constructor");
    for (size_t i = 0; i < sizeof(told) / sizeof(*told); i++)
        lua_getupvalue(L, 1, told[i]);
    return 4;
}

/* The message handler of evaluations. Lua code cannot handle the end of a recipe's time, since
 * every further instruction fails: that one is noted here, with its place, and passed on; all else
 * goes to the function. */
static int handle(lua_State *L)
{
    const char *text = lua_type(L, 1) == LUA_TSTRING ? lua_tostring(L, 1) : NULL;
    const char *limit = text ? strstr(text, "still running after") : NULL;
    if (!limit) {
        lua_pushvalue(L, lua_upvalueindex(1));
        lua_pushvalue(L, 1);
        lua_call(L, 1, 1);
        return 1;
    }
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &limit_key) == LUA_TNIL) {
        lua_Debug ar;
        lua_pushvalue(L, lua_upvalueindex(2));
        if (recipe_place(L, lua_gettop(L), &ar))
            lua_pushfstring(L, "%s:%d: %s", ar.source + 1, ar.currentline, limit);
        else
            lua_pushvalue(L, 1);
        lua_rawsetp(L, LUA_REGISTRYINDEX, &limit_key);
    }
    lua_settop(L, 1);
    return 1;
}

/* handler(fn, files) */
static int declare_handler(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    lua_pushcclosure(L, handle, 2);
    return 1;
}

bool vr_declare_limit(lua_State *L)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &limit_key) == LUA_TNIL) {
        lua_pop(L, 1);
        return false;
    }
    lua_pushnil(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &limit_key);
    return true;
}

/* Files beside the recipe */

static int no_file(lua_State *L, const char *path)
{
    int problem = errno;
    lua_pushnil(L);
    if (problem == ENOENT || problem == ENOTDIR)
        lua_pushfstring(L, "there is no file '%s'", path);
    else
        lua_pushfstring(L, "'%s' cannot be read: %s", path, strerror(problem));
    lua_pushstring(L, problem == ENOENT || problem == ENOTDIR ? "absent" : "io");
    return 3;
}

static bool is_below(const char *path, const char *root)
{
    size_t length = strlen(root);
    if (strcmp(root, "/") == 0)
        return true;
    return strncmp(path, root, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

static int read_whole(lua_State *L, const char *real, const char *path)
{
    struct stat about;
    if (stat(real, &about) != 0)
        return no_file(L, path);
    if (S_ISDIR(about.st_mode)) {
        errno = EISDIR;
        return no_file(L, path);
    }
    if (!S_ISREG(about.st_mode) || about.st_size > LARGEST_FILE) {
        lua_pushnil(L);
        lua_pushfstring(
            L, S_ISREG(about.st_mode) ? "'%s' is larger than 64 MiB" : "'%s' is not a regular file",
            path);
        return 2;
    }
    FILE *file = fopen(real, "rb");
    if (!file)
        return no_file(L, path);
    struct vr_buf text = {0};
    char block[65536];
    size_t got;
    while ((got = fread(block, 1, sizeof(block), file)) > 0)
        vr_buf_add(&text, block, got);
    bool bad = ferror(file);
    fclose(file);
    if (bad) {
        vr_buf_free(&text);
        errno = EIO;
        return no_file(L, path);
    }
    /* The text is the program's until Lua has its own copy; a Lua that has no memory for it ends
     * the recipe anyway. */
    lua_pushlstring(L, text.data ? text.data : "", text.length);
    vr_buf_free(&text);
    return 1;
}

/* read(path [, root]) -> text, or nil, message, code. With a root, links that lead out of it are
 * refused. */
static int declare_read(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1), *root = luaL_optstring(L, 2, NULL);
    char real[PATH_MAX], real_root[PATH_MAX];
    if (!realpath(path, real))
        return no_file(L, path);
    if (root) {
        if (!realpath(root, real_root))
            return no_file(L, root);
        if (!is_below(real, real_root)) {
            lua_pushnil(L);
            lua_pushfstring(L, "'%s' leads out of the recipe's folder, to %s", path, real);
            return 2;
        }
    }
    return read_whole(L, real, path);
}

/* list(folder) -> names, or nothing when it is no folder. */
static int declare_list(lua_State *L)
{
    DIR *folder = opendir(luaL_checkstring(L, 1));
    if (!folder)
        return 0;
    lua_newtable(L);
    lua_Integer n = 0;
    for (struct dirent *entry; (entry = readdir(folder));) {
        if (entry->d_name[0] == '.')
            continue;
        lua_pushstring(L, entry->d_name);
        lua_rawseti(L, -2, ++n);
    }
    closedir(folder);
    return 1;
}

/* stdlib() -> the paths of the embedded standard library. */
static int declare_stdlib(lua_State *L)
{
    lua_newtable(L);
    for (size_t i = 0; vr_stdlib_files[i].path; i++) {
        lua_pushstring(L, vr_stdlib_files[i].path);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

static int declare_environment(lua_State *L)
{
    lua_pushstring(L, getenv(luaL_checkstring(L, 1)));
    return 1;
}

static const luaL_Reg functions[] = {
    {"proxy", declare_proxy},
    {"data", declare_data},
    {"literal", declare_literal},
    {"sealed", declare_sealed},
    {"array", declare_array},
    {"object", declare_object},
    {"ref", declare_ref},
    {"item", declare_item},
    {"index", declare_index},
    {"join", declare_join},
    {"call", declare_call},
    {"gather", declare_gather},
    {"secret", declare_secret},
    {"constant", declare_constant},
    {"tainted", declare_tainted},
    {"text", declare_text},
    {"eval", declare_eval},
    {"functions", declare_functions},
    {"is_name", declare_is_name},
    {"constructor", declare_constructor},
    {"waiting", declare_waiting},
    {"kind", declare_kind},
    {"add", declare_add},
    {"set", declare_set},
    {"after", declare_after},
    {"tally", declare_tally},
    {"join_of", declare_join_of},
    {"turn_of", declare_turn_of},
    {"trigger", declare_trigger},
    {"ignore", declare_ignore},
    {"lifecycle", declare_lifecycle},
    {"timeout", declare_timeout},
    {"version", declare_version},
    {"address", declare_address},
    {"collection", declare_collection},
    {"scope", declare_scope},
    {"output", declare_output},
    {"moved", declare_moved},
    {"removed", declare_removed},
    {"error", declare_error},
    {"place", declare_place},
    {"handler", declare_handler},
    {"read", declare_read},
    {"list", declare_list},
    {"stdlib", declare_stdlib},
    {"environment", declare_environment},
    {NULL, NULL},
};

int luaopen_vr_declare(lua_State *L);
int luaopen_vr_declare(lua_State *L)
{
    luaL_newlib(L, functions);
    vr_declare_accepting(L);
    return 1;
}
