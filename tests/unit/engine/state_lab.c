#include "state_lab.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

char *root, *folder, *path;

void set_up(void)
{
    char name[] = "/tmp/vmrun-state-XXXXXX";
    root = vr_strdup(mkdtemp(name));
    folder = vr_format("%s/stacks/main", root);
    path = vr_format("%s/state.db", folder);
}

void tear_down(void)
{
    char *command = vr_format("rm -rf %s", root);
    ck_assert_int_eq(system(command), 0);
    free(command);
    free(root);
    free(folder);
    free(path);
}

Suite *state_suite_of(const char *name, const TTest *const *tests, size_t count)
{
    Suite *suite = suite_create(name);
    TCase *tcase = tcase_create("all");
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_set_timeout(tcase, 60);
    for (size_t i = 0; i < count; i++)
        tcase_add_test(tcase, tests[i]);
    suite_add_tcase(suite, tcase);
    return suite;
}

struct vr_state *open_state(bool read_only, struct vr_error *err)
{
    struct vr_state_options options = {.folder = folder, .stack = "main", .read_only = read_only};
    return vr_state_open(&options, err);
}

struct vr_state *must_open(bool read_only)
{
    struct vr_error err = {0};
    struct vr_state *state = open_state(read_only, &err);
    ck_assert_msg(state != NULL, "%s", err.message);
    return state;
}

void refuses(const char *code, const char *part)
{
    struct vr_error err = {0};
    struct vr_state *state = open_state(false, &err);
    ck_assert_ptr_null(state);
    ck_assert_str_eq(err.code, code);
    ck_assert_msg(strstr(err.message, part) != NULL, "'%s' is not in: %s", part, err.message);
    ck_assert_ptr_nonnull(err.hint);
    vr_error_clear(&err);
}

struct vr_row *put(struct vr_state *state, const char *address, const char *outputs)
{
    return vr_state_put(state, &(struct vr_row){.address = address,
                                                .kind = "t.x",
                                                .inputs = "{\"a\":1}",
                                                .outputs = outputs,
                                                .file = "r.lua",
                                                .line = 7,
                                                .duration = 1.5});
}

void must_sync(struct vr_state *state)
{
    struct vr_error err = {0};
    ck_assert_msg(vr_state_sync(state, &err), "%s", err.message);
}

void fill(size_t count)
{
    struct vr_state *state = must_open(false);
    for (size_t i = 0; i < count; i++) {
        char *address = vr_format("t.x.n%zu", i);
        put(state, address, "{\"id\":\"/some/id/with/a/path\"}");
        free(address);
    }
    vr_state_close(state);
}

char *read_file(const char *name, size_t *size)
{
    FILE *file = fopen(name, "rb");
    if (!file)
        return NULL;
    char *data = vr_alloc(1 << 24);
    *size = fread(data, 1, 1 << 24, file);
    fclose(file);
    return data;
}

void write_file(const char *name, const char *data, size_t size)
{
    FILE *file = fopen(name, "wb");
    ck_assert_uint_eq(fwrite(data, 1, size, file), size);
    fclose(file);
}
