/* What state.c (rows in memory), state_writer.c and state_file.c share. */
#ifndef VR_ENGINE_STATE_INTERNAL_H
#define VR_ENGINE_STATE_INTERNAL_H

#include <jansson.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>

#include "base/map.h"
#include "engine/digest.h"
#include "engine/state.h"

enum { STATE_TEXTS = 10 }; /* of a row */

struct slot {
    struct vr_row row; /* its texts lie in block, but for the address */
    struct vr_row *block;
    size_t index; /* in slots */
    int64_t id;   /* in the table: order of appearance */
    uint64_t sum;
    struct record *queued; /* in the open batch, if generation is the state's */
    uint64_t generation;
    struct slot *next; /* of all slots ever, to free them */
};

struct meta {
    char *name;
    json_t *value; /* redacted; NULL: taken out */
    uint64_t sum;
};

/* What the writer does: a row to put (row), one to delete (neither), or a name of meta to set
 * (name; text NULL: delete). */
struct record {
    struct record *next;
    int64_t id;
    uint64_t sum;
    struct vr_row *row;
    char *name, *text;
};

struct batch {
    struct batch *next;
    struct record *first, **end;
    uint64_t ticket;
    uint64_t total; /* sum of all sums with this batch */
};

struct vr_state {
    char *folder, *path, *stack, *what;
    bool read_only;
    int lease;
    struct vr_digest_key key;

    struct vr_arena *addresses;
    struct slot **slots; /* NULL: removed */
    size_t slot_count, slot_room, count;
    struct slot *all;
    struct vr_map by_address; /* struct slot */
    struct vr_map metas;      /* struct meta */
    int64_t next_id;
    uint64_t total;

    struct batch *open; /* NULL: nothing new */
    uint64_t generation;
    uint64_t first_serial, requested;

    sqlite3 *db;
    pthread_t writer;
    bool running;
    pthread_mutex_t mutex; /* of what follows */
    pthread_cond_t work, done;
    struct batch *ready, **ready_end;
    bool stop;
    struct vr_error failure;

    atomic_uint_least64_t durable, commits;
    pthread_mutex_t notify_mutex;
    void (*notify)(void *payload);
    void *payload;
    uint64_t crash_at, crash_before;
};

/* state.c */

void state_row_texts(const struct vr_row *row, const char *texts[STATE_TEXTS]);
uint64_t state_sum_row(int64_t id, const struct vr_row *row);
uint64_t state_sum_meta(const char *name, const char *text);
/* A row and its texts in one piece of memory; the caller frees. */
struct vr_row *state_copy_row(const struct vr_row *row);
struct slot *state_find_slot(const struct vr_state *state, const char *address);
struct slot *state_add_slot(struct vr_state *state, const char *address, int64_t id);
/* Gives the slot these texts; block is taken over. */
void state_fill_slot(struct vr_state *state, struct slot *slot, struct vr_row *block);
/* Makes it when there is none. */
struct meta *state_find_meta(struct vr_state *state, const char *name);
/* value is stolen, and without secrets; NULL: takes it out. */
void state_put_meta(struct vr_state *state, const char *name, json_t *value);
void state_free_batch(struct batch *batch);
/* Rows and metas, as if nothing had been read. */
void state_forget_rows(struct vr_state *state);

/* state_writer.c */

struct statements {
    sqlite3_stmt *put, *remove, *set, *unset;
};

bool state_prepare_all(struct vr_state *state, struct statements *all, struct vr_error *err);
void state_finalize_all(struct statements *all);
bool state_write_row(struct statements *all, const struct record *record);
bool state_write_meta(struct statements *all, const char *name, const char *text);
bool state_start_writer(struct vr_state *state, struct vr_error *err);
/* Commits what is open and waits for it; nothing when there is no writer. */
void state_stop_writer(struct vr_state *state);

/* state_file.c; the failures return false. */

bool state_fail_corrupt(const struct vr_state *state, const char *why, struct vr_error *err);
bool state_fail_errno(const struct vr_state *state, const char *doing, int number,
                      struct vr_error *err);
bool state_fail_sqlite(const struct vr_state *state, sqlite3 *db, const char *doing,
                       struct vr_error *err);
bool state_run_sql(struct vr_state *state, const char *sql, const char *doing,
                   struct vr_error *err);
bool state_prepare(struct vr_state *state, const char *sql, sqlite3_stmt **statement,
                   struct vr_error *err);
/* The path of a file beside the database; the caller frees. */
char *state_in_folder(const struct vr_state *state, const char *name);
/* wait: seconds for the lease. */
bool state_open_for_writing(struct vr_state *state, double wait, struct vr_error *err);
/* No file is an empty state. */
bool state_open_for_reading(struct vr_state *state, struct vr_error *err);

#endif
