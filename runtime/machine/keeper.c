#include "machine/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/descriptor.h"
#include "machine/answer.h"
#include "machine/command.h"
#include "machine/lab.h"
#include "machine/namespace.h"
#include "machine/network.h"
#include "machine/watch.h"

struct machine {
    struct vr_watch listener;
    struct machine *next;
    struct keeper *keeper;
    char *name;
    struct vr_namespace space;
};

struct keeper {
    int epoll;
    struct vr_watch input, signals;
    struct vr_buf line;
    struct machine *machines;
    struct vr_commands commands;
    struct vr_lab *lab;
    bool done;
};

static struct machine *find(struct keeper *keeper, const char *name)
{
    struct machine *machine = keeper->machines;
    while (machine && strcmp(machine->name, name) != 0)
        machine = machine->next;
    return machine;
}

static void free_machine(struct machine *machine)
{
    vr_namespace_free(&machine->space);
    free(machine->name);
    free(machine);
}

static bool enter(const void *place)
{
    return vr_namespace_enter(place);
}

static void on_connections(struct vr_watch *watch, unsigned events)
{
    (void)events;
    struct machine *machine = watch->owner;
    for (int fd; (fd = accept4(watch->fd, NULL, NULL, SOCK_CLOEXEC)) >= 0;) {
        pid_t pid = fork();
        if (pid == 0) {
            vr_command_child();
            int null = enter(&machine->space) ? open("/dev/null", O_WRONLY) : -1;
            if (null < 0 || dup2(fd, 0) < 0 || dup2(fd, 1) < 0 || dup2(null, 2) < 0)
                _exit(126);
            execle("/usr/sbin/sshd", "sshd", "-i", "-f", "/etc/ssh/sshd_config", (char *)NULL,
                   vr_command_environment);
            _exit(127);
        }
        close(fd);
    }
}

static void up(struct keeper *keeper, const json_t *id, const json_t *message)
{
    struct vr_error err = {0};
    const char *name = vr_message_text(message, "machine");
    if (find(keeper, name)) {
        vr_error_set(&err, "machine", "machine %s is up already", name);
        vr_answer_error(id, &err);
        return;
    }
    struct machine *machine = vr_alloc(sizeof(*machine));
    machine->name = vr_strdup(name);
    const char *address = vr_message_text(message, "address");
    int port = vr_message_number(message, "port"), fd = -1;
    if (!vr_namespace_new(&machine->space, vr_message_text(message, "root"),
                          vr_message_text(message, "commands"),
                          vr_message_text(message, "hostname"), &err) ||
        (fd = vr_network_listen(NULL, -1, address, port)) < 0) {
        if (!err.message)
            vr_error_system(&err, errno, "cannot listen on %s:%d", address, port);
        free_machine(machine);
        vr_answer_error(id, &err);
        return;
    }
    machine->keeper = keeper;
    vr_watch_begin(&machine->listener, keeper->epoll, fd, machine, on_connections);
    machine->next = keeper->machines;
    keeper->machines = machine;
    vr_answer_ok(id);
}

/* Everybody who ended, whoever asks: an exit code that is thrown away would leave a command's
 * caller waiting forever. */
static void reap(struct keeper *keeper)
{
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
        if (!vr_command_ended(&keeper->commands, pid, status))
            vr_lab_ended(keeper->lab, pid, status);
}

static void take_down(struct keeper *keeper, struct machine *machine)
{
    vr_watch_end(&machine->listener);
    /* A process may fork while it is looked for: ask again until nobody is left. */
    for (int i = 0; i < 20 && vr_namespace_kill(&machine->space, SIGKILL) > 0; i++)
        reap(keeper);
    free_machine(machine);
}

static void down(struct keeper *keeper, const json_t *id, const json_t *message)
{
    struct machine **at = &keeper->machines;
    while (*at && strcmp((*at)->name, vr_message_text(message, "machine")) != 0)
        at = &(*at)->next;
    struct machine *machine = *at;
    if (machine) {
        *at = machine->next;
        take_down(keeper, machine);
    }
    vr_answer_ok(id);
}

static void run(struct keeper *keeper, const json_t *id, const json_t *message)
{
    struct vr_error err = {0};
    struct machine *machine = find(keeper, vr_message_text(message, "machine"));
    if (machine) {
        vr_command_start(&keeper->commands, id, message, enter, &machine->space);
        return;
    }
    vr_error_set(&err, "machine", "machine %s is not running", vr_message_text(message, "machine"));
    vr_answer_error(id, &err);
}

static void on_signals(struct vr_watch *watch, unsigned events)
{
    (void)events;
    struct keeper *keeper = watch->owner;
    struct signalfd_siginfo info;
    while (read(watch->fd, &info, sizeof(info)) == sizeof(info))
        if (info.ssi_signo != SIGCHLD)
            keeper->done = true;
    reap(keeper);
}

static void obey(struct keeper *keeper, const char *text, size_t length)
{
    json_t *message = json_loadb(text, length, 0, NULL);
    const json_t *id = json_object_get(message, "id");
    const char *op = vr_message_text(message, "op");
    bool done = vr_lab_obey(keeper->lab, op, id, message);
    if (!done && id && strcmp(op, "up") == 0)
        up(keeper, id, message);
    else if (!done && id && strcmp(op, "down") == 0)
        down(keeper, id, message);
    else if (!done && id && strcmp(op, "run") == 0)
        run(keeper, id, message);
    json_decref(message);
}

static void on_input(struct vr_watch *watch, unsigned events)
{
    (void)events;
    struct keeper *keeper = watch->owner;
    char chunk[65536];
    ssize_t got = read(watch->fd, chunk, sizeof(chunk));
    if (got <= 0) {
        keeper->done = got == 0 || errno != EAGAIN;
        return;
    }
    vr_buf_add(&keeper->line, chunk, (size_t)got);
    char *end;
    while (keeper->line.length && (end = memchr(keeper->line.data, '\n', keeper->line.length))) {
        size_t length = (size_t)(end - keeper->line.data);
        obey(keeper, keeper->line.data, length);
        vr_buf_consume(&keeper->line, length + 1);
    }
}

int vr_keeper_main(void)
{
    struct keeper keeper = {.epoll = epoll_create1(EPOLL_CLOEXEC)};
    vr_descriptor_room(ULONG_MAX);
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGCHLD), sigaddset(&mask, SIGTERM), sigaddset(&mask, SIGINT),
        sigaddset(&mask, SIGHUP);
    sigprocmask(SIG_BLOCK, &mask, NULL);
    signal(SIGPIPE, SIG_IGN);
    keeper.commands.epoll = keeper.epoll;
    keeper.lab = vr_lab_new(keeper.epoll, &keeper.commands);
    int signals = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
    vr_watch_begin(&keeper.signals, keeper.epoll, signals, &keeper, on_signals);
    vr_watch_begin(&keeper.input, keeper.epoll, STDIN_FILENO, &keeper, on_input);
    while (!keeper.done)
        vr_watch_wait(keeper.epoll);
    while (keeper.machines) {
        struct machine *machine = keeper.machines;
        keeper.machines = machine->next;
        take_down(&keeper, machine);
    }
    vr_lab_free(keeper.lab);
    vr_buf_free(&keeper.line);
    return 0;
}
