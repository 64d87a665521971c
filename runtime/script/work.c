#include "script/work.h"

#include <lauxlib.h>
#include <stdlib.h>
#include <uv.h>

#include "base/alloc.h"
#include "net/loop.h"
#include "script/task.h"
#include "script/value.h"

#define HOLDER "vr.work"

struct holder;
struct job { /* lives until the thread is done */
    uv_work_t uv;
    struct vr_work *work;
    struct holder *holder; /* NULL: nobody waits */
};

struct holder { /* on the task's stack; owns the work unless a job does */
    struct vr_park park;
    struct vr_work *work;
    struct job *job;
};

static void free_work(struct vr_work *work)
{
    vr_error_clear(&work->error);
    work->free(work);
}

static void job_run(uv_work_t *uv)
{
    struct job *job = uv->data;
    job->work->run(job->work);
}

static void job_done(uv_work_t *uv, int status)
{
    (void)status;
    struct job *job = uv->data;
    if (job->holder) {
        job->holder->job = NULL;
        vr_task_wake(&job->holder->park);
    } else {
        free_work(job->work);
    }
    free(job);
}

static void abandon(struct vr_park *park)
{
    struct holder *holder = (struct holder *)park;
    if (!holder->job)
        return;
    holder->job->holder = NULL;
    holder->job = NULL;
    holder->work = NULL;
}

static int holder_gc(lua_State *L)
{
    struct holder *holder = lua_touserdata(L, 1);
    abandon(&holder->park);
    if (holder->work)
        free_work(holder->work);
    holder->work = NULL;
    return 0;
}

int vr_work(lua_State *L, struct vr_work *work, lua_KFunction finish)
{
    struct holder *holder = lua_newuserdatauv(L, sizeof(*holder), 0);
    *holder = (struct holder){.park.cancel = abandon, .work = work};
    if (luaL_newmetatable(L, HOLDER)) {
        lua_pushcfunction(L, holder_gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    if (!vr_task_can_park(L)) {
        work->run(work);
        return finish(L, LUA_OK, 0);
    }
    struct job *job = vr_alloc(sizeof(*job));
    *job = (struct job){.work = work, .holder = holder};
    job->uv.data = job;
    holder->job = job;
    uv_queue_work(vr_loop_uv(vr_script_loop(L)), &job->uv, job_run, job_done);
    return vr_task_park(L, &holder->park, finish, 0);
}

struct vr_work *vr_work_of(lua_State *L)
{
    return ((struct holder *)lua_touserdata(L, -1))->work;
}
