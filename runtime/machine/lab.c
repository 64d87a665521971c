#include "machine/lab.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter_ipv4.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "machine/answer.h"
#include "machine/network.h"
#include "machine/relay.h"
#include "machine/system.h"
#include "machine/watch.h"

enum { TRY_MS = 3000, QUESTION = 1500, LOOK_MS = 10, LOOKS = 200 };

/* Where people on loopback find a port of a machine. */
struct door {
    struct vr_watch listener;
    struct machine *machine;
    struct door *next;
    char *address, *from, *host;
    int number, port;
};

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
    struct door *doors;
};

/* A connection that is tried, to tell whether somebody is there. */
struct attempt {
    struct vr_watch socket, deadline;
    json_t *id;
    char *where;
};

/* A connection of a machine's that the emulator has not said yet where to take. */
struct caller {
    struct caller *next;
    json_int_t number;
    int fd;
};

struct vr_lab {
    int epoll;
    struct vr_commands *commands;
    struct vr_cgroups *cgroups;
    struct vr_network network;
    struct vr_relays relays;
    struct vr_watch callers_in, questions;
    struct caller *callers;
    json_int_t last_number;
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
    lab->callers_in.fd = lab->questions.fd = -1;
    return lab;
}

static struct machine *find(struct vr_lab *lab, const char *name)
{
    struct machine *machine = lab->machines;
    while (machine && strcmp(machine->name, name) != 0)
        machine = machine->next;
    return machine;
}

static int number_of(const json_t *message, const char *key)
{
    return (int)json_integer_value(json_object_get(message, key));
}

static void fail(const json_t *id, const char *text, const char *name)
{
    struct vr_error err = {0};
    vr_error_set(&err, "machine", text, name);
    vr_answer_error(id, &err);
}

/* Somebody who waits is told, once. */
static void settle(json_t **id, struct vr_error *err)
{
    if (*id && err)
        vr_answer_error(*id, err);
    else if (*id)
        vr_answer_ok(*id);
    json_decref(*id);
    *id = NULL;
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

static void close_doors(struct machine *machine)
{
    while (machine->doors) {
        struct door *door = machine->doors;
        machine->doors = door->next;
        vr_watch_end(&door->listener);
        free(door->address);
        free(door->from);
        free(door->host);
        free(door);
    }
}

static void free_machine(struct machine *machine)
{
    vr_watch_end(&machine->prepared);
    vr_watch_end(&machine->notify);
    vr_watch_end(&machine->grace);
    close_doors(machine);
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
        settle(&machine->boot, &err);
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
        settle(&machine->go, NULL);
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
    json_decref(machine->go);
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
    close_doors(machine);
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
    settle(&machine->boot, &err);
    settle(&machine->go, &err);
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

/* Connections. */

static void on_door(struct vr_watch *watch, unsigned events)
{
    (void)events;
    struct door *door = watch->owner;
    struct vr_lab *lab = door->machine->lab;
    for (int fd; (fd = accept4(watch->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0;) {
        int server = vr_network_connect(&lab->network, lab->network.router, door->from, door->host,
                                        door->port);
        if (server >= 0)
            vr_relay_start(&lab->relays, fd, server);
        else
            vr_relay_reset(fd);
    }
}

static bool open_door(struct machine *machine, const json_t *message, struct vr_error *err)
{
    const char *address = vr_message_text(message, "address");
    int number = number_of(message, "listen");
    for (struct door *door = machine->doors; door; door = door->next)
        if (door->number == number && strcmp(door->address, address) == 0)
            return true;
    int fd = vr_network_listen(&machine->lab->network, -1, address, number);
    if (fd < 0)
        return vr_error_system(err, errno, "cannot listen on %s:%d", address, number);
    struct door *door = vr_alloc(sizeof(*door));
    door->machine = machine;
    door->address = vr_strdup(address);
    door->from = vr_strdup(vr_message_text(message, "from"));
    door->host = vr_strdup(vr_message_text(message, "host"));
    door->number = number;
    door->port = number_of(message, "port");
    door->next = machine->doors;
    machine->doors = door;
    vr_watch_begin(&door->listener, machine->lab->epoll, fd, door, on_door);
    return true;
}

static void end_attempt(struct attempt *attempt, int error)
{
    struct vr_error err = {0};
    if (error != 0)
        vr_error_system(&err, error, "%s", attempt->where);
    settle(&attempt->id, error != 0 ? &err : NULL);
    vr_watch_end(&attempt->socket);
    vr_watch_end(&attempt->deadline);
    free(attempt->where);
    free(attempt);
}

static void on_attempt(struct vr_watch *watch, unsigned events)
{
    (void)events;
    struct attempt *attempt = watch->owner;
    int error = ETIMEDOUT;
    socklen_t length = sizeof(error);
    if (watch == &attempt->socket)
        getsockopt(watch->fd, SOL_SOCKET, SO_ERROR, &error, &length);
    end_attempt(attempt, error);
}

static void reach(struct machine *machine, const json_t *id, const json_t *message)
{
    struct vr_lab *lab = machine->lab;
    struct vr_error err = {0};
    const char *host = vr_message_text(message, "host");
    int port = number_of(message, "port");
    if (!open_door(machine, message, &err)) {
        vr_answer_error(id, &err);
        return;
    }
    int fd = vr_network_connect(&lab->network, lab->network.router,
                                vr_message_text(message, "from"), host, port);
    int why = errno;
    struct attempt *attempt = vr_alloc(sizeof(*attempt));
    attempt->id = json_incref((json_t *)id);
    attempt->where = vr_format("%s:%d", host, port);
    if (fd < 0) {
        end_attempt(attempt, why);
        return;
    }
    vr_watch_begin(&attempt->socket, lab->epoll, fd, attempt, on_attempt);
    vr_watch_for(&attempt->socket, EPOLLOUT);
    vr_watch_timer(&attempt->deadline, lab->epoll, TRY_MS, attempt, on_attempt);
}

static void on_callers(struct vr_watch *watch, unsigned events)
{
    (void)events;
    struct vr_lab *lab = watch->owner;
    struct sockaddr_in peer, wanted;
    socklen_t length = sizeof(peer);
    for (int fd; (fd = accept4(watch->fd, (struct sockaddr *)&peer, &length,
                               SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0;) {
        char from[INET_ADDRSTRLEN], host[INET_ADDRSTRLEN];
        socklen_t size = sizeof(wanted);
        if (getsockopt(fd, SOL_IP, SO_ORIGINAL_DST, &wanted, &size) != 0 ||
            !inet_ntop(AF_INET, &peer.sin_addr, from, sizeof(from)) ||
            !inet_ntop(AF_INET, &wanted.sin_addr, host, sizeof(host))) {
            vr_relay_reset(fd);
            continue;
        }
        struct caller *caller = vr_alloc(sizeof(*caller));
        caller->number = ++lab->last_number;
        caller->fd = fd;
        caller->next = lab->callers;
        lab->callers = caller;
        vr_answer(json_pack("{s:s, s:I, s:s, s:s, s:i}", "event", "connection", "connection",
                            caller->number, "from", from, "host", host, "port",
                            (int)ntohs(wanted.sin_port)));
        length = sizeof(peer);
    }
}

static void answer_caller(struct vr_lab *lab, const json_t *message, bool wanted)
{
    json_int_t number = json_integer_value(json_object_get(message, "connection"));
    struct caller **at = &lab->callers;
    while (*at && (*at)->number != number)
        at = &(*at)->next;
    struct caller *caller = *at;
    if (!caller)
        return;
    *at = caller->next;
    int server = wanted
                     ? vr_network_connect(&lab->network, -1, NULL, vr_message_text(message, "host"),
                                          number_of(message, "port"))
                     : -1;
    if (server >= 0)
        vr_relay_start(&lab->relays, caller->fd, server);
    else
        vr_relay_reset(caller->fd);
    free(caller);
}

/* Questions to the name server: short packets, as hexadecimal digits. */

static void on_questions(struct vr_watch *watch, unsigned events)
{
    (void)events;
    unsigned char data[QUESTION];
    char hex[2 * QUESTION + 1], address[INET_ADDRSTRLEN], from[INET_ADDRSTRLEN + 8];
    struct sockaddr_in peer;
    socklen_t length = sizeof(peer);
    for (ssize_t got; (got = recvfrom(watch->fd, data, sizeof(data), MSG_DONTWAIT,
                                      (struct sockaddr *)&peer, &length)) >= 0;) {
        for (ssize_t i = 0; i < got; i++)
            snprintf(hex + 2 * i, 3, "%02x", data[i]);
        hex[2 * got] = '\0';
        inet_ntop(AF_INET, &peer.sin_addr, address, sizeof(address));
        snprintf(from, sizeof(from), "%s:%d", address, (int)ntohs(peer.sin_port));
        vr_answer(json_pack("{s:s, s:s, s:s}", "event", "question", "from", from, "hex", hex));
        length = sizeof(peer);
    }
}

static void reply(struct vr_lab *lab, const json_t *message)
{
    const char *hex = vr_message_text(message, "hex");
    unsigned char data[QUESTION];
    char address[INET_ADDRSTRLEN];
    int port;
    size_t length = strlen(hex) / 2;
    struct sockaddr_in where = {.sin_family = AF_INET};
    if (length > sizeof(data) || lab->questions.fd < 0 ||
        sscanf(vr_message_text(message, "to"), "%15[0-9.]:%d", address, &port) != 2 ||
        inet_pton(AF_INET, address, &where.sin_addr) != 1)
        return;
    for (size_t i = 0; i < length; i++) {
        unsigned byte;
        if (sscanf(hex + 2 * i, "%2x", &byte) != 1)
            return;
        data[i] = (unsigned char)byte;
    }
    where.sin_port = htons((uint16_t)port);
    sendto(lab->questions.fd, data, length, MSG_DONTWAIT, (struct sockaddr *)&where, sizeof(where));
}

static void serve(struct vr_lab *lab, const json_t *id, const json_t *message)
{
    const char *address = vr_message_text(message, "address");
    int port = number_of(message, "redirect");
    int questions = -1;
    int callers = vr_network_listen(&lab->network, lab->network.router, "0.0.0.0", port);
    if (callers >= 0)
        questions = vr_network_datagrams(&lab->network, lab->network.router, address, 53);
    if (questions < 0) {
        struct vr_error err = {0};
        vr_error_system(&err, errno, "the router cannot listen on %s", address);
        vr_answer_error(id, &err);
        if (callers >= 0)
            close(callers);
        return;
    }
    vr_watch_begin(&lab->callers_in, lab->epoll, callers, lab, on_callers);
    vr_watch_begin(&lab->questions, lab->epoll, questions, lab, on_questions);
    vr_answer_ok(id);
}

static bool obey_for(struct machine *machine, const char *op, const json_t *id,
                     const json_t *message)
{
    if (strcmp(op, "halt") == 0)
        halt(machine, id, number_of(message, "grace"));
    else if (machine->how) /* its cgroups are left */
        fail(id, "machine %s has ended", machine->name);
    else if (strcmp(op, "go") == 0)
        go(machine, id);
    else if (strcmp(op, "reach") == 0)
        reach(machine, id, message);
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
        serve(lab, id, message);
    else if (strcmp(op, "tool") == 0)
        run_tool(lab, id, message);
    else if (strcmp(op, "boot") == 0)
        boot(lab, id, message);
    else if (strcmp(op, "connect") == 0 || strcmp(op, "refuse") == 0)
        answer_caller(lab, message, op[0] == 'c');
    else if (strcmp(op, "reply") == 0)
        reply(lab, message);
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
    while (lab->callers) {
        struct caller *caller = lab->callers;
        lab->callers = caller->next;
        vr_relay_reset(caller->fd);
        free(caller);
    }
    vr_watch_end(&lab->callers_in);
    vr_watch_end(&lab->questions);
    vr_network_free(&lab->network);
    vr_cgroups_free(lab->cgroups);
    free(lab->base);
    free(lab->prefix);
    free(lab);
}
