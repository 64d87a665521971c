/* All rows are in memory; the file is only read when it is opened. The caller's thread appends
 * records to an open batch that is its own; a commit closes the batch and hands it to the writer's
 * thread, which alone uses the connection. It takes all batches that wait as one transaction, so
 * one commit, one fsync (write-ahead log, synchronous=FULL) and one is in flight.
 *
 * SQLite notices a broken page, not a broken text: each row has a sum of its texts, and meta has
 * the sum of all sums, so that flipped bits and rows of an older page are seen when the file is
 * read.
 *
 * A new file is made aside and renamed: an empty state.db is one that lost its content, never one
 * that is just begun. */
#include "engine/state.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/map.h"
#include "engine/digest.h"
#include "engine/lease.h"

enum {
    FORMAT = 2,              /* of the tables; PRAGMA user_version */
    APPLICATION = 0x766d7273 /* PRAGMA application_id: "vmrs" */
};

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

/* Errors */

static bool fail_corrupt(const struct vr_state *state, const char *why, struct vr_error *err)
{
    vr_error_set(err, "corrupt", "%s is damaged: %s (%s)", state->what, why, state->path);
    vr_error_hint(err, "put a copy of state.db back, or move it away and run `vmrun import --all` "
                       "to build it anew from what "
                       "exists");
    return false;
}

static bool fail_errno(const struct vr_state *state, const char *doing, int number,
                       struct vr_error *err)
{
    bool full = number == ENOSPC || number == EDQUOT || number == EFBIG;
    vr_error_set(err, full ? "disk" : "io", "%s: cannot %s in %s: %s", state->what, doing,
                 state->folder, full ? "no room left on the disk" : strerror(number));
    if (full)
        vr_error_hint(err,
                      "make room and run the same command again: it goes on from what was saved");
    return false;
}

static bool fail_sqlite(const struct vr_state *state, sqlite3 *db, const char *doing,
                        struct vr_error *err)
{
    int last = errno; /* sqlite3_system_errno does not know of failed writes */
    int code = db ? sqlite3_extended_errcode(db) : SQLITE_NOMEM,
        number = db ? sqlite3_system_errno(db) : 0;
    if (!number && (code & 0xff) == SQLITE_IOERR)
        number = last;
    switch (code & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_ERROR: /* no such table or column */
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
        return fail_corrupt(state, sqlite3_errmsg(db), err);
    case SQLITE_FULL:
        return fail_errno(state, doing, ENOSPC, err);
    }
    if (number == ENOSPC || number == EDQUOT || number == EFBIG || code == SQLITE_IOERR_SHMSIZE)
        return fail_errno(state, doing, ENOSPC, err);
    return vr_error_set(err, "io", "%s: cannot %s in %s: %s%s%s", state->what, doing, state->folder,
                        sqlite3_errmsg(db), number ? ": " : "", number ? strerror(number) : "");
}

/* Rows and their sums */

enum { TEXTS = 10 };

static void row_texts(const struct vr_row *row, const char *texts[TEXTS])
{
    const char *all[TEXTS] = {row->address, row->kind, row->member, row->identity, row->inputs,
                              row->outputs, row->deps, row->file,   row->intent,   row->recorded};
    memcpy(texts, all, sizeof(all));
}

static uint64_t add_text(uint64_t sum, const char *text)
{
    size_t length = text ? strlen(text) : SIZE_MAX;
    sum = vr_hash(&length, sizeof(length), sum);
    return text ? vr_hash(text, length, sum) : sum;
}

static uint64_t sum_row(int64_t id, const struct vr_row *row)
{
    const char *texts[TEXTS];
    uint64_t sum = vr_hash(&id, sizeof(id), 0);
    row_texts(row, texts);
    for (size_t i = 0; i < TEXTS; i++)
        sum = add_text(sum, texts[i]);
    sum = vr_hash(&row->line, sizeof(row->line), sum);
    return vr_hash(&row->duration, sizeof(row->duration), sum);
}

static uint64_t sum_meta(const char *name, const char *text)
{
    return add_text(add_text(0, name), text);
}

/* A row and its texts in one piece of memory. */
static struct vr_row *copy_row(const struct vr_row *row)
{
    const char *texts[TEXTS];
    row_texts(row, texts);
    size_t size = sizeof(*row), lengths[TEXTS];
    for (size_t i = 0; i < TEXTS; i++)
        size += lengths[i] = texts[i] ? strlen(texts[i]) + 1 : 0;
    struct vr_row *copy = vr_alloc(size);
    char *to = (char *)(copy + 1), *places[TEXTS];
    for (size_t i = 0; i < TEXTS; i++) {
        places[i] = texts[i] ? memcpy(to, texts[i], lengths[i]) : NULL;
        to += lengths[i];
    }
    *copy = (struct vr_row){
        .address = places[0],
        .kind = places[1],
        .member = places[2],
        .identity = places[3],
        .inputs = places[4],
        .outputs = places[5],
        .deps = places[6],
        .file = places[7],
        .intent = places[8],
        .recorded = places[9],
        .line = row->line,
        .duration = row->duration,
        .mark = row->mark,
    };
    return copy;
}

static struct slot *add_slot(struct vr_state *state, const char *address, int64_t id)
{
    struct slot *slot = vr_alloc(sizeof(*slot));
    slot->id = id;
    slot->row.address = vr_arena_strdup(state->addresses, address);
    slot->next = state->all;
    state->all = slot;
    if (state->slot_count == state->slot_room) {
        state->slot_room = state->slot_room ? state->slot_room * 2 : 64;
        state->slots = vr_realloc(state->slots, state->slot_room * sizeof(*state->slots));
    }
    slot->index = state->slot_count++;
    state->slots[slot->index] = slot;
    state->count++;
    vr_map_set(&state->by_address, slot->row.address, slot);
    if (id >= state->next_id)
        state->next_id = id + 1;
    return slot;
}

/* Gives the slot these texts; block is taken over. */
static void fill_slot(struct vr_state *state, struct slot *slot, struct vr_row *block)
{
    const char *address = slot->row.address;
    void *mark = block->mark ? block->mark : slot->row.mark;
    slot->row = *block;
    slot->row.address = address;
    slot->row.mark = mark;
    free(slot->block);
    slot->block = block;
    state->total ^= slot->sum;
    slot->sum = sum_row(slot->id, &slot->row);
    state->total ^= slot->sum;
}

/* The open batch */

static struct batch *open_batch(struct vr_state *state)
{
    if (!state->open) {
        state->open = vr_alloc(sizeof(*state->open));
        state->open->end = &state->open->first;
        state->generation++;
    }
    return state->open;
}

static struct record *append(struct vr_state *state)
{
    struct batch *batch = open_batch(state);
    struct record *record = vr_alloc(sizeof(*record));
    *batch->end = record;
    batch->end = &record->next;
    return record;
}

/* Queues what the slot is now; a record that is still in the open batch is written over. */
static void queue_slot(struct vr_state *state, struct slot *slot, bool removed)
{
    if (state->read_only)
        return;
    open_batch(state);
    struct record *record = slot->generation == state->generation ? slot->queued : NULL;
    if (!record) {
        record = append(state);
        slot->queued = record;
        slot->generation = state->generation;
    }
    free(record->row);
    record->id = slot->id;
    record->sum = slot->sum;
    record->row = removed ? NULL : copy_row(&slot->row);
}

static void free_batch(struct batch *batch)
{
    for (struct record *record = batch->first, *next; record; record = next) {
        next = record->next;
        free(record->row);
        free(record->name);
        free(record->text);
        free(record);
    }
    free(batch);
}

/* Appends */

static struct slot *find_slot(const struct vr_state *state, const char *address)
{
    return vr_map_get(&state->by_address, address);
}

/* The text without secrets: NULL when there is none in it, else the caller frees. */
static char *redact_text(const struct vr_state *state, const char *text)
{
    if (!text || !strstr(text, "\"$secret\""))
        return NULL;
    json_t *value = json_loads(text, JSON_DECODE_ANY, NULL);
    json_t *safe = value ? vr_state_redact(state, value) : json_null();
    char *redacted = json_dumps(safe, JSON_COMPACT | JSON_ENCODE_ANY);
    json_decref(value);
    json_decref(safe);
    return redacted;
}

struct vr_row *vr_state_put(struct vr_state *state, const struct vr_row *row)
{
    assert(row->address && row->kind);
    struct vr_row safe = *row;
    char *inputs = redact_text(state, row->inputs), *outputs = redact_text(state, row->outputs);
    char *recorded = redact_text(state, row->recorded);
    safe.inputs = inputs ? inputs : row->inputs;
    safe.outputs = outputs ? outputs : row->outputs;
    safe.recorded = recorded ? recorded : row->recorded;
    struct slot *slot = find_slot(state, row->address);
    struct vr_row *block = copy_row(&safe); /* first: row may be the slot's own */
    if (!slot)
        slot = add_slot(state, row->address, state->next_id);
    fill_slot(state, slot, block);
    queue_slot(state, slot, false);
    free(inputs);
    free(outputs);
    free(recorded);
    return &slot->row;
}

void vr_state_remove(struct vr_state *state, const char *address)
{
    struct slot *slot = vr_map_remove(&state->by_address, address);
    if (!slot)
        return;
    state->slots[slot->index] = NULL;
    state->count--;
    state->total ^= slot->sum;
    queue_slot(state, slot, true);
}

bool vr_state_move(struct vr_state *state, const char *from, const char *to, struct vr_error *err)
{
    struct slot *slot = find_slot(state, from);
    if (!slot)
        return vr_error_set(err, "missing", "%s has no %s", state->what, from);
    if (find_slot(state, to))
        return vr_error_set(err, "duplicate", "%s cannot become %s: %s has both", from, to,
                            state->what);
    vr_map_remove(&state->by_address, from);
    slot->row.address = vr_arena_strdup(state->addresses, to);
    vr_map_set(&state->by_address, slot->row.address, slot);
    fill_slot(state, slot, copy_row(&slot->row));
    queue_slot(state, slot, false);
    return true;
}

static struct meta *find_meta(struct vr_state *state, const char *name)
{
    struct meta *meta = vr_map_get(&state->metas, name);
    if (!meta) {
        meta = vr_alloc(sizeof(*meta));
        meta->name = vr_strdup(name);
        vr_map_set(&state->metas, meta->name, meta);
    }
    return meta;
}

static void set_meta(struct vr_state *state, const char *name, json_t *value)
{
    struct meta *meta = find_meta(state, name);
    char *text = value ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_SORT_KEYS) : NULL;
    json_decref(meta->value);
    meta->value = value;
    state->total ^= meta->sum;
    meta->sum = text ? sum_meta(name, text) : 0;
    state->total ^= meta->sum;
    if (state->read_only) {
        free(text);
        return;
    }
    struct record *record = append(state);
    record->name = vr_strdup(name);
    record->text = text;
}

void vr_state_set_meta(struct vr_state *state, const char *name, json_t *value)
{
    assert(strcmp(name, "serial") != 0 && strcmp(name, "digest") != 0);
    set_meta(state, name, value ? vr_state_redact(state, value) : NULL);
    json_decref(value);
}

json_t *vr_state_meta(const struct vr_state *state, const char *name)
{
    const struct meta *meta = vr_map_get(&state->metas, name);
    return meta && meta->value ? json_deep_copy(meta->value) : NULL;
}

/* Reading rows */

uint64_t vr_state_serial(const struct vr_state *state)
{
    return state->first_serial + state->requested;
}

const char *vr_state_stack(const struct vr_state *state)
{
    return state->stack;
}

size_t vr_state_count(const struct vr_state *state)
{
    return state->count;
}

size_t vr_state_slots(const struct vr_state *state)
{
    return state->slot_count;
}

struct vr_row *vr_state_at(const struct vr_state *state, size_t index)
{
    return index < state->slot_count && state->slots[index] ? &state->slots[index]->row : NULL;
}

struct vr_row *vr_state_find(const struct vr_state *state, const char *address)
{
    struct slot *slot = find_slot(state, address);
    return slot ? &slot->row : NULL;
}

json_t *vr_row_value(const struct vr_row *row)
{
    json_t *value = row->inputs ? json_loads(row->inputs, 0, NULL) : NULL;
    if (!json_is_object(value)) {
        json_decref(value);
        value = json_object();
    }
    json_t *outputs = row->outputs ? json_loads(row->outputs, 0, NULL) : NULL;
    if (json_is_object(outputs))
        json_object_update(value, outputs);
    json_decref(outputs);
    return value;
}

json_t *vr_state_redact(const struct vr_state *state, const json_t *value)
{
    return vr_digest_redact(&state->key, value);
}

bool vr_state_has_key(const struct vr_state *state)
{
    return state->key.there;
}

/* The writer */

static bool run_sql(struct vr_state *state, const char *sql, const char *doing,
                    struct vr_error *err)
{
    return sqlite3_exec(state->db, sql, NULL, NULL, NULL) == SQLITE_OK ||
           fail_sqlite(state, state->db, doing, err);
}

struct statements {
    sqlite3_stmt *put, *remove, *set, *unset;
};

static bool prepare(struct vr_state *state, const char *sql, sqlite3_stmt **statement,
                    struct vr_error *err)
{
    return sqlite3_prepare_v3(state->db, sql, -1, SQLITE_PREPARE_PERSISTENT, statement, NULL) ==
               SQLITE_OK ||
           fail_sqlite(state, state->db, "read", err);
}

static bool prepare_all(struct vr_state *state, struct statements *all, struct vr_error *err)
{
    return prepare(state,
                   "INSERT OR REPLACE INTO rows (id, address, kind, member, identity, inputs, "
                   "outputs, deps, file, intent, "
                   "recorded, line, duration, sum) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, "
                   "?10, ?11, ?12, ?13, ?14)",
                   &all->put, err) &&
           prepare(state, "DELETE FROM rows WHERE id = ?1", &all->remove, err) &&
           prepare(state, "INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)", &all->set,
                   err) &&
           prepare(state, "DELETE FROM meta WHERE name = ?1", &all->unset, err);
}

static void finalize_all(struct statements *all)
{
    sqlite3_finalize(all->put);
    sqlite3_finalize(all->remove);
    sqlite3_finalize(all->set);
    sqlite3_finalize(all->unset);
}

static bool step(sqlite3_stmt *statement)
{
    int code = sqlite3_step(statement);
    sqlite3_reset(statement);
    return code == SQLITE_DONE;
}

static bool write_row(struct statements *all, const struct record *record)
{
    const struct vr_row *row = record->row;
    const char *texts[TEXTS];
    row_texts(row, texts);
    sqlite3_bind_int64(all->put, 1, record->id);
    for (int i = 0; i < TEXTS; i++)
        sqlite3_bind_text(all->put, i + 2, texts[i], -1, SQLITE_STATIC);
    sqlite3_bind_int(all->put, 12, row->line);
    sqlite3_bind_double(all->put, 13, row->duration);
    sqlite3_bind_int64(all->put, 14, (sqlite3_int64)record->sum);
    return step(all->put);
}

static bool write_meta(struct statements *all, const char *name, const char *text)
{
    sqlite3_stmt *statement = text ? all->set : all->unset;
    sqlite3_bind_text(statement, 1, name, -1, SQLITE_STATIC);
    if (text)
        sqlite3_bind_text(statement, 2, text, -1, SQLITE_STATIC);
    return step(statement);
}

static bool write_record(struct statements *all, const struct record *record)
{
    if (record->name)
        return write_meta(all, record->name, record->text);
    if (record->row)
        return write_row(all, record);
    sqlite3_bind_int64(all->remove, 1, record->id);
    return step(all->remove);
}

/* The batches as one transaction, durable when this returns true. */
static bool write_batches(struct vr_state *state, struct statements *all,
                          const struct batch *batches, struct vr_error *err)
{
    errno = 0;
    bool ok = run_sql(state, "BEGIN IMMEDIATE", "write", err);
    char total[24] = "";
    for (const struct batch *batch = batches; ok && batch; batch = batch->next) {
        for (const struct record *record = batch->first; ok && record; record = record->next)
            ok = write_record(all, record);
        snprintf(total, sizeof(total), "%lld", (long long)batch->total);
    }
    if (ok)
        ok = write_meta(all, "digest", total);
    if (ok && atomic_load(&state->commits) + 1 == state->crash_before)
        _exit(137);
    if (ok)
        ok = sqlite3_exec(state->db, "COMMIT", NULL, NULL, NULL) == SQLITE_OK;
    if (!ok) {
        if (err && !err->message)
            fail_sqlite(state, state->db, "write", err);
        sqlite3_exec(state->db, "ROLLBACK", NULL, NULL, NULL);
        return false;
    }
    if (atomic_fetch_add(&state->commits, 1) + 1 == state->crash_at)
        _exit(137);
    return true;
}

static uint64_t last_ticket(const struct batch *batches)
{
    while (batches->next)
        batches = batches->next;
    return batches->ticket;
}

static void tell(struct vr_state *state)
{
    pthread_mutex_lock(&state->notify_mutex);
    if (state->notify)
        state->notify(state->payload);
    pthread_mutex_unlock(&state->notify_mutex);
}

static struct batch *take(struct vr_state *state)
{
    pthread_mutex_lock(&state->mutex);
    while (!state->ready && !state->stop)
        pthread_cond_wait(&state->work, &state->mutex);
    struct batch *batches = state->ready;
    state->ready = NULL;
    state->ready_end = &state->ready;
    pthread_mutex_unlock(&state->mutex);
    return batches;
}

static void *write_loop(void *payload)
{
    struct vr_state *state = payload;
    struct statements all = {0};
    struct vr_error err = {0};
    bool ok = prepare_all(state, &all, &err);
    for (struct batch *batches; (batches = take(state));) {
        ok = ok && write_batches(state, &all, batches, &err);
        pthread_mutex_lock(&state->mutex);
        if (ok)
            atomic_store(&state->durable, last_ticket(batches));
        else if (err.message && !state->failure.message)
            vr_error_move(&state->failure, &err);
        pthread_cond_broadcast(&state->done);
        pthread_mutex_unlock(&state->mutex);
        for (struct batch *next; batches; batches = next) {
            next = batches->next;
            free_batch(batches);
        }
        tell(state);
    }
    vr_error_clear(&err);
    finalize_all(&all);
    return NULL;
}

/* Signals are the loop's. */
static bool start_writer(struct vr_state *state, struct vr_error *err)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int code = pthread_create(&state->writer, NULL, write_loop, state);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    state->running = code == 0;
    return state->running || fail_errno(state, "start the writer", code, err);
}

uint64_t vr_state_commit(struct vr_state *state)
{
    struct batch *batch = state->open;
    if (!batch)
        return state->requested;
    state->requested++;
    set_meta(state, "serial", json_integer((json_int_t)vr_state_serial(state)));
    batch->ticket = state->requested;
    batch->total = state->total;
    state->open = NULL;
    pthread_mutex_lock(&state->mutex);
    *state->ready_end = batch;
    state->ready_end = &batch->next;
    pthread_cond_signal(&state->work);
    pthread_mutex_unlock(&state->mutex);
    return state->requested;
}

uint64_t vr_state_durable(const struct vr_state *state)
{
    return atomic_load(&state->durable);
}

uint64_t vr_state_commits(const struct vr_state *state)
{
    return atomic_load(&state->commits);
}

void vr_state_on_commit(struct vr_state *state, void (*notify)(void *payload), void *payload)
{
    pthread_mutex_lock(&state->notify_mutex);
    state->notify = notify;
    state->payload = payload;
    pthread_mutex_unlock(&state->notify_mutex);
}

bool vr_state_failed(const struct vr_state *const_state, struct vr_error *err)
{
    struct vr_state *state = (struct vr_state *)const_state; /* for its mutex */
    pthread_mutex_lock(&state->mutex);
    bool failed = state->failure.message != NULL;
    if (failed && err) {
        vr_error_clear(err);
        vr_error_copy(err, &state->failure);
    }
    pthread_mutex_unlock(&state->mutex);
    return failed;
}

bool vr_state_sync(struct vr_state *state, struct vr_error *err)
{
    uint64_t ticket = vr_state_commit(state);
    pthread_mutex_lock(&state->mutex);
    while (atomic_load(&state->durable) < ticket && !state->failure.message)
        pthread_cond_wait(&state->done, &state->mutex);
    pthread_mutex_unlock(&state->mutex);
    return !vr_state_failed(state, err);
}

/* Reading the file */

static const char *column(sqlite3_stmt *statement, int index)
{
    return (const char *)sqlite3_column_text(statement, index);
}

static bool load_row(struct vr_state *state, sqlite3_stmt *statement, bool sums,
                     struct vr_error *err)
{
    struct vr_row row = {
        .address = column(statement, 1),
        .kind = column(statement, 2),
        .member = column(statement, 3),
        .identity = column(statement, 4),
        .inputs = column(statement, 5),
        .outputs = column(statement, 6),
        .deps = column(statement, 7),
        .file = column(statement, 8),
        .intent = column(statement, 9),
        .recorded = column(statement, 10),
        .line = sqlite3_column_int(statement, 11),
        .duration = sqlite3_column_double(statement, 12),
    };
    if (!row.address || !row.kind)
        return fail_corrupt(state, "a row without an address", err);
    char *why = NULL;
    if (find_slot(state, row.address))
        why = vr_format("%s is in it twice", row.address);
    else if (sums && (uint64_t)sqlite3_column_int64(statement, 13) !=
                         sum_row(sqlite3_column_int64(statement, 0), &row))
        why = vr_format("the row of %s is not as it was written", row.address);
    if (why) {
        fail_corrupt(state, why, err);
        free(why);
        return false;
    }
    fill_slot(state, add_slot(state, row.address, sqlite3_column_int64(statement, 0)),
              copy_row(&row));
    return true;
}

static bool load_rows(struct vr_state *state, bool sums, struct vr_error *err)
{
    sqlite3_stmt *statement = NULL;
    const char *sql = sums ? "SELECT id, address, kind, member, identity, inputs, outputs, deps, "
                             "file, intent, recorded, "
                             "line, duration, sum FROM rows ORDER BY id"
                           : "SELECT id, address, kind, member, identity, inputs, outputs, deps, "
                             "file, intent, recorded, "
                             "line, duration FROM rows ORDER BY id";
    bool ok = prepare(state, sql, &statement, err);
    int code = SQLITE_DONE;
    while (ok && (code = sqlite3_step(statement)) == SQLITE_ROW)
        ok = load_row(state, statement, sums, err);
    if (ok && code != SQLITE_DONE)
        ok = fail_sqlite(state, state->db, "read", err);
    sqlite3_finalize(statement);
    return ok;
}

static bool load_meta(struct vr_state *state, uint64_t *total, struct vr_error *err)
{
    sqlite3_stmt *statement = NULL;
    bool ok = prepare(state, "SELECT name, value FROM meta", &statement, err);
    int code = SQLITE_DONE;
    while (ok && (code = sqlite3_step(statement)) == SQLITE_ROW) {
        const char *name = column(statement, 0), *text = column(statement, 1);
        if (name && text && strcmp(name, "digest") == 0) {
            *total = (uint64_t)strtoll(text, NULL, 10);
            continue;
        }
        json_t *value = name && text ? json_loads(text, JSON_DECODE_ANY, NULL) : NULL;
        if (!value) {
            ok = fail_corrupt(state, "a value of meta is not as it was written", err);
            break;
        }
        struct meta *meta = find_meta(state, name);
        meta->value = value;
        meta->sum = sum_meta(name, text);
        state->total ^= meta->sum;
    }
    if (ok && code != SQLITE_DONE)
        ok = fail_sqlite(state, state->db, "read", err);
    sqlite3_finalize(statement);
    json_t *serial = vr_state_meta(state, "serial");
    state->first_serial = (uint64_t)json_integer_value(serial);
    json_decref(serial);
    return ok;
}

static bool load(struct vr_state *state, bool sums, struct vr_error *err)
{
    uint64_t total = 0;
    if (!load_rows(state, sums, err) || !load_meta(state, &total, err))
        return false;
    return !sums || total == state->total ||
           fail_corrupt(state, "something that was written is missing", err);
}

static bool pragma(struct vr_state *state, const char *sql, char *value, size_t size,
                   struct vr_error *err)
{
    sqlite3_stmt *statement = NULL;
    bool ok = prepare(state, sql, &statement, err);
    if (ok && sqlite3_step(statement) == SQLITE_ROW)
        snprintf(value, size, "%s", column(statement, 0) ? column(statement, 0) : "");
    else if (ok)
        ok = fail_sqlite(state, state->db, "read", err);
    sqlite3_finalize(statement);
    return ok;
}

/* Formats */

static const char schema[] =
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE rows (id INTEGER PRIMARY KEY, address TEXT NOT NULL, kind TEXT NOT NULL, member "
    "TEXT, identity TEXT,"
    " inputs TEXT, outputs TEXT, deps TEXT, file TEXT, line INTEGER NOT NULL, duration REAL NOT "
    "NULL, intent TEXT,"
    " recorded TEXT, sum INTEGER NOT NULL);";

/* Format 1 had no sums. */
static bool migrate_1(struct vr_state *state, struct vr_error *err)
{
    struct statements all = {0};
    bool ok = run_sql(state, "ALTER TABLE rows ADD COLUMN sum INTEGER NOT NULL DEFAULT 0",
                      "migrate", err) &&
              load(state, false, err) && prepare_all(state, &all, err);
    for (size_t i = 0; ok && i < state->slot_count; i++) {
        struct slot *slot = state->slots[i];
        struct record record = {.id = slot->id, .sum = slot->sum, .row = &slot->row};
        ok = write_row(&all, &record) || fail_sqlite(state, state->db, "migrate", err);
    }
    char total[24];
    snprintf(total, sizeof(total), "%lld", (long long)state->total);
    ok = ok && (write_meta(&all, "digest", total) || fail_sqlite(state, state->db, "migrate", err));
    finalize_all(&all);
    return ok;
}

/* migrations[n - 1] makes format n + 1 out of format n, inside of a transaction. */
static bool (*const migrations[FORMAT - 1])(struct vr_state *state,
                                            struct vr_error *err) = {migrate_1};

static bool copy_database(struct vr_state *state, sqlite3 *to, sqlite3 *from, struct vr_error *err)
{
    sqlite3_backup *backup = sqlite3_backup_init(to, "main", from, "main");
    if (backup)
        sqlite3_backup_step(backup, -1);
    if (backup && sqlite3_backup_finish(backup) == SQLITE_OK)
        return true;
    return fail_sqlite(state, to, "make a copy", err);
}

static bool make_file(const struct vr_state *state, const char *path, struct vr_error *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    bool ok = fd >= 0 && fchmod(fd, 0600) == 0;
    if (!ok)
        fail_errno(state, "make a file", errno, err);
    if (fd >= 0)
        close(fd);
    return ok;
}

static bool back_up(struct vr_state *state, int format, struct vr_error *err)
{
    char *path = vr_format("%s.format-%d", state->path, format);
    sqlite3 *copy = NULL;
    bool ok = make_file(state, path, err);
    if (ok && sqlite3_open_v2(path, &copy, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK)
        ok = fail_sqlite(state, copy, "make a copy", err);
    ok = ok && copy_database(state, copy, state->db, err);
    sqlite3_close(copy);
    free(path);
    return ok;
}

/* What is read only is migrated in memory. */
static bool into_memory(struct vr_state *state, struct vr_error *err)
{
    sqlite3 *copy = NULL;
    bool ok = sqlite3_open_v2(":memory:", &copy, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
                              NULL) == SQLITE_OK &&
              copy_database(state, copy, state->db, err);
    if (!ok) {
        sqlite3_close(copy);
        return false;
    }
    sqlite3_close(state->db);
    state->db = copy;
    return true;
}

static void forget_rows(struct vr_state *state);

static bool migrate(struct vr_state *state, int format, struct vr_error *err)
{
    if (!(state->read_only ? into_memory(state, err) : back_up(state, format, err)))
        return false;
    bool ok = run_sql(state, "BEGIN IMMEDIATE", "migrate", err);
    for (int at = format; ok && at < FORMAT; at++) {
        ok = migrations[at - 1](state, err);
        forget_rows(state);
    }
    char sql[64];
    snprintf(sql, sizeof(sql), "PRAGMA user_version = %d; COMMIT", FORMAT);
    return ok && run_sql(state, sql, "migrate", err);
}

static bool check_format(struct vr_state *state, struct vr_error *err)
{
    char text[32];
    if (!pragma(state, "PRAGMA application_id", text, sizeof(text), err))
        return false;
    if (atoi(text) != APPLICATION)
        return fail_corrupt(state, "it was not written by vmrun", err);
    if (!pragma(state, "PRAGMA user_version", text, sizeof(text), err))
        return false;
    int format = atoi(text);
    if (format > FORMAT) {
        vr_error_set(err, "newer", "%s was written by a newer vmrun (format %d; this one knows %d)",
                     state->what, format, FORMAT);
        vr_error_hint(err, "use that vmrun, or a later one");
        return false;
    }
    if (format < 1)
        return fail_corrupt(state, "it has no format", err);
    return format == FORMAT || migrate(state, format, err);
}

/* Pages and indexes; the content has its sums. */
static bool check_pages(struct vr_state *state, struct vr_error *err)
{
    char text[256];
    if (!pragma(state, "PRAGMA quick_check(1)", text, sizeof(text), err))
        return false;
    return strcmp(text, "ok") == 0 || fail_corrupt(state, text, err);
}

/* Opening */

static char *in_folder(const struct vr_state *state, const char *name)
{
    return vr_format("%s/%s", state->folder, name);
}

/* Folders that are made are 0700, whatever the umask; the last one is made so. */
static bool make_folder(const struct vr_state *state, struct vr_error *err)
{
    assert(*state->folder);
    char *path = vr_strdup(state->folder);
    bool ok = true;
    for (char *at = path + 1; ok && at;) {
        at = strchr(at, '/');
        if (at)
            *at = '\0';
        if (mkdir(path, 0700) == 0)
            ok = chmod(path, 0700) == 0;
        else
            ok = errno == EEXIST || errno == EROFS || (at && errno == EACCES);
        if (at)
            *at++ = '/';
    }
    struct stat info;
    if (ok && stat(path, &info) != 0) {
        ok = false;
    } else if (ok && !S_ISDIR(info.st_mode)) {
        errno = ENOTDIR;
        ok = false;
    }
    if (ok && info.st_mode & 077 && chmod(path, info.st_mode & 0700) != 0)
        errno = 0; /* another's folder */
    free(path);
    return ok || fail_errno(state, "make the folder", errno, err);
}

static void sync_folder(const char *folder)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    fsync(fd);
    close(fd);
}

static bool make_tables(struct vr_state *state, const char *path, struct vr_error *err)
{
    char sql[200];
    snprintf(sql, sizeof(sql),
             "PRAGMA application_id = %d; PRAGMA user_version = %d; INSERT INTO meta VALUES "
             "('digest', '0');",
             APPLICATION, FORMAT);
    bool ok = sqlite3_open_v2(path, &state->db, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK;
    if (!ok)
        fail_sqlite(state, state->db, "make a file", err);
    ok = ok && run_sql(state, "PRAGMA synchronous = EXTRA; BEGIN", "make a file", err) &&
         run_sql(state, schema, "make a file", err) && run_sql(state, sql, "make a file", err) &&
         run_sql(state, "COMMIT", "make a file", err);
    sqlite3_close(state->db);
    state->db = NULL;
    return ok;
}

/* A write-ahead log without its database belongs to one that was moved away. */
static bool make_database(struct vr_state *state, struct vr_error *err)
{
    static const char *const left[] = {"state.db-wal", "state.db-shm", "state.db.new-journal",
                                       "state.db.new"};
    for (size_t i = 0; i < sizeof(left) / sizeof(left[0]); i++) {
        char *path = in_folder(state, left[i]);
        unlink(path);
        free(path);
    }
    char *fresh = in_folder(state, "state.db.new");
    bool ok = make_file(state, fresh, err) && make_tables(state, fresh, err);
    if (ok && rename(fresh, state->path) != 0)
        ok = fail_errno(state, "make a file", errno, err);
    if (ok)
        sync_folder(state->folder);
    else
        unlink(fresh);
    free(fresh);
    return ok;
}

/* In a folder that cannot be written there is no shared memory for the write-ahead log; but without
 * a log the file is whole, and nobody changes it. */
static bool open_unwritable(struct vr_state *state)
{
    char *log = in_folder(state, "state.db-wal");
    bool whole = access(log, F_OK) != 0;
    free(log);
    if (!whole)
        return false;
    char *escaped = sqlite3_mprintf("%s", ""), *uri;
    for (const char *at = state->path; *at; at++) {
        char *more = strchr("%?#", *at) ? sqlite3_mprintf("%s%%%02X", escaped, *at)
                                        : sqlite3_mprintf("%s%c", escaped, *at);
        sqlite3_free(escaped);
        escaped = more;
    }
    uri = sqlite3_mprintf("file:%s?immutable=1", escaped);
    sqlite3_close(state->db);
    state->db = NULL;
    bool ok =
        sqlite3_open_v2(uri, &state->db, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, NULL) == SQLITE_OK;
    sqlite3_free(escaped);
    sqlite3_free(uri);
    return ok;
}

static bool begin_reading(struct vr_state *state, struct vr_error *err)
{
    static const char sql[] = "BEGIN; SELECT count(*) FROM sqlite_schema";
    if (sqlite3_exec(state->db, sql, NULL, NULL, NULL) == SQLITE_OK)
        return true;
    int code = sqlite3_errcode(state->db) & 0xff;
    if (state->read_only && (code == SQLITE_CANTOPEN || code == SQLITE_READONLY) &&
        open_unwritable(state))
        return run_sql(state, sql, "read", err);
    return fail_sqlite(state, state->db, "read", err);
}

static bool read_database(struct vr_state *state, struct vr_error *err)
{
    struct stat info;
    if (stat(state->path, &info) != 0)
        return fail_errno(state, "read", errno, err);
    if (info.st_size == 0)
        return fail_corrupt(state, "the file is empty", err);
    if (!state->read_only && chmod(state->path, 0600) != 0)
        errno = 0;
    int flags = state->read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE;
    if (sqlite3_open_v2(state->path, &state->db, flags, NULL) != SQLITE_OK)
        return fail_sqlite(state, state->db, "open a file", err);
    sqlite3_extended_result_codes(state->db, 1);
    sqlite3_busy_timeout(state->db, 10000);
    if (!state->read_only &&
        !run_sql(state, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL", "open a file", err))
        return false;
    /* who only reads does so in one transaction: the state of one moment */
    if (state->read_only && !begin_reading(state, err))
        return false;
    return check_pages(state, err) && check_format(state, err) && load(state, true, err);
}

static uint64_t number_from(const char *name)
{
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 10) : 0;
}

static bool open_for_writing(struct vr_state *state, double wait, struct vr_error *err)
{
    if (!make_folder(state, err))
        return false;
    if (access(state->folder, W_OK | X_OK) != 0)
        return fail_errno(state, "write", errno, err);
    char *lock = in_folder(state, "lock");
    state->lease = vr_lease_take(lock, state->what, wait, err);
    free(lock);
    if (state->lease < 0)
        return false;
    state->crash_at = number_from("VMRUN_CRASH_AT_COMMIT");
    state->crash_before = number_from("VMRUN_CRASH_BEFORE_COMMIT");
    return (access(state->path, F_OK) == 0 || make_database(state, err)) &&
           read_database(state, err) && start_writer(state, err);
}

static bool open_for_reading(struct vr_state *state, struct vr_error *err)
{
    if (access(state->path, F_OK) != 0)
        return errno == ENOENT || errno == ENOTDIR || fail_errno(state, "read", errno, err);
    bool ok = read_database(state, err);
    sqlite3_close(state->db);
    state->db = NULL;
    return ok;
}

struct vr_state *vr_state_open(const struct vr_state_options *options, struct vr_error *err)
{
    struct vr_state *state = vr_alloc(sizeof(*state));
    state->folder = vr_strdup(options->folder);
    state->path = vr_format("%s/state.db", options->folder);
    state->stack = vr_strdup(options->stack);
    state->what = vr_format("the state of stack '%s'", options->stack);
    state->read_only = options->read_only;
    state->lease = -1;
    state->next_id = 1;
    state->addresses = vr_arena_new();
    state->ready_end = &state->ready;
    pthread_mutex_init(&state->mutex, NULL);
    pthread_mutex_init(&state->notify_mutex, NULL);
    pthread_cond_init(&state->work, NULL);
    pthread_cond_init(&state->done, NULL);
    bool ok = options->read_only ? open_for_reading(state, err)
                                 : open_for_writing(state, options->lock_timeout, err);
    char *key = options->key_file ? vr_strdup(options->key_file) : in_folder(state, "digest.key");
    ok = ok && vr_digest_key_load(&state->key, key, !options->read_only, err);
    free(key);
    if (ok)
        return state;
    vr_state_close(state);
    return NULL;
}

/* Closing */

static void forget_rows(struct vr_state *state)
{
    for (struct slot *slot = state->all, *next; slot; slot = next) {
        next = slot->next;
        free(slot->block);
        free(slot);
    }
    state->all = NULL;
    size_t cursor = 0;
    for (struct meta *meta; (meta = vr_map_next(&state->metas, &cursor, NULL));) {
        json_decref(meta->value);
        free(meta->name);
        free(meta);
    }
    vr_map_free(&state->metas);
    vr_map_free(&state->by_address);
    state->slot_count = state->count = 0;
    state->next_id = 1;
    state->total = 0;
}

static void stop_writer(struct vr_state *state)
{
    if (!state->running)
        return;
    vr_state_commit(state);
    pthread_mutex_lock(&state->mutex);
    state->stop = true;
    pthread_cond_signal(&state->work);
    pthread_mutex_unlock(&state->mutex);
    pthread_join(state->writer, NULL);
}

void vr_state_close(struct vr_state *state)
{
    if (!state)
        return;
    stop_writer(state);
    sqlite3_close(state->db);
    vr_lease_give(state->lease);
    forget_rows(state);
    if (state->open)
        free_batch(state->open);
    vr_digest_key_clear(&state->key);
    vr_error_clear(&state->failure);
    vr_arena_free(state->addresses);
    pthread_mutex_destroy(&state->mutex);
    pthread_mutex_destroy(&state->notify_mutex);
    pthread_cond_destroy(&state->work);
    pthread_cond_destroy(&state->done);
    free(state->slots);
    free(state->folder);
    free(state->path);
    free(state->stack);
    free(state->what);
    free(state);
}
