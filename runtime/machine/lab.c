#include "machine/lab.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "machine/answer.h"
#include "machine/door.h"
#include "machine/network.h"
#include "machine/outward.h"
#include "machine/relay.h"
#include "machine/system.h"
#include "machine/watch.h"

enum { LOOK_MS = 10, LOOKS = 200 };

struct machine {
    struct vr_lab *lab;
    struct machine *next;
    char *name;
    struct vr_system system;
    struct vr_watch prepared, notify, grace;
    json_t *boot, *go; /* who waits for it */
    json_t *halts;     /* all who wait for its end; NULL: nobody */
    const char *how;   /* it ended; NULL: it has not */
    int looked;        /* how often its cgroups were not yet empty */
    struct vr_doors doors;
};

struct vr_lab {
    int epoll;
    struct vr_commands *commands;
    struct vr_cgroups *cgroups;
    struct vr_network network;
    struct vr_relays relays;
    struct vr_outward outward;
    char *base, *prefix;
    struct machine *machines;
};

struct vr_lab *vr_lab_new(int epoll, struct vr_commands *commands)
{
    struct vr_lab *lab = vr_alloc(sizeof(*lab));
    lab->epoll = epoll;
    lab->commands = commands;
    lab->relays.epoll = epoll;
    lab->network = (struct vr_network){-1, -1};
    vr_outward_init(&lab->outward, epoll, &lab->network, &lab->relays);
    return lab;
}

static struct machine *find(struct vr_lab *lab, const char *name)
{
    struct machine *machine = lab->machines;
    while (machine && strcmp(machine->name, name) != 0)
        machine = machine->next;
    return machine;
}

static void fail(const json_t *id, const char *text, const char *name)
{
    struct vr_error err = {0};
    vr_error_set(&err, "machine", text, name);
    vr_answer_error(id, &err);
}

static void begin(struct vr_lab *lab, const json_t *id, const json_t *message)
{
    struct vr_error err = {0};
    if (!lab->cgroups)
        lab->cgroups = vr_cgroups_find(&err);
    if (lab->cgroups && (lab->network.router >= 0 || vr_network_new(&lab->network, &err))) {
        free(lab->base);
        free(lab->prefix);
        lab->base = vr_strdup(vr_message_text(message, "base"));
        lab->prefix = vr_strdup(vr_message_text(message, "prefix"));
        vr_cgroup_sweep(lab->cgroups, lab->prefix);
        vr_answer_ok(id);
        return;
    }
    vr_answer_error(id, &err);
}

/* Asked before there is a base. */
static void try_out(const json_t *id, const json_t *message)
{
    struct vr_error err = {0};
    struct vr_cgroups *cgroups = vr_cgroups_find(&err);
    bool ok = cgroups && vr_system_try(cgroups, vr_message_text(message, "cgroup"),
                                       vr_message_text(message, "folder"), &err);
    vr_cgroups_free(cgroups);
    if (ok)
        vr_answer_ok(id);
    else
        vr_answer_error(id, &err);
}

/* Machines. */

static void free_machine(struct machine *machine)
{
    vr_watch_end(&machine->prepared);
    vr_watch_end(&machine->notify);
    vr_watch_end(&machine->grace);
    vr_doors_close(&machine->doors);
    vr_system_free(&machine->system);
    free(machine->name);
    free(machine);
}

static void on_prepared(struct vr_watch *watch, unsigned events)
{
    (void)events;
    struct machine *machine = watch->owner;
    struct vr_error err = {0};
    bool ok = vr_system_prepared(&machine->system, &err);
    vr_watch_end(watch);
    if (ok) {
        vr_answer(json_pack("{s:O, s:i}", "id", machine->boot, "pid", (int)machine->system.pid));
        json_decref(machine->boot);
        machine->boot = NULL;
    } else {
        vr_answer_once(&machine->boot, &err);
        vr_error_clear(&err);
        vr_system_kill(&machine->system);
    }
}

static void on_notify(struct vr_watch *watch, unsigned events)
{
    (void)events;
    struct machine *machine = watch->owner;
    char text[4096];
    ssize_t got = recv(watch->fd, text, sizeof(text) - 1, MSG_DONTWAIT);
    text[got > 0 ? got : 0] = '\0';
    if (strncmp(text, "READY=1", 7) == 0 || strstr(text, "\nREADY=1"))
        vr_answer_once(&machine->go, NULL);
}

static void boot(struct vr_lab *lab, const json_t *id, const json_t *message)
{
    struct vr_error err = {0};
    const char *name = vr_message_text(message, "machine");
    if (!lab->cgroups || find(lab, name)) {
        fail(id, lab->cgroups ? "machine %s is up already" : "machine %s has no lab to be in",
             name);
        return;
    }
    struct machine *machine = vr_alloc(sizeof(*machine));
    machine->lab = lab;
    machine->name = vr_strdup(name);
    machine->doors = (struct vr_doors){lab->epoll, &lab->network, &lab->relays, NULL};
    struct vr_system_plan plan = {lab->base, vr_message_text(message, "folder"),
                                  vr_message_text(message, "hostname")};
    char *cgroup = vr_format("%s%s", lab->prefix, name);
    bool ok = vr_system_start(&machine->system, lab->cgroups, cgroup, &plan, &err);
    free(cgroup);
    if (!ok && machine->system.pid == 0) {
        free_machine(machine);
        vr_answer_error(id, &err);
        return;
    }
    machine->next = lab->machines;
    lab->machines = machine;
    if (!ok) { /* its end is seen as any other */
        vr_answer_error(id, &err);
        vr_system_kill(&machine->system);
        return;
    }
    machine->boot = json_incref((json_t *)id);
    vr_watch_begin(&machine->prepared, lab->epoll, machine->system.prepared, machine, on_prepared);
    vr_watch_begin(&machine->notify, lab->epoll, machine->system.notify, machine, on_notify);
}

static void go(struct machine *machine, const json_t *id)
{
    if (machine->go) {
        fail(id, "machine %s is on its way up already", machine->name);
        return;
    }
    machine->go = json_incref((json_t *)id);
    vr_system_go(&machine->system);
}

static void on_grace(struct vr_watch *watch, unsigned events)
{
    (void)events;
    struct machine *machine = watch->owner;
    vr_watch_end(watch);
    vr_system_kill(&machine->system);
}

static void halt(struct machine *machine, const json_t *id, int grace)
{
    if (!machine->halts)
        machine->halts = json_array();
    json_array_append(machine->halts, (json_t *)id);
    vr_doors_close(&machine->doors);
    if (machine->how)
        return; /* its processes are gone; it is seen when its cgroups are */
    if (grace <= 0) {
        vr_system_kill(&machine->system);
        return;
    }
    vr_system_power_off(&machine->system);
    vr_watch_end(&machine->grace);
    vr_watch_timer(&machine->grace, machine->lab->epoll, grace, machine, on_grace);
}

static void settle_halts(struct machine *machine)
{
    size_t i;
    json_t *id;
    json_array_foreach(machine->halts, i, id) vr_answer_ok(id);
    json_decref(machine->halts);
    machine->halts = NULL;
}

/* What a PID namespace's first process dies of tells what reboot(2) was asked for. */
static const char *how_it_ended(int status)
{
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGHUP)
        return "reboot";
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL ? "killed" : "halt";
}

static void take_leave(struct machine *machine);

static void on_looked(struct vr_watch *watch, unsigned events)
{
    (void)events;
    struct machine *machine = watch->owner;
    vr_watch_end(watch);
    take_leave(machine);
}

/* The cgroups first: who is told may start it again at once. Who runs a command in it is outside of
 * its processes, and leaves them a moment later. */
static void take_leave(struct machine *machine)
{
    if (!vr_system_gone(&machine->system) && machine->looked++ < LOOKS) {
        vr_watch_timer(&machine->grace, machine->lab->epoll, LOOK_MS, machine, on_looked);
        return;
    }
    struct machine **at = &machine->lab->machines;
    while (*at != machine)
        at = &(*at)->next;
    *at = machine->next;
    if (machine->halts)
        settle_halts(machine);
    else
        vr_answer(json_pack("{s:s, s:s, s:s}", "event", "ended", "machine", machine->name, "how",
                            machine->how));
    free_machine(machine);
}

void vr_lab_ended(struct vr_lab *lab, pid_t pid, int status)
{
    struct machine *machine = lab->machines;
    while (machine && machine->system.pid != pid)
        machine = machine->next;
    if (!machine)
        return;
    struct vr_error err = {0};
    if (machine->boot)
        vr_error_set(&err, "machine", "its first process ended before it had a root");
    else if (machine->go)
        vr_error_set(&err, "machine", "systemd ended before it was up");
    vr_answer_once(&machine->boot, &err);
    vr_answer_once(&machine->go, &err);
    vr_error_clear(&err);
    vr_watch_end(&machine->prepared);
    vr_watch_end(&machine->notify);
    vr_watch_end(&machine->grace);
    machine->how = how_it_ended(status);
    take_leave(machine);
}

/* Commands. */

static bool enter_machine(const void *place)
{
    return vr_system_enter(place);
}

struct tool_place {
    const struct vr_lab *lab;
    const struct machine *machine; /* NULL: the router */
};

static bool enter_tool(const void *place)
{
    const struct tool_place *tool = place;
    bool there = tool->machine ? vr_system_enter_network(&tool->machine->system)
                               : setns(tool->lab->network.router, CLONE_NEWNET) == 0;
    return there && chroot(tool->lab->base) == 0 && chdir("/") == 0;
}

static void run_tool(struct vr_lab *lab, const json_t *id, const json_t *message)
{
    const char *name = json_string_value(json_object_get(message, "machine"));
    struct tool_place place = {lab, name ? find(lab, name) : NULL};
    if (name && !place.machine)
        fail(id, "machine %s is not there", name);
    else
        vr_command_start(lab->commands, id, message, enter_tool, &place);
}

static bool obey_for(struct machine *machine, const char *op, const json_t *id,
                     const json_t *message)
{
    if (strcmp(op, "halt") == 0)
        halt(machine, id, vr_message_number(message, "grace"));
    else if (machine->how) /* its cgroups are left */
        fail(id, "machine %s has ended", machine->name);
    else if (strcmp(op, "go") == 0)
        go(machine, id);
    else if (strcmp(op, "reach") == 0)
        vr_door_reach(&machine->doors, id, message);
    else if (strcmp(op, "run") == 0)
        vr_command_start(machine->lab->commands, id, message, enter_machine, &machine->system);
    else
        return false;
    return true;
}

bool vr_lab_obey(struct vr_lab *lab, const char *op, const json_t *id, const json_t *message)
{
    struct machine *machine = find(lab, vr_message_text(message, "machine"));
    if (strcmp(op, "try") == 0)
        try_out(id, message);
    else if (strcmp(op, "lab") == 0)
        begin(lab, id, message);
    else if (strcmp(op, "serve") == 0)
        vr_outward_serve(&lab->outward, id, message);
    else if (strcmp(op, "tool") == 0)
        run_tool(lab, id, message);
    else if (strcmp(op, "boot") == 0)
        boot(lab, id, message);
    else if (strcmp(op, "connect") == 0 || strcmp(op, "refuse") == 0)
        vr_outward_answer(&lab->outward, message, op[0] == 'c');
    else if (strcmp(op, "reply") == 0)
        vr_outward_reply(&lab->outward, message);
    else if (machine)
        return obey_for(machine, op, id, message);
    else if (strcmp(op, "halt") == 0)
        vr_answer_ok(id); /* it is not there */
    else if (strcmp(op, "go") == 0 || strcmp(op, "reach") == 0)
        fail(id, "machine %s is not there", vr_message_text(message, "machine"));
    else
        return false;
    return true;
}

void vr_lab_free(struct vr_lab *lab)
{
    for (struct machine *machine = lab->machines; machine; machine = machine->next)
        vr_system_kill(&machine->system);
    while (lab->machines) {
        struct machine *machine = lab->machines;
        lab->machines = machine->next;
        /* All that was in it is gone when its first process is reaped. */
        if (machine->system.pid > 0)
            waitpid(machine->system.pid, NULL, 0);
        settle_halts(machine);
        free_machine(machine);
    }
    vr_relay_end_all(&lab->relays);
    vr_outward_end(&lab->outward);
    vr_network_free(&lab->network);
    vr_cgroups_free(lab->cgroups);
    free(lab->base);
    free(lab->prefix);
    free(lab);
}
