/* A queue a provider, and one for each kind with a limit of its own, which counts against its
 * provider's as well: a binary heap by priority, so that taking and adding cost O(log n). They are
 * few, so choosing between them is a walk. Results only move to the list of finished jobs: the
 * engine's turn looks at them, so a runner may end a step inside of start(). */
#include "engine/crew.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/map.h"

struct waiting {
    double priority;
    uint64_t order;
    void *owner;
};

struct provider {
    char *name;
    struct provider *within; /* of a kind: its provider; else NULL */
    size_t limit, busy;
    struct waiting *heap;
    size_t count, room;
};

struct list {
    struct vr_job *head, *tail;
};

struct vr_crew {
    struct vr_runner runner;
    const struct vr_host *host;
    struct vr_limits limits;
    struct vr_crew_sink sink;
    struct provider **providers;
    size_t provider_count;
    struct vr_map by_name;
    size_t limit, busy;
    uint64_t order;
    struct list running, finished;
    size_t running_count;
    size_t waits; /* of those that run: who waits for what others do */
};

struct vr_crew *vr_crew_new(const struct vr_runner *runner, const struct vr_host *host,
                            const struct vr_limits *limits, struct vr_crew_sink sink)
{
    struct vr_crew *crew = vr_alloc(sizeof(*crew));
    crew->runner = *runner;
    crew->host = host;
    crew->limits = *limits;
    crew->limit = limits->total ? limits->total : 256;
    crew->sink = sink;
    return crew;
}

void vr_crew_free(struct vr_crew *crew)
{
    if (!crew)
        return;
    assert(!crew->running.head);
    for (struct vr_job *job; (job = vr_crew_finished(crew));)
        vr_job_free(job);
    for (size_t i = 0; i < crew->provider_count; i++) {
        free(crew->providers[i]->name);
        free(crew->providers[i]->heap);
        free(crew->providers[i]);
    }
    free(crew->providers);
    vr_map_free(&crew->by_name);
    free(crew);
}

/* 0: it is not listed. */
static size_t listed(const struct vr_crew *crew, const char *name)
{
    for (size_t i = 0; i < crew->limits.count; i++)
        if (strcmp(crew->limits.names[i], name) == 0)
            return crew->limits.limits[i] ? crew->limits.limits[i] : 1;
    return 0;
}

static struct provider *add_provider(struct vr_crew *crew, const char *name, size_t limit,
                                     struct provider *within)
{
    struct provider *provider = vr_alloc(sizeof(*provider));
    provider->name = vr_strdup(name);
    provider->limit = limit;
    provider->within = within;
    crew->providers =
        vr_realloc(crew->providers, (crew->provider_count + 1) * sizeof(*crew->providers));
    crew->providers[crew->provider_count++] = provider;
    vr_map_set(&crew->by_name, provider->name, provider);
    return provider;
}

static struct provider *provider_of(struct vr_crew *crew, const struct vr_kind *kind)
{
    const char *name = kind->provider ? kind->provider : "";
    struct provider *provider = vr_map_get(&crew->by_name, name);
    if (!provider) {
        size_t limit = listed(crew, name), each = crew->limits.each ? crew->limits.each : 64;
        provider = add_provider(crew, name, limit ? limit : each, NULL);
    }
    size_t own = crew->limits.count > 0 ? listed(crew, kind->name) : 0;
    if (!own)
        own = kind->at_once;
    if (!own || strcmp(kind->name, name) == 0)
        return provider;
    struct provider *of_kind = vr_map_get(&crew->by_name, kind->name);
    return of_kind ? of_kind : add_provider(crew, kind->name, own, provider);
}

static bool has_room(const struct provider *p)
{
    return p->busy < p->limit && (!p->within || has_room(p->within));
}

static bool before(const struct waiting *a, const struct waiting *b)
{
    return a->priority != b->priority ? a->priority > b->priority : a->order < b->order;
}

void vr_crew_wait(struct vr_crew *crew, const struct vr_kind *kind, double priority, void *owner)
{
    struct provider *p = provider_of(crew, kind);
    if (p->count == p->room) {
        p->room = p->room ? p->room * 2 : 16;
        p->heap = vr_realloc(p->heap, p->room * sizeof(*p->heap));
    }
    struct waiting item = {priority, crew->order++, owner};
    size_t at = p->count++;
    for (; at > 0 && before(&item, &p->heap[(at - 1) / 2]); at = (at - 1) / 2)
        p->heap[at] = p->heap[(at - 1) / 2];
    p->heap[at] = item;
}

static void *pop(struct provider *p)
{
    void *owner = p->heap[0].owner;
    struct waiting last = p->heap[--p->count];
    size_t at = 0;
    for (size_t child; (child = 2 * at + 1) < p->count; at = child) {
        if (child + 1 < p->count && before(&p->heap[child + 1], &p->heap[child]))
            child++;
        if (!before(&p->heap[child], &last))
            break;
        p->heap[at] = p->heap[child];
    }
    p->heap[at] = last;
    return owner;
}

static bool only_waits(const struct vr_crew *crew)
{
    return crew->waits == crew->busy;
}

void *vr_crew_take(struct vr_crew *crew)
{
    struct provider *best = NULL;
    for (size_t i = 0; i < crew->provider_count; i++) {
        struct provider *p = crew->providers[i];
        bool may = (crew->busy < crew->limit && has_room(p)) || only_waits(crew);
        if (p->count > 0 && may && (!best || before(&p->heap[0], &best->heap[0])))
            best = p;
    }
    if (!best)
        return NULL;
    for (struct provider *p = best; p; p = p->within)
        p->busy++;
    crew->busy++;
    return pop(best);
}

void vr_crew_leave(struct vr_crew *crew, const struct vr_kind *kind)
{
    struct provider *p = provider_of(crew, kind);
    assert(p->busy > 0 && crew->busy > 0);
    for (; p; p = p->within)
        p->busy--;
    crew->busy--;
}

void *vr_crew_drop(struct vr_crew *crew)
{
    for (size_t i = 0; i < crew->provider_count; i++)
        if (crew->providers[i]->count > 0)
            return crew->providers[i]->heap[--crew->providers[i]->count].owner;
    return NULL;
}

static void add(struct list *list, struct vr_job *job)
{
    job->next = NULL;
    job->prev = list->tail;
    if (list->tail)
        list->tail->next = job;
    else
        list->head = job;
    list->tail = job;
}

static void take_out(struct list *list, struct vr_job *job)
{
    if (job->prev)
        job->prev->next = job->next;
    else
        list->head = job->next;
    if (job->next)
        job->next->prev = job->prev;
    else
        list->tail = job->prev;
    job->prev = job->next = NULL;
}

struct vr_job *vr_job_new(struct vr_crew *crew, const struct vr_kind *kind, enum vr_verb verb,
                          void *owner)
{
    struct vr_job *job = vr_alloc(sizeof(*job));
    job->crew = crew;
    job->owner = owner;
    job->step.verb = verb;
    job->step.kind = kind;
    job->step.timeout = kind->timeouts[verb];
    return job;
}

void vr_job_start(struct vr_job *job)
{
    struct vr_crew *crew = job->crew;
    add(&crew->running, job);
    crew->running_count++;
    job->started = crew->host->now(crew->host->payload);
    crew->runner.start(crew->runner.payload, &job->step);
}

struct vr_job *vr_crew_finished(struct vr_crew *crew)
{
    struct vr_job *job = crew->finished.head;
    if (job)
        take_out(&crew->finished, job);
    return job;
}

bool vr_crew_has_finished(const struct vr_crew *crew)
{
    return crew->finished.head != NULL;
}

void vr_job_free(struct vr_job *job)
{
    json_decref(job->step.fields);
    json_decref(job->step.unknown);
    json_decref(job->step.prior);
    json_decref(job->step.changes);
    json_decref(job->step.recorded);
    json_decref(job->result);
    vr_error_clear(&job->error);
    free(job);
}

size_t vr_crew_running(const struct vr_crew *crew)
{
    return crew->running_count;
}

void vr_crew_cancel(struct vr_crew *crew, const char *reason)
{
    /* A runner may end steps while it is asked to; their jobs stay until the next turn. */
    size_t count = 0;
    struct vr_job **jobs = vr_alloc((crew->running_count + 1) * sizeof(struct vr_job *));
    for (struct vr_job *job = crew->running.head; job; job = job->next)
        jobs[count++] = job;
    for (size_t i = 0; i < count; i++)
        if (!jobs[i]->done && crew->runner.cancel)
            crew->runner.cancel(crew->runner.payload, &jobs[i]->step, reason);
    free(jobs);
}

void vr_step_done(struct vr_step *step, json_t *result, struct vr_error *err)
{
    struct vr_job *job = (struct vr_job *)step;
    struct vr_crew *crew = job->crew;
    assert(!job->done);
    job->done = true;
    if (err && err->message)
        vr_error_move(&job->error, err);
    if (job->error.message)
        json_decref(result);
    else
        job->result = result;
    vr_step_waits(step, false);
    take_out(&crew->running, job);
    crew->running_count--;
    add(&crew->finished, job);
    crew->host->notify(crew->host->payload);
}

void vr_step_record(struct vr_step *step, json_t *note, vr_step_recorded done, void *payload)
{
    struct vr_job *job = (struct vr_job *)step;
    assert(!job->done);
    job->crew->sink.record(job->crew->sink.payload, job, note, done, payload);
}

bool vr_step_waits(struct vr_step *step, bool waits)
{
    struct vr_job *job = (struct vr_job *)step;
    struct vr_crew *crew = job->crew;
    crew->waits = crew->waits - job->waits + waits;
    job->waits = waits;
    if (!only_waits(crew))
        return false;
    crew->host->notify(crew->host->payload);
    for (size_t i = 0; i < crew->provider_count; i++)
        if (crew->providers[i]->count > 0)
            return false;
    return true;
}

void vr_step_progress(struct vr_step *step, const char *text, bool said)
{
    struct vr_job *job = (struct vr_job *)step;
    if (job->crew->sink.progress)
        job->crew->sink.progress(job->crew->sink.payload, job, text, said);
}
