/* The thread that writes: see state.c. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/state.h"
#include "engine/state_internal.h"

bool state_prepare_all(struct vr_state *state, struct statements *all, struct vr_error *err)
{
    return state_prepare(
               state,
               "INSERT OR REPLACE INTO rows (id, address, kind, member, identity, inputs, outputs, "
               "deps, file, intent, recorded, line, duration, sum) VALUES (?1, ?2, ?3, ?4, ?5, ?6, "
               "?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
               &all->put, err) &&
           state_prepare(state, "DELETE FROM rows WHERE id = ?1", &all->remove, err) &&
           state_prepare(state, "INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)",
                         &all->set, err) &&
           state_prepare(state, "DELETE FROM meta WHERE name = ?1", &all->unset, err);
}

void state_finalize_all(struct statements *all)
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

bool state_write_row(struct statements *all, const struct record *record)
{
    const struct vr_row *row = record->row;
    const char *texts[STATE_TEXTS];
    state_row_texts(row, texts);
    sqlite3_bind_int64(all->put, 1, record->id);
    for (int i = 0; i < STATE_TEXTS; i++)
        sqlite3_bind_text(all->put, i + 2, texts[i], -1, SQLITE_STATIC);
    sqlite3_bind_int(all->put, 12, row->line);
    sqlite3_bind_double(all->put, 13, row->duration);
    sqlite3_bind_int64(all->put, 14, (sqlite3_int64)record->sum);
    return step(all->put);
}

bool state_write_meta(struct statements *all, const char *name, const char *text)
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
        return state_write_meta(all, record->name, record->text);
    if (record->row)
        return state_write_row(all, record);
    sqlite3_bind_int64(all->remove, 1, record->id);
    return step(all->remove);
}

/* The batches as one transaction, durable when this returns true. */
static bool write_batches(struct vr_state *state, struct statements *all,
                          const struct batch *batches, struct vr_error *err)
{
    errno = 0;
    bool ok = state_run_sql(state, "BEGIN IMMEDIATE", "write", err);
    char total[24] = "";
    for (const struct batch *batch = batches; ok && batch; batch = batch->next) {
        for (const struct record *record = batch->first; ok && record; record = record->next)
            ok = write_record(all, record);
        snprintf(total, sizeof(total), "%lld", (long long)batch->total);
    }
    if (ok)
        ok = state_write_meta(all, "digest", total);
    if (ok && atomic_load(&state->commits) + 1 == state->crash_before)
        _exit(137);
    if (ok)
        ok = sqlite3_exec(state->db, "COMMIT", NULL, NULL, NULL) == SQLITE_OK;
    if (!ok) {
        if (err && !err->message)
            state_fail_sqlite(state, state->db, "write", err);
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
    bool ok = state_prepare_all(state, &all, &err);
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
            state_free_batch(batches);
        }
        tell(state);
    }
    vr_error_clear(&err);
    state_finalize_all(&all);
    return NULL;
}

/* Signals are the loop's. */
bool state_start_writer(struct vr_state *state, struct vr_error *err)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int code = pthread_create(&state->writer, NULL, write_loop, state);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    state->running = code == 0;
    return state->running || state_fail_errno(state, "start the writer", code, err);
}

uint64_t vr_state_commit(struct vr_state *state)
{
    struct batch *batch = state->open;
    if (!batch)
        return state->requested;
    state->requested++;
    state_put_meta(state, "serial", json_integer((json_int_t)vr_state_serial(state)));
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

void state_stop_writer(struct vr_state *state)
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
