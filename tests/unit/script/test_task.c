#include "script/task.h"

#include <check.h>
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "net/loop.h"
#include "script/host.h"
#include "script/wait.h"

static struct vr_loop *loop;
static struct vr_script *script;
static lua_State *L;

/* What the last task ended with. */
static struct {
    int calls;
    bool ok;
    int line;
    char text[256];
} ended;

static void setup(void)
{
    loop = vr_loop_new();
    script = vr_script_new(loop);
    L = vr_script_lua(script);
    memset(&ended, 0, sizeof(ended));
}

static void teardown(void)
{
    vr_script_free(script);
    vr_loop_free(loop);
}

static void task_ended(void *payload, lua_State *T, bool ok)
{
    ck_assert_ptr_eq(payload, &ended);
    ended.calls++;
    ended.ok = ok;
    struct vr_error err = {0};
    if (ok && lua_gettop(T) > 0)
        snprintf(ended.text, sizeof(ended.text), "%s", luaL_tolstring(T, -1, NULL));
    if (!ok) {
        vr_script_error(T, -1, &err);
        snprintf(ended.text, sizeof(ended.text), "%s: %s", err.code, err.message);
        ended.line = err.line;
        vr_error_clear(&err);
    }
}

static struct vr_task *start(const char *code)
{
    ck_assert_msg(luaL_loadstring(L, code) == LUA_OK, "%s", lua_tostring(L, -1));
    return vr_task_start(L, 0, task_ended, &ended);
}

START_TEST(a_task_runs_on_the_loop_and_not_before)
{
    start("return 'done'");
    ck_assert_int_eq(ended.calls, 0);
    ck_assert_int_eq(vr_task_count(L), 1);
    ck_assert_ptr_null(vr_task_current(L));
    vr_loop_run(loop);
    ck_assert_int_eq(ended.calls, 1);
    ck_assert(ended.ok);
    ck_assert_str_eq(ended.text, "done");
    ck_assert_int_eq(vr_task_count(L), 0);
    ck_assert_int_eq(lua_gettop(L), 0);
}
END_TEST

START_TEST(arguments_are_passed)
{
    ck_assert_int_eq(luaL_loadstring(L, "local a, b = ... return a .. b"), LUA_OK);
    lua_pushliteral(L, "x");
    lua_pushinteger(L, 7);
    vr_task_start(L, 2, task_ended, &ended);
    vr_loop_run(loop);
    ck_assert_str_eq(ended.text, "x7");
}
END_TEST

START_TEST(errors_of_any_type_arrive)
{
    start("error({ message = 'table', code = 'x' })");
    vr_loop_run(loop);
    ck_assert_str_eq(ended.text, "x: table");
    start("error(setmetatable({}, { __tostring = function() error('twice') end }))");
    vr_loop_run(loop);
    ck_assert_str_eq(ended.text, "lua: an error that has no text");
    start("error(nil)");
    vr_loop_run(loop);
    ck_assert_str_eq(ended.text, "lua: nil");
}
END_TEST

/* An operation that only a test wakes. */
struct op {
    struct vr_park park;
    int cancelled;
};
static struct op *op;

static void op_cancel(struct vr_park *park)
{
    ((struct op *)park)->cancelled++;
}

static int op_finish(lua_State *T, int status, lua_KContext ctx)
{
    (void)status;
    lua_pushinteger(T, (lua_Integer)ctx);
    return 1;
}

static int op_start(lua_State *T)
{
    op->park.cancel = op_cancel;
    return vr_task_park(T, &op->park, op_finish, 42);
}

static void wake(void *payload)
{
    (void)payload;
    vr_task_wake(&op->park);
    vr_task_wake(&op->park); /* nobody any more */
}

static void cancel(void *payload)
{
    vr_task_cancel(payload, "enough");
    vr_task_cancel(payload, "again");
}

START_TEST(a_parked_task_goes_on_when_it_is_woken)
{
    struct op it = {0};
    op = &it;
    lua_register(L, "op", op_start);
    start("return op()");
    vr_timer_start(loop, 0.002, wake, NULL);
    vr_loop_run(loop);
    ck_assert_str_eq(ended.text, "42");
    ck_assert_int_eq(it.cancelled, 0);
}
END_TEST

START_TEST(a_cancel_stops_the_operation_first)
{
    struct op it = {0};
    op = &it;
    lua_register(L, "op", op_start);
    vr_timer_start(loop, 0.002, cancel, start("return op()"));
    vr_loop_run(loop);
    ck_assert_int_eq(it.cancelled, 1);
    ck_assert_int_eq(ended.calls, 1);
    ck_assert_str_eq(ended.text, "cancelled: enough");
    ck_assert_ptr_null(it.park.task);
}
END_TEST

START_TEST(parking_outside_of_a_task_cancels_the_operation)
{
    struct op it = {0};
    op = &it;
    lua_pushcfunction(L, op_start);
    ck_assert_int_eq(lua_pcall(L, 0, 0, 0), LUA_ERRRUN);
    ck_assert_ptr_nonnull(strstr(lua_tostring(L, -1), "does not run in a task"));
    ck_assert_int_eq(it.cancelled, 1);
    lua_pop(L, 1);
}
END_TEST

START_TEST(a_closed_state_cancels_what_its_tasks_wait_for)
{
    struct op it = {0};
    op = &it;
    lua_register(L, "op", op_start);
    start("return op()");
    start("require('task').sleep(1000)");
    start("require('task').deadline(1000, require('task').queue().pop, require('task').queue())");
    vr_timer_start(loop, 0.002, (vr_timer_cb)vr_loop_stop, loop);
    vr_loop_run(loop);
    ck_assert_int_eq(it.cancelled, 0);
    vr_script_free(script);
    ck_assert_int_eq(it.cancelled, 1);
    ck_assert_int_eq(ended.calls, 0);
    script = vr_script_new(loop);
    L = vr_script_lua(script);
}
END_TEST

START_TEST(a_state_may_be_closed_while_tasks_are_ready)
{
    start("return 1");
    vr_script_free(script);
    vr_loop_run(loop);
    ck_assert_int_eq(ended.calls, 0);
    script = vr_script_new(loop);
    L = vr_script_lua(script);
}
END_TEST

START_TEST(winding_up_lets_tasks_unwind)
{
    start("local g <close> = setmetatable({}, { __close = function() require('task').sleep(0.002) "
          "end }) "
          "require('task').sleep(1000)");
    vr_timer_start(loop, 0.002, (vr_timer_cb)vr_loop_stop, loop);
    vr_loop_run(loop);
    ck_assert(vr_script_wind_up(script, 5));
    ck_assert_str_eq(ended.text, "cancelled: the program ends");
    start("while true do pcall(require('task').sleep, 1000) end");
    ck_assert(!vr_script_wind_up(script, 0.01) || ended.calls == 2);
}
END_TEST

START_TEST(an_endless_loop_ends_with_its_place)
{
    vr_script_limit(L, 0.05, 0);
    ck_assert_int_eq(luaL_loadbuffer(L, "\n\nwhile true do end", 19, "@x.lua"), LUA_OK);
    vr_task_start(L, 0, task_ended, &ended);
    vr_loop_run(loop);
    ck_assert_str_eq(ended.text, "lua: still running after 0.05 s of CPU time: an endless loop?");
    ck_assert_int_eq(ended.line, 3);
    vr_script_limit(L, 0, 0);
}
END_TEST

START_TEST(no_pcall_survives_the_limit)
{
    vr_script_limit(L, 0.05, 0);
    start("while true do pcall(function() while true do end end) coroutine.wrap(function() while "
          "true do end end)() end");
    vr_loop_run(loop);
    ck_assert_int_eq(ended.calls, 1);
    ck_assert_ptr_nonnull(strstr(ended.text, "still running"));
    vr_script_limit(L, 0, 0);
    start("return 'as before'");
    vr_loop_run(loop);
    ck_assert_str_eq(ended.text, "as before");
}
END_TEST

static void check_memory(const char *code)
{
    struct vr_error err = {0};
    vr_script_limit(L, 0, 16 << 20);
    ck_assert_int_eq(luaL_loadbuffer(L, code, strlen(code), "@x.lua"), LUA_OK);
    ck_assert_int_ne(lua_pcall(L, 0, 0, 0), LUA_OK);
    vr_script_error(L, -1, &err);
    ck_assert_str_eq(err.message, "more than 16 MiB of memory are in use");
    ck_assert_str_eq(err.file, "x.lua");
    ck_assert_int_eq(err.line, 2);
    vr_error_clear(&err);
    lua_settop(L, 0);
    vr_script_limit(L, 0, 0);
}

START_TEST(unbounded_memory_ends_with_its_place)
{
    check_memory("local t = {}\nwhile true do t[#t + 1] = {} end");
    check_memory("local s = 'x'\nwhile true do s = s .. s end");
    check_memory("\nlocal s = ('x'):rep(1 << 30)");
}
END_TEST

START_TEST(messages_with_a_place_are_taken_apart)
{
    struct vr_error err = {0};
    lua_pushliteral(L, "dir/a.lua:12: what: 3: more");
    vr_script_error(L, -1, &err);
    ck_assert_str_eq(err.message, "what: 3: more");
    ck_assert_str_eq(err.file, "dir/a.lua");
    ck_assert_int_eq(err.line, 12);
    lua_pushliteral(L, "127.0.0.1:22: connection refused");
    vr_script_error(L, -1, &err);
    ck_assert_str_eq(err.message, "127.0.0.1:22: connection refused");
    ck_assert_ptr_null(err.file);
    vr_error_clear(&err);
}
END_TEST

START_TEST(bytecode_is_not_loaded)
{
    struct vr_error err = {0};
    ck_assert(!vr_script_load_text(L, "\x1bLua", 4, "@x.lua", &err));
    ck_assert_str_eq(err.message, "x.lua is bytecode: only Lua text is loaded");
    ck_assert(!vr_script_load_text(L, "x = = 1", 7, "@x.lua", &err));
    ck_assert_str_eq(err.file, "x.lua");
    vr_error_clear(&err);
}
END_TEST

Suite *task_suite(void);
Suite *task_suite(void)
{
    Suite *suite = suite_create("task");
    TCase *tcase = tcase_create("all");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, a_task_runs_on_the_loop_and_not_before);
    tcase_add_test(tcase, arguments_are_passed);
    tcase_add_test(tcase, errors_of_any_type_arrive);
    tcase_add_test(tcase, a_parked_task_goes_on_when_it_is_woken);
    tcase_add_test(tcase, a_cancel_stops_the_operation_first);
    tcase_add_test(tcase, parking_outside_of_a_task_cancels_the_operation);
    tcase_add_test(tcase, a_closed_state_cancels_what_its_tasks_wait_for);
    tcase_add_test(tcase, a_state_may_be_closed_while_tasks_are_ready);
    tcase_add_test(tcase, winding_up_lets_tasks_unwind);
    tcase_add_test(tcase, an_endless_loop_ends_with_its_place);
    tcase_add_test(tcase, no_pcall_survives_the_limit);
    tcase_add_test(tcase, unbounded_memory_ends_with_its_place);
    tcase_add_test(tcase, messages_with_a_place_are_taken_apart);
    tcase_add_test(tcase, bytecode_is_not_loaded);
    suite_add_tcase(suite, tcase);
    return suite;
}
