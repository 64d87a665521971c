/* All rows are in memory; the file is only read when it is opened. The caller's thread appends
 * records to an open batch that is its own; a commit closes the batch and hands it to the writer's
 * thread, which alone uses the connection. It takes all batches that wait as one transaction, so
 * one commit, one fsync (write-ahead log, synchronous=FULL) and one is in flight.
 *
 * SQLite notices a broken page, not a broken text: each row has a sum of its texts, and meta has
 * the sum of all sums, so that flipped bits and rows of an older page are seen when the file is
 * read. */
#include "engine/state.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "engine/lease.h"
#include "engine/state_internal.h"

/* Rows and their sums */

void state_row_texts(const struct vr_row *row, const char *texts[STATE_TEXTS])
{
    const char *all[STATE_TEXTS] = {row->address, row->kind,    row->member, row->identity,
                                    row->inputs,  row->outputs, row->deps,   row->file,
                                    row->intent,  row->recorded};
    memcpy(texts, all, sizeof(all));
}

static uint64_t add_text(uint64_t sum, const char *text)
{
    size_t length = text ? strlen(text) : SIZE_MAX;
    sum = vr_hash(&length, sizeof(length), sum);
    return text ? vr_hash(text, length, sum) : sum;
}

uint64_t state_sum_row(int64_t id, const struct vr_row *row)
{
    const char *texts[STATE_TEXTS];
    uint64_t sum = vr_hash(&id, sizeof(id), 0);
    state_row_texts(row, texts);
    for (size_t i = 0; i < STATE_TEXTS; i++)
        sum = add_text(sum, texts[i]);
    sum = vr_hash(&row->line, sizeof(row->line), sum);
    return vr_hash(&row->duration, sizeof(row->duration), sum);
}

uint64_t state_sum_meta(const char *name, const char *text)
{
    return add_text(add_text(0, name), text);
}

struct vr_row *state_copy_row(const struct vr_row *row)
{
    const char *texts[STATE_TEXTS];
    state_row_texts(row, texts);
    size_t size = sizeof(*row), lengths[STATE_TEXTS];
    for (size_t i = 0; i < STATE_TEXTS; i++)
        size += lengths[i] = texts[i] ? strlen(texts[i]) + 1 : 0;
    struct vr_row *copy = vr_alloc(size);
    char *to = (char *)(copy + 1), *places[STATE_TEXTS];
    for (size_t i = 0; i < STATE_TEXTS; i++) {
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

struct slot *state_add_slot(struct vr_state *state, const char *address, int64_t id)
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

void state_fill_slot(struct vr_state *state, struct slot *slot, struct vr_row *block)
{
    const char *address = slot->row.address;
    void *mark = block->mark ? block->mark : slot->row.mark;
    slot->row = *block;
    slot->row.address = address;
    slot->row.mark = mark;
    free(slot->block);
    slot->block = block;
    state->total ^= slot->sum;
    slot->sum = state_sum_row(slot->id, &slot->row);
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
    record->row = removed ? NULL : state_copy_row(&slot->row);
}

void state_free_batch(struct batch *batch)
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

struct slot *state_find_slot(const struct vr_state *state, const char *address)
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
    struct slot *slot = state_find_slot(state, row->address);
    struct vr_row *block = state_copy_row(&safe); /* first: row may be the slot's own */
    if (!slot)
        slot = state_add_slot(state, row->address, state->next_id);
    state_fill_slot(state, slot, block);
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
    struct slot *slot = state_find_slot(state, from);
    if (!slot)
        return vr_error_set(err, "missing", "%s has no %s", state->what, from);
    if (state_find_slot(state, to))
        return vr_error_set(err, "duplicate", "%s cannot become %s: %s has both", from, to,
                            state->what);
    vr_map_remove(&state->by_address, from);
    slot->row.address = vr_arena_strdup(state->addresses, to);
    vr_map_set(&state->by_address, slot->row.address, slot);
    state_fill_slot(state, slot, state_copy_row(&slot->row));
    queue_slot(state, slot, false);
    return true;
}

struct meta *state_find_meta(struct vr_state *state, const char *name)
{
    struct meta *meta = vr_map_get(&state->metas, name);
    if (!meta) {
        meta = vr_alloc(sizeof(*meta));
        meta->name = vr_strdup(name);
        vr_map_set(&state->metas, meta->name, meta);
    }
    return meta;
}

void state_put_meta(struct vr_state *state, const char *name, json_t *value)
{
    struct meta *meta = state_find_meta(state, name);
    char *text = value ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_SORT_KEYS) : NULL;
    json_decref(meta->value);
    meta->value = value;
    state->total ^= meta->sum;
    meta->sum = text ? state_sum_meta(name, text) : 0;
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
    const struct meta *known = vr_map_get(&state->metas, name);
    json_t *kept = value ? vr_state_redact(state, value) : NULL;
    json_decref(value);
    if (kept ? known && json_equal(kept, known->value) : !known || !known->value)
        json_decref(kept); /* an apply with nothing to do writes nothing */
    else
        state_put_meta(state, name, kept);
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
    struct slot *slot = state_find_slot(state, address);
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

/* Opening and closing */

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
    bool ok = options->read_only ? state_open_for_reading(state, err)
                                 : state_open_for_writing(state, options->lock_timeout, err);
    char *key =
        options->key_file ? vr_strdup(options->key_file) : state_in_folder(state, "digest.key");
    ok = ok && vr_digest_key_load(&state->key, key, !options->read_only || options->make_key, err);
    free(key);
    if (ok)
        return state;
    vr_state_close(state);
    return NULL;
}

void state_forget_rows(struct vr_state *state)
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

void vr_state_close(struct vr_state *state)
{
    if (!state)
        return;
    state_stop_writer(state);
    sqlite3_close(state->db);
    vr_lease_give(state->lease);
    state_forget_rows(state);
    if (state->open)
        state_free_batch(state->open);
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
