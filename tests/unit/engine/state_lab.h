/* A state in a folder of its own, for the suites of states. */
#ifndef VR_TEST_STATE_LAB_H
#define VR_TEST_STATE_LAB_H

#include <check.h>
#include <stdbool.h>
#include <stddef.h>

#include "engine/state.h"

/* Of this test: a temporary folder, in it that of stack main, and the state's file. */
extern char *root, *folder, *path;

void set_up(void);
void tear_down(void);
/* A suite of tests that begin and end with these. */
Suite *state_suite_of(const char *name, const TTest *const *tests, size_t count);

struct vr_state *open_state(bool read_only, struct vr_error *err);
struct vr_state *must_open(bool read_only);
/* It cannot be opened: with this code, a hint and a message that has this part. */
void refuses(const char *code, const char *part);
struct vr_row *put(struct vr_state *state, const char *address, const char *outputs);
void must_sync(struct vr_state *state);
void fill(size_t count); /* a state with so many rows */

char *read_file(const char *name, size_t *size); /* NULL: there is none */
void write_file(const char *name, const char *data, size_t size);

#endif
