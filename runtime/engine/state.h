/* What is remembered of a stack: SQLite behind a small interface (open under a lease, read, append,
 * close), written by a thread of its own. No secret is ever in it: a keyed digest stands in its
 * place. */
#ifndef VR_ENGINE_STATE_H
#define VR_ENGINE_STATE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct vr_state;

struct vr_state_options {
    const char *folder;   /* stacks/NAME: made 0700; holds state.db */
    const char *key_file; /* the digest key: made 0600 when missing; NULL: folder/digest.key */
    const char *stack;    /* its name */
    bool read_only; /* no lease is taken and nothing can be written; a missing state is empty */
    bool make_key;  /* the digest key is made even so: what is shown is compared later */
    double lock_timeout; /* seconds to wait for another's lease; 0: not at all (this call blocks:
                            command line only) */
};

/* NULL with an error: "locked" (names the holder, pid and since when), "corrupt", "newer" (written
 * by a newer vmrun), "disk", "io". A holder that died has lost its lease. An older format is
 * migrated; state.db.format-N is the copy from before. With VMRUN_CRASH_AT_COMMIT=n in the
 * environment the process ends with code 137 right after the n-th commit of this state is durable,
 * with VMRUN_CRASH_BEFORE_COMMIT=n right before it: for tests. */
struct vr_state *vr_state_open(const struct vr_state_options *options, struct vr_error *err);
/* commits what is queued; blocks; gives the lease back; NULL is fine */
void vr_state_close(struct vr_state *state);

/* Small values by name: "target", "parameters" (JSON), "version", "stdlib". New reference or NULL.
 * The write is queued; a NULL value takes the name out. "serial" and "digest" are the state's own
 * names. */
json_t *vr_state_meta(const struct vr_state *state, const char *name);
/* value is stolen; one that is there already is not written again */
void vr_state_set_meta(struct vr_state *state, const char *name, json_t *value);
uint64_t vr_state_serial(const struct vr_state *state); /* grows with each commit asked for */
const char *vr_state_stack(const struct vr_state *state);

struct vr_row {
    const char *address;
    const char *kind;
    const char *member;   /* a member of a collection: its id; else NULL */
    const char *identity; /* may be NULL */
    const char *inputs;  /* JSON text: fields as last written; whole references as {"$ref": address,
                            "id": ...} */
    const char *outputs; /* JSON text; NULL: none yet */
    const char *deps;    /* JSON text: array of addresses */
    const char *file;    /* may be NULL */
    int line;
    double duration;    /* of its create, seconds; 0: unknown */
    const char *intent; /* a verb that was begun and not ended: the world may hold more than the row
                           says; else NULL */
    const char *recorded; /* JSON text: the verb's last note, or NULL */
    void *mark;           /* for the plan's use */
};

size_t vr_state_count(const struct vr_state *state);
/* in order of appearance; NULL: was removed */
struct vr_row *vr_state_at(const struct vr_state *state, size_t index);
size_t vr_state_slots(const struct vr_state *state); /* indexes run below this */
/* NULL if there is none */
struct vr_row *vr_state_find(const struct vr_state *state, const char *address);
/* Fields and outputs merged: a new reference. */
json_t *vr_row_value(const struct vr_row *row);

/* Appends: they change the rows in memory at once and are queued for the writer. Texts are copied.
 * A row that is put replaces the one at its address: the same struct vr_row, whose texts (but the
 * address) are new ones. It keeps its mark when the new mark is NULL. A removed row's struct stays
 * until the state is closed. What was opened read-only changes in memory only. Should a {"$secret":
 * ...} be in a text, its digest is stored. */
struct vr_row *vr_state_put(struct vr_state *state, const struct vr_row *row);
void vr_state_remove(struct vr_state *state, const char *address);
/* False with an error: no row at `from` ("missing"), one at `to` ("duplicate"). */
bool vr_state_move(struct vr_state *state, const char *from, const char *to, struct vr_error *err);

/* Lets the writer take all that is queued, as one commit. Returns a ticket: the commit is durable
 * when vr_state_durable() >= ticket. Nothing new: the last ticket again, and no commit. One commit
 * is in flight at most; what is committed meanwhile goes together into the next one. notify is
 * called from the writer's thread after each, and not any more when vr_state_on_commit has returned
 * with another. */
uint64_t vr_state_commit(struct vr_state *state);
uint64_t vr_state_durable(const struct vr_state *state);
/* NULL: nobody */
void vr_state_on_commit(struct vr_state *state, void (*notify)(void *payload), void *payload);
bool vr_state_sync(struct vr_state *state, struct vr_error *err); /* commits and waits: blocks */
/* since open; for tests and benches */
uint64_t vr_state_commits(const struct vr_state *state);
/* Why writing failed: all later commits fail too. False: nothing failed. */
bool vr_state_failed(const struct vr_state *state, struct vr_error *err);

/* A copy with {"$digest": "ID:HMAC"} in place of each secret: a new reference. Without the key:
 * {"$digest": null}. vr_digest_same in digest.h compares two: digests of different keys cannot be
 * compared. */
json_t *vr_state_redact(const struct vr_state *state, const json_t *value);
bool vr_state_has_key(const struct vr_state *state);

#endif
