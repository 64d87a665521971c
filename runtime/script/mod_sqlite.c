/* sqlite: a small database in a file, for the emulator's store. Statements run at once on the
 * loop's thread, so they must be small. Values: nil, integers, numbers, texts (any bytes); booleans
 * are 0 and 1. */
#include <lauxlib.h>
#include <lua.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "script/value.h"

struct database {
    sqlite3 *handle; /* NULL: closed */
};

static const char type_name[] = "vr.sqlite";

static int fail(lua_State *L, sqlite3 *handle, int code)
{
    lua_pushnil(L);
    lua_pushstring(L, handle ? sqlite3_errmsg(handle) : sqlite3_errstr(code));
    switch (code & 0xff) {
    case SQLITE_FULL:
        lua_pushliteral(L, "disk");
        break;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        lua_pushliteral(L, "locked");
        break;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        lua_pushliteral(L, "corrupt");
        break;
    case SQLITE_CONSTRAINT:
        lua_pushliteral(L, "constraint");
        break;
    default:
        lua_pushliteral(L, "sqlite");
    }
    return 3;
}

static sqlite3 *check(lua_State *L)
{
    struct database *db = luaL_checkudata(L, 1, type_name);
    luaL_argcheck(L, db->handle, 1, "the database is closed");
    return db->handle;
}

static int db_close(lua_State *L)
{
    struct database *db = luaL_checkudata(L, 1, type_name);
    sqlite3_close_v2(db->handle);
    db->handle = NULL;
    return 0;
}

static void bind(lua_State *L, sqlite3_stmt *statement, int at, int index)
{
    switch (lua_type(L, index)) {
    case LUA_TNUMBER:
        if (lua_isinteger(L, index))
            sqlite3_bind_int64(statement, at, lua_tointeger(L, index));
        else
            sqlite3_bind_double(statement, at, lua_tonumber(L, index));
        return;
    case LUA_TBOOLEAN:
        sqlite3_bind_int(statement, at, lua_toboolean(L, index));
        return;
    case LUA_TSTRING: {
        size_t length;
        const char *text = lua_tolstring(L, index, &length);
        sqlite3_bind_text64(statement, at, text, length, SQLITE_TRANSIENT, SQLITE_UTF8);
        return;
    }
    default:
        sqlite3_bind_null(statement, at);
    }
}

static void push_column(lua_State *L, sqlite3_stmt *statement, int column)
{
    switch (sqlite3_column_type(statement, column)) {
    case SQLITE_INTEGER:
        lua_pushinteger(L, sqlite3_column_int64(statement, column));
        return;
    case SQLITE_FLOAT:
        lua_pushnumber(L, sqlite3_column_double(statement, column));
        return;
    case SQLITE_NULL:
        lua_pushnil(L);
        return;
    default: {
        const void *data = sqlite3_column_blob(statement, column);
        lua_pushlstring(L, data ? data : "", (size_t)sqlite3_column_bytes(statement, column));
    }
    }
}

static sqlite3_stmt *prepare(lua_State *L, sqlite3 *handle, int *code)
{
    size_t length;
    const char *sql = luaL_checklstring(L, 2, &length);
    sqlite3_stmt *statement = NULL;
    *code = sqlite3_prepare_v2(handle, sql, (int)length, &statement, NULL);
    if (!statement)
        return NULL;
    int count = sqlite3_bind_parameter_count(statement);
    for (int i = 1; i <= count; i++)
        bind(L, statement, i, 2 + i);
    return statement;
}

/// db:exec(sql, ...): runs one statement with values for its `?`s. Returns the number of changed
/// rows.
static int db_exec(lua_State *L)
{
    sqlite3 *handle = check(L);
    int code;
    sqlite3_stmt *statement = prepare(L, handle, &code);
    if (statement) {
        do
            code = sqlite3_step(statement);
        while (code == SQLITE_ROW);
        sqlite3_finalize(statement);
    }
    if (code != SQLITE_DONE && code != SQLITE_OK)
        return fail(L, handle, code);
    lua_pushinteger(L, sqlite3_changes(handle));
    return 1;
}

/* A statement that is finalized even when Lua raises while a row is built. */
static int statement_gc(lua_State *L)
{
    sqlite3_stmt **statement = luaL_checkudata(L, 1, "vr.sqlite.statement");
    sqlite3_finalize(*statement);
    *statement = NULL;
    return 0;
}

/// db:query(sql, ...): a list of rows, each a table by column name.
static int db_query(lua_State *L)
{
    sqlite3 *handle = check(L);
    /* behind the values: a missing one binds as null */
    sqlite3_stmt **holder = lua_newuserdatauv(L, sizeof(*holder), 0);
    *holder = NULL;
    luaL_setmetatable(L, "vr.sqlite.statement");
    int code;
    sqlite3_stmt *statement = *holder = prepare(L, handle, &code);
    if (!statement && code != SQLITE_OK)
        return fail(L, handle, code);
    lua_newtable(L);
    int columns = statement ? sqlite3_column_count(statement) : 0;
    for (lua_Integer row = 1; statement && (code = sqlite3_step(statement)) == SQLITE_ROW; row++) {
        lua_createtable(L, 0, columns);
        for (int i = 0; i < columns; i++) {
            push_column(L, statement, i);
            lua_setfield(L, -2, sqlite3_column_name(statement, i));
        }
        lua_seti(L, -2, row);
    }
    sqlite3_finalize(statement);
    *holder = NULL;
    if (statement && code != SQLITE_DONE)
        return fail(L, handle, code);
    return 1;
}

static int end_transaction(lua_State *L, bool ok)
{
    sqlite3 *handle = check(L);
    int code = sqlite3_exec(handle, ok ? "COMMIT" : "ROLLBACK", NULL, NULL, NULL);
    if (!ok)
        return lua_error(L);
    if (code != SQLITE_OK) {
        sqlite3_exec(handle, "ROLLBACK", NULL, NULL, NULL);
        return fail(L, handle, code);
    }
    lua_pushboolean(L, 1);
    return 1;
}

/// db:transaction(fn): runs fn inside a transaction; an error rolls back and goes on. fn must not
/// wait for anything, for
// other tasks would write into it.
static int db_transaction(lua_State *L)
{
    sqlite3 *handle = check(L);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_settop(L, 2);
    int code = sqlite3_exec(handle, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    if (code != SQLITE_OK)
        return fail(L, handle, code);
    int status = lua_pcall(L, 0, 0, 0);
    return end_transaction(L, status == LUA_OK);
}

static const char *synchronous_of(lua_State *L)
{
    static const char *const words[] = {"OFF", "NORMAL", "FULL", "EXTRA", NULL};
    if (lua_isnoneornil(L, 2))
        return "FULL";
    lua_getfield(L, 2, "synchronous");
    const char *word = words[luaL_checkoption(L, -1, "FULL", words)];
    lua_pop(L, 1);
    return word;
}

/// open(path, {synchronous="FULL"}): a database with a write-ahead log, made 0600.
static int sqlite_open(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    const char *synchronous = synchronous_of(L);
    struct database *db = lua_newuserdatauv(L, sizeof(*db), 0);
    db->handle = NULL;
    luaL_setmetatable(L, type_name);
    mode_t old = umask(077);
    int code = sqlite3_open_v2(path, &db->handle, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL);
    char pragma[64];
    sqlite3_snprintf(sizeof(pragma), pragma, "PRAGMA synchronous=%s", synchronous);
    if (code == SQLITE_OK)
        code = sqlite3_exec(db->handle, "PRAGMA journal_mode=WAL", NULL, NULL, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_exec(db->handle, pragma, NULL, NULL, NULL);
    umask(old);
    if (code != SQLITE_OK)
        return fail(L, db->handle, code);
    sqlite3_busy_timeout(db->handle, 0);
    return 1;
}

static const luaL_Reg functions[] = {
    {"open", sqlite_open},
    {NULL, NULL},
};

static const luaL_Reg methods[] = {
    {"exec", db_exec},   {"query", db_query}, {"transaction", db_transaction},
    {"close", db_close}, {NULL, NULL},
};

static const luaL_Reg metamethods[] = {
    {"__gc", db_close},
    {"__close", db_close},
    {NULL, NULL},
};

int luaopen_vr_sqlite(lua_State *L);
int luaopen_vr_sqlite(lua_State *L)
{
    luaL_newmetatable(L, type_name);
    luaL_setfuncs(L, metamethods, 0);
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    luaL_newmetatable(L, "vr.sqlite.statement");
    lua_pushcfunction(L, statement_gc);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
    luaL_newlib(L, functions);
    return 1;
}
