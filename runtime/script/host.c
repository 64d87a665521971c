#include "script/host.h"

#include <assert.h>
#include <errno.h>
#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/error.h"
#include "net/loop.h"
#include "script/plugin.h"
#include "script/script.h"
#include "script/task.h"
#include "script/value.h"

static char paths_key; /* registry: list of added folders */

/* --- loading --- */

static bool read_file(const char *path, struct vr_buf *out, struct vr_error *err)
{
    FILE *file = fopen(path, "rbe");
    struct stat st;
    if (file && fstat(fileno(file), &st) == 0 && S_ISDIR(st.st_mode)) {
        fclose(file);
        return vr_error_system(err, EISDIR, "cannot read %s", path);
    }
    if (!file)
        return vr_error_system(err, errno, "cannot read %s", path);
    char chunk[16384];
    size_t count;
    while ((count = fread(chunk, 1, sizeof(chunk), file)) > 0)
        vr_buf_add(out, chunk, count);
    bool failed = ferror(file);
    fclose(file);
    return failed ? vr_error_system(err, EIO, "cannot read %s", path) : true;
}

/* Whether a text begins with the name of a chunk: else "127.0.0.1:22: refused" would have a line.
 */
static bool is_chunk(const char *text, size_t length)
{
    return (length > 4 && memcmp(text + length - 4, ".lua", 4) == 0) ||
           (length > 1 && text[0] == '[' && text[length - 1] == ']') ||
           (length == 5 && memcmp(text, "stdin", 5) == 0);
}

/* "name:12: what" -> message, file, line. */
static void set_placed(struct vr_error *err, const char *code, const char *text)
{
    for (const char *colon = strchr(text, ':'); colon; colon = strchr(colon + 1, ':')) {
        char *end;
        long line = strtol(colon + 1, &end, 10);
        if (end == colon + 1 || end[0] != ':' || end[1] != ' ' || line <= 0 ||
            !is_chunk(text, (size_t)(colon - text)))
            continue;
        char *file = vr_strndup(text, (size_t)(colon - text));
        vr_error_set(err, code, "%s", end + 2);
        vr_error_place(err, file, (int)line);
        free(file);
        return;
    }
    vr_error_set(err, code, "%s", text);
}

bool vr_script_load_text(lua_State *L, const char *text, size_t length, const char *name,
                         struct vr_error *err)
{
    if (length > 0 && text[0] == LUA_SIGNATURE[0])
        return vr_error_set(err, "bytecode", "%s is bytecode: only Lua text is loaded",
                            name[0] == '@' || name[0] == '=' ? name + 1 : name);
    if (luaL_loadbufferx(L, text, length, name, "t") == LUA_OK)
        return true;
    const char *message = lua_tostring(L, -1);
    if (err)
        set_placed(err, "syntax", message ? message : "cannot load");
    lua_pop(L, 1);
    return false;
}

bool vr_script_load_file(lua_State *L, const char *path, struct vr_error *err)
{
    struct vr_buf text = {0};
    bool ok = read_file(path, &text, err);
    if (ok) {
        size_t skip = 0; /* a first line of "#!..." */
        if (text.length > 1 && text.data[0] == '#' && text.data[1] == '!') {
            const char *end = memchr(text.data, '\n', text.length);
            skip = end ? (size_t)(end - text.data) : text.length;
        }
        char *name = vr_format("@%s", path);
        ok = vr_script_load_text(L, text.data ? text.data + skip : "", text.length - skip, name,
                                 err);
        free(name);
    }
    vr_buf_free(&text);
    return ok;
}

static const struct vr_stdlib_file *embedded(const char *path)
{
    for (const struct vr_stdlib_file *file = vr_stdlib_files; file->path; file++) {
        if (strcmp(file->path, path) == 0)
            return file;
    }
    return NULL;
}

static const char *stdlib_folder(void)
{
    const char *folder = getenv("VMRUN_STDLIB");
    return folder && *folder ? folder : NULL;
}

bool vr_script_stdlib(lua_State *L, const char *path)
{
    if (stdlib_folder()) {
        char *full = vr_format("%s/%s", stdlib_folder(), path);
        struct vr_buf text = {0};
        bool ok = read_file(full, &text, NULL);
        if (ok)
            lua_pushlstring(L, text.data ? text.data : "", text.length);
        vr_buf_free(&text);
        free(full);
        return ok;
    }
    const struct vr_stdlib_file *file = embedded(path);
    if (file)
        lua_pushlstring(L, (const char *)file->data, file->length);
    return file != NULL;
}

/* --- require --- */

/* The loader of a module's chunk: upvalues are the chunk and the module's name. It is found again
 * on the stack when the chunk tries to wait, which require cannot do. */
static int run_module(lua_State *L)
{
    lua_settop(L, 2);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, 2, 1);
    return 1;
}

const char *vr_script_loading(lua_State *L)
{
    lua_Debug ar;
    for (int level = 0; lua_getstack(L, level, &ar); level++) {
        lua_getinfo(L, "f", &ar);
        const char *name = NULL;
        if (lua_tocfunction(L, -1) == run_module && lua_getupvalue(L, -1, 2)) {
            name = lua_tostring(L, -1);
            lua_pop(L, 1);
        }
        lua_pop(L, 1);
        if (name)
            return name;
    }
    return NULL;
}

static int raise(lua_State *L, struct vr_error *err)
{
    if (err->file)
        lua_pushfstring(L, "%s:%d: %s", err->file, err->line, err->message);
    else
        lua_pushstring(L, err->message);
    vr_error_clear(err);
    return lua_error(L);
}

/* Chunk on top -> loader and where it came from. */
static int push_loader(lua_State *L, const char *name, const char *where)
{
    lua_pushstring(L, name);
    lua_pushcclosure(L, run_module, 2);
    lua_pushstring(L, where);
    return 2;
}

/* Names are words joined by dots: nothing that could leave the folders. */
static bool name_is_plain(const char *name)
{
    bool word = false;
    for (; *name; name++) {
        if (*name == '.'
                ? !word
                : !strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-",
                          *name))
            return false;
        word = *name != '.';
    }
    return word;
}

/* "a.b" -> "a/b" on the stack. */
static const char *push_path(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);
    luaL_argcheck(L, name_is_plain(name), 1, "a module's name is words joined by dots");
    return luaL_gsub(L, name, ".", "/");
}

static lua_CFunction open_of_plugin(lua_State *L, const struct vr_module *module)
{
    struct vr_error err = {0};
    const char *symbol = lua_pushfstring(L, "luaopen_vr_%s", module->name);
    lua_CFunction open = (lua_CFunction)vr_plugin_symbol(module->plugin, symbol, &err);
    if (!open)
        raise(L, &err);
    return open;
}

static int search_bindings(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);
    for (const struct vr_module *module = vr_modules; module->name; module++) {
        if (strcmp(module->name, name) == 0) {
            lua_pushcfunction(L, module->open ? module->open : open_of_plugin(L, module));
            lua_pushliteral(L, ":vmrun:");
            return 2;
        }
    }
    return 0;
}

static int search_stdlib(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);
    const char *path = push_path(L);
    static const char *const forms[] = {"%s.lua", "%s/init.lua"};
    for (int i = 0; i < 2; i++) {
        const char *file = lua_pushfstring(L, forms[i], path);
        if (!vr_script_stdlib(L, file))
            continue;
        const char *chunk = stdlib_folder() ? lua_pushfstring(L, "@%s/%s", stdlib_folder(), file)
                                            : lua_pushfstring(L, "@stdlib/%s", file);
        size_t length;
        const char *text = lua_tolstring(L, -2, &length);
        struct vr_error err = {0};
        if (!stdlib_folder()) { /* our own, and compiled */
            if (luaL_loadbufferx(L, text, length, chunk, "b") != LUA_OK)
                return lua_error(L);
        } else if (!vr_script_load_text(L, text, length, chunk, &err)) {
            return raise(L, &err);
        }
        return push_loader(L, name, chunk + 1);
    }
    lua_pushfstring(L, "it is not in the standard library%s%s", stdlib_folder() ? " in " : "",
                    stdlib_folder() ? stdlib_folder() : "");
    return 1;
}

static int search_paths(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);
    const char *path = push_path(L);
    static const char *const forms[] = {"%s/%s.lua", "%s/%s/init.lua"};
    lua_rawgetp(L, LUA_REGISTRYINDEX, &paths_key);
    int list = lua_gettop(L);
    luaL_Buffer tried;
    lua_Integer count = (lua_Integer)lua_rawlen(L, list);
    for (lua_Integer i = 1; i <= count; i++) {
        lua_rawgeti(L, list, i);
        const char *folder = lua_tostring(L, -1);
        for (int form = 0; form < 2; form++) {
            const char *file = lua_pushfstring(L, forms[form], folder, path);
            struct vr_error err = {0};
            if (vr_script_load_file(L, file, &err))
                return push_loader(L, name, file);
            bool missing =
                strcmp(err.code, "not_found") == 0 || strcmp(err.code, "not_directory") == 0;
            if (!missing)
                return raise(L, &err);
            vr_error_clear(&err);
            lua_pop(L, 1);
        }
        lua_pop(L, 1);
    }
    if (count == 0)
        return 0;
    luaL_buffinit(L, &tried);
    luaL_addstring(&tried, "it is not in ");
    for (lua_Integer i = 1; i <= count; i++) {
        if (i > 1)
            luaL_addstring(&tried, ", ");
        lua_rawgeti(L, list, i);
        luaL_addvalue(&tried);
    }
    luaL_pushresult(&tried);
    return 1;
}

void vr_script_add_path(lua_State *L, const char *folder)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &paths_key);
    lua_pushstring(L, folder);
    lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
    lua_pop(L, 1);
}

static void open_require(lua_State *L)
{
    lua_newtable(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &paths_key);
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "searchers");
    lua_rawgeti(L, -1, 1); /* package.preload */
    lua_createtable(L, 4, 0);
    lua_insert(L, -2);
    lua_rawseti(L, -2, 1);
    static const lua_CFunction searchers[] = {search_bindings, search_stdlib, search_paths};
    for (int i = 0; i < 3; i++) {
        lua_pushcfunction(L, searchers[i]);
        lua_rawseti(L, -2, i + 2);
    }
    lua_setfield(L, -3, "searchers");
    lua_pop(L, 1);
    lua_pushliteral(L, "");
    lua_setfield(L, -2, "path");
    lua_pushliteral(L, "");
    lua_setfield(L, -2, "cpath");
    lua_pushnil(L);
    lua_setfield(L, -2, "loadlib");
    lua_pop(L, 1);
}

/* --- the state --- */

static int panic(lua_State *L)
{
    const char *message = lua_tostring(L, -1);
    fprintf(stderr, "vmrun: bug: an error outside of protected code: %s\n",
            message ? message : "(no text)");
    return 0; /* Lua aborts */
}

static int open_state(lua_State *L)
{
    luaL_openlibs(L);
    vr_limit_open(L);
    vr_tasks_open(L);
    vr_values_open(L);
    open_require(L);
    return 0;
}

struct vr_script *vr_script_new(struct vr_loop *loop)
{
    struct vr_script *script = vr_alloc(sizeof(*script));
    script->loop = loop;
    lua_State *L = lua_newstate(vr_limit_alloc, script);
    if (!L)
        abort();
    script->L = L;
    *(struct vr_script **)lua_getextraspace(L) = script;
    lua_atpanic(L, panic);
    lua_pushcfunction(L, open_state);
    lua_call(L, 0, 0);
    return script;
}

void vr_script_free(struct vr_script *script)
{
    if (!script)
        return;
    vr_script_limit(script->L, 0, 0);
    vr_tasks_abandon(script);
    lua_close(script->L);
    vr_pool_clear(&script->pool);
    if (script->turn_queued) /* the loop still holds a call for it */
        script->closed = true;
    else
        free(script);
}

lua_State *vr_script_lua(struct vr_script *script)
{
    return script->L;
}

/* --- errors --- */

int vr_script_traceback(lua_State *L)
{
    const char *wanted = getenv("VMRUN_TRACEBACK");
    if (!wanted || strcmp(wanted, "1") != 0)
        return 1;
    if (lua_type(L, 1) == LUA_TSTRING) {
        luaL_traceback(L, L, lua_tostring(L, 1), 1);
    } else if (lua_istable(L, 1)) {
        luaL_traceback(L, L, NULL, 1);
        lua_pushliteral(L, "traceback");
        lua_insert(L, -2);
        lua_rawset(L, 1);
        lua_settop(L, 1);
    }
    return 1;
}

/* A text field of the table at index; the caller frees. */
static char *raw_text(lua_State *L, int index, const char *name)
{
    lua_pushstring(L, name);
    lua_rawget(L, index);
    char *text = lua_isstring(L, -1) ? vr_strdup(lua_tostring(L, -1)) : NULL;
    lua_pop(L, 1);
    return text;
}

static int raw_number(lua_State *L, int index, const char *name)
{
    lua_pushstring(L, name);
    lua_rawget(L, index);
    lua_Number number = lua_tonumber(L, -1);
    lua_pop(L, 1);
    return number >= 1 && number < 1e9 ? (int)number : 0;
}

static void read_table(lua_State *L, int index, struct vr_error *err)
{
    char *message = raw_text(L, index, "message");
    char *traceback = raw_text(L, index, "traceback");
    char *code = raw_text(L, index, "code"), *hint = raw_text(L, index, "hint");
    char *file = raw_text(L, index, "file");
    if (message)
        vr_error_set(err, code, "%s%s%s", message, traceback ? "\n" : "",
                     traceback ? traceback : "");
    if (message && hint)
        vr_error_hint(err, "%s", hint);
    if (message && file) {
        vr_error_place(err, file, raw_number(L, index, "line"));
        err->column = raw_number(L, index, "column");
        err->width = raw_number(L, index, "width");
    }
    free(message);
    free(traceback);
    free(code);
    free(hint);
    free(file);
}

static int to_text(lua_State *L)
{
    luaL_tolstring(L, 1, NULL);
    return 1;
}

static void read_other(lua_State *L, int index, struct vr_error *err)
{
    lua_pushcfunction(L, to_text);
    lua_pushvalue(L, index);
    bool ok = lua_pcall(L, 1, 1, 0) == LUA_OK && lua_isstring(L, -1);
    vr_error_set(err, "lua", "%s", ok ? lua_tostring(L, -1) : "an error that has no text");
    lua_pop(L, 1);
}

void vr_script_error(lua_State *L, int index, struct vr_error *err)
{
    if (!err)
        return;
    index = lua_absindex(L, index);
    struct vr_script *script = vr_script_of(L);
    script->limit.exempt++;
    lua_checkstack(L, 4);
    vr_error_clear(err);
    if (lua_type(L, index) == LUA_TSTRING) {
        const char *text = lua_tostring(L, index);
        if (strcmp(text, "not enough memory") == 0 && script->limit.bytes) {
            char *full = vr_format("%smore than %zu MiB of memory are in use", script->limit.place,
                                   script->limit.bytes >> 20);
            set_placed(err, "memory", full);
            free(full);
        } else {
            set_placed(err, "lua", text);
        }
    } else if (lua_istable(L, index)) {
        read_table(L, index, err);
    }
    if (!err->message)
        read_other(L, index, err);
    script->limit.exempt--;
}

int vr_script_fail(lua_State *L, struct vr_error *err)
{
    lua_pushnil(L);
    lua_pushstring(L, err->message ? err->message : "failed");
    lua_pushstring(L, err->code);
    vr_error_clear(err);
    return 3;
}

struct vr_loop *vr_script_loop(lua_State *L)
{
    return vr_script_of(L)->loop;
}
