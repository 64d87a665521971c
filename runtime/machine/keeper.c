#include "machine/keeper.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "machine/namespace.h"

enum { MOST_OUTPUT = 4 << 20 };

/* What epoll tells apart: every watched descriptor is the first member of what it belongs to. */
enum watch_type { WATCH_INPUT, WATCH_SIGNALS, WATCH_LISTENER, WATCH_PIPE };
struct watch {
    enum watch_type type;
    int fd;
};

struct machine {
    struct watch listener;
    struct machine *next;
    char *name;
    struct vr_namespace space;
};

/* A command that runs inside a machine. */
struct run {
    struct watch out, err;
    struct run *next;
    json_t *id;
    pid_t pid;
    struct vr_buf text[2]; /* stdout, stderr */
    int open;              /* pipes that have not ended */
    int status;
    bool ended;
};

struct keeper {
    int epoll;
    struct watch input, signals;
    struct vr_buf line;
    struct machine *machines;
    struct run *runs;
    sigset_t old_mask;
    bool done;
};

static void say(json_t *message)
{
    char *text = json_dumps(message, JSON_COMPACT);
    json_decref(message);
    if (!text)
        return;
    printf("%s\n", text);
    fflush(stdout);
    free(text);
}

static void say_error(const json_t *id, struct vr_error *err)
{
    json_t *message = json_pack("{s:O, s:s}", "id", id, "error", err->message);
    if (err->hint)
        json_object_set_new(message, "hint", json_string(err->hint));
    say(message);
    vr_error_clear(err);
}

static void watch(struct keeper *keeper, struct watch *watched, enum watch_type type, int fd)
{
    watched->type = type;
    watched->fd = fd;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = watched};
    epoll_ctl(keeper->epoll, EPOLL_CTL_ADD, fd, &event);
}

/* epoll is told first: a child that has not yet run its program holds a copy, which keeps a closed
 * one watched. */
static void unwatch(struct keeper *keeper, struct watch *watched)
{
    if (watched->fd >= 0) {
        epoll_ctl(keeper->epoll, EPOLL_CTL_DEL, watched->fd, NULL);
        close(watched->fd);
    }
    watched->fd = -1;
}

static struct machine *find(struct keeper *keeper, const char *name)
{
    struct machine *machine = keeper->machines;
    while (machine && strcmp(machine->name, name) != 0)
        machine = machine->next;
    return machine;
}

static int listen_on(const char *address, int port, struct vr_error *err)
{
    struct sockaddr_in where = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (inet_pton(AF_INET, address, &where.sin_addr) == 1 && fd >= 0 &&
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0 &&
        bind(fd, (struct sockaddr *)&where, sizeof(where)) == 0 && listen(fd, 128) == 0)
        return fd;
    vr_error_set(err, "listen", "cannot listen on %s:%d: %s", address, port, strerror(errno));
    if (fd >= 0)
        close(fd);
    return -1;
}

static const char *text_of(const json_t *message, const char *key)
{
    const char *text = json_string_value(json_object_get(message, key));
    return text ? text : "";
}

static void free_machine(struct machine *machine)
{
    vr_namespace_free(&machine->space);
    free(machine->name);
    free(machine);
}

static void up(struct keeper *keeper, const json_t *id, const json_t *message)
{
    struct vr_error err = {0};
    const char *name = text_of(message, "machine");
    if (find(keeper, name)) {
        vr_error_set(&err, "machine", "machine %s is up already", name);
        say_error(id, &err);
        return;
    }
    struct machine *machine = vr_alloc(sizeof(*machine));
    machine->name = vr_strdup(name);
    int port = (int)json_integer_value(json_object_get(message, "port"));
    int fd = -1;
    if (!vr_namespace_new(&machine->space, text_of(message, "root"), text_of(message, "commands"),
                          text_of(message, "hostname"), &err) ||
        (fd = listen_on(text_of(message, "address"), port, &err)) < 0) {
        free_machine(machine);
        say_error(id, &err);
        return;
    }
    watch(keeper, &machine->listener, WATCH_LISTENER, fd);
    machine->next = keeper->machines;
    keeper->machines = machine;
    say(json_pack("{s:O, s:b}", "id", id, "ok", 1));
}

static json_t *clean_text(const struct vr_buf *buf)
{
    json_t *text = buf->data ? json_stringn(buf->data, buf->length) : json_string("");
    return text ? text : json_string("(output that is not UTF-8)");
}

static void settle(struct keeper *keeper, struct run *finished)
{
    if (finished->open > 0 || !finished->ended)
        return;
    int code = WIFEXITED(finished->status) ? WEXITSTATUS(finished->status)
                                           : 128 + WTERMSIG(finished->status);
    say(json_pack("{s:o, s:i, s:o, s:o}", "id", finished->id, "code", code, "stdout",
                  clean_text(&finished->text[0]), "stderr", clean_text(&finished->text[1])));
    struct run **at = &keeper->runs;
    while (*at != finished)
        at = &(*at)->next;
    *at = finished->next;
    vr_buf_free(&finished->text[0]);
    vr_buf_free(&finished->text[1]);
    free(finished);
}

/* Everybody who ended, whoever asks: an exit code that is thrown away would leave a command's
 * caller waiting forever. */
static void reap(struct keeper *keeper)
{
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
        struct run *ended = keeper->runs;
        while (ended && ended->pid != pid)
            ended = ended->next;
        if (ended) {
            ended->status = status;
            ended->ended = true;
            settle(keeper, ended);
        }
    }
}

static void take_down(struct keeper *keeper, struct machine *machine)
{
    unwatch(keeper, &machine->listener);
    /* A process may fork while it is looked for: ask again until nobody is left. */
    for (int i = 0; i < 20 && vr_namespace_kill(&machine->space, SIGKILL) > 0; i++)
        reap(keeper);
    free_machine(machine);
}

static void down(struct keeper *keeper, const json_t *id, const json_t *message)
{
    struct machine **at = &keeper->machines;
    while (*at && strcmp((*at)->name, text_of(message, "machine")) != 0)
        at = &(*at)->next;
    struct machine *machine = *at;
    if (machine) {
        *at = machine->next;
        take_down(keeper, machine);
    }
    say(json_pack("{s:O, s:b}", "id", id, "ok", 1));
}

static void become_child(struct keeper *keeper, const struct vr_namespace *space)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    sigprocmask(SIG_SETMASK, &keeper->old_mask, NULL);
    setsid();
    if (!vr_namespace_enter(space))
        _exit(126);
}

static char *const environment[] = {
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME=/root",
    "LANG=C.UTF-8",
    "USER=root",
    "LOGNAME=root",
    NULL};

static void accept_all(struct keeper *keeper, struct machine *machine)
{
    for (int fd; (fd = accept4(machine->listener.fd, NULL, NULL, SOCK_CLOEXEC)) >= 0;) {
        pid_t pid = fork();
        if (pid == 0) {
            become_child(keeper, &machine->space);
            int null = open("/dev/null", O_WRONLY);
            if (dup2(fd, 0) < 0 || dup2(fd, 1) < 0 || null < 0 || dup2(null, 2) < 0)
                _exit(126);
            execle("/usr/sbin/sshd", "sshd", "-i", "-f", "/etc/ssh/sshd_config", (char *)NULL,
                   environment);
            _exit(127);
        }
        close(fd);
    }
}

static char **argv_of(const json_t *list)
{
    size_t count = json_array_size(list);
    char **argv = vr_alloc((count + 1) * sizeof(*argv));
    for (size_t i = 0; i < count; i++) {
        const char *text = json_string_value(json_array_get(list, i));
        argv[i] = (char *)(text ? text : "");
    }
    return argv;
}

/* The input of a command lies in a file without a name, so that nobody has to feed a pipe. */
static int input_of(const char *text, size_t length)
{
    int fd = memfd_create("stdin", MFD_CLOEXEC);
    if (fd >= 0 && (write(fd, text, length) < 0 || lseek(fd, 0, SEEK_SET) < 0)) {
        close(fd);
        return -1;
    }
    return fd;
}

static void run(struct keeper *keeper, const json_t *id, const json_t *message)
{
    struct vr_error err = {0};
    struct machine *machine = find(keeper, text_of(message, "machine"));
    json_t *list = json_object_get(message, "argv"), *text = json_object_get(message, "stdin");
    int out[2] = {-1, -1}, errors[2] = {-1, -1}, in = -1;
    if (!machine || json_array_size(list) == 0)
        vr_error_set(&err, "machine", "machine %s is not running", text_of(message, "machine"));
    else if (pipe2(out, O_CLOEXEC) != 0 || pipe2(errors, O_CLOEXEC) != 0 ||
             (in = input_of(text ? json_string_value(text) : "", json_string_length(text))) < 0)
        vr_error_set(&err, "machine", "cannot run a command: %s", strerror(errno));
    if (err.message) {
        int fds[] = {out[0], out[1], errors[0], errors[1], in};
        for (size_t i = 0; i < sizeof(fds) / sizeof(*fds); i++)
            if (fds[i] >= 0)
                close(fds[i]);
        say_error(id, &err);
        return;
    }
    struct run *started = vr_alloc(sizeof(*started));
    char **argv = argv_of(list);
    started->pid = fork();
    if (started->pid == 0) {
        become_child(keeper, &machine->space);
        if (dup2(in, 0) < 0 || dup2(out[1], 1) < 0 || dup2(errors[1], 2) < 0)
            _exit(126);
        execvpe(argv[0], argv, environment);
        _exit(127);
    }
    free(argv);
    close(in), close(out[1]), close(errors[1]);
    started->id = json_incref((json_t *)id);
    started->open = 2;
    fcntl(out[0], F_SETFL, O_NONBLOCK), fcntl(errors[0], F_SETFL, O_NONBLOCK);
    watch(keeper, &started->out, WATCH_PIPE, out[0]);
    watch(keeper, &started->err, WATCH_PIPE, errors[0]);
    started->next = keeper->runs;
    keeper->runs = started;
}

static struct run *run_of(struct keeper *keeper, const struct watch *watched)
{
    struct run *found = keeper->runs;
    while (found && watched != &found->out && watched != &found->err)
        found = found->next;
    return found;
}

static void read_pipe(struct keeper *keeper, struct watch *watched)
{
    struct run *from = run_of(keeper, watched);
    if (!from)
        return;
    struct vr_buf *text = &from->text[watched == &from->err];
    char chunk[16384];
    ssize_t got;
    while ((got = read(watched->fd, chunk, sizeof(chunk))) > 0)
        if (text->length < MOST_OUTPUT)
            vr_buf_add(text, chunk, (size_t)got);
    if (got < 0 && errno == EAGAIN)
        return;
    unwatch(keeper, watched);
    from->open--;
    settle(keeper, from);
}

static void on_signals(struct keeper *keeper)
{
    struct signalfd_siginfo info;
    while (read(keeper->signals.fd, &info, sizeof(info)) == sizeof(info))
        if (info.ssi_signo != SIGCHLD)
            keeper->done = true;
    reap(keeper);
}

static void obey(struct keeper *keeper, const char *text, size_t length)
{
    json_t *message = json_loadb(text, length, 0, NULL);
    const json_t *id = json_object_get(message, "id");
    const char *op = text_of(message, "op");
    if (id && strcmp(op, "up") == 0)
        up(keeper, id, message);
    else if (id && strcmp(op, "down") == 0)
        down(keeper, id, message);
    else if (id && strcmp(op, "run") == 0)
        run(keeper, id, message);
    json_decref(message);
}

static void read_input(struct keeper *keeper)
{
    char chunk[65536];
    ssize_t got = read(keeper->input.fd, chunk, sizeof(chunk));
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
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGCHLD), sigaddset(&mask, SIGTERM), sigaddset(&mask, SIGINT),
        sigaddset(&mask, SIGHUP);
    sigprocmask(SIG_BLOCK, &mask, &keeper.old_mask);
    sigdelset(&keeper.old_mask, SIGCHLD), sigdelset(&keeper.old_mask, SIGTERM);
    signal(SIGPIPE, SIG_IGN);
    watch(&keeper, &keeper.signals, WATCH_SIGNALS, signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK));
    watch(&keeper, &keeper.input, WATCH_INPUT, STDIN_FILENO);
    while (!keeper.done) {
        struct epoll_event event;
        if (epoll_wait(keeper.epoll, &event, 1, -1) != 1)
            continue;
        struct watch *watched = event.data.ptr;
        if (watched->type == WATCH_INPUT)
            read_input(&keeper);
        else if (watched->type == WATCH_SIGNALS)
            on_signals(&keeper);
        else if (watched->type == WATCH_LISTENER)
            accept_all(&keeper, (struct machine *)watched);
        else
            read_pipe(&keeper, watched);
    }
    while (keeper.machines) {
        struct machine *machine = keeper.machines;
        keeper.machines = machine->next;
        take_down(&keeper, machine);
    }
    vr_buf_free(&keeper.line);
    return 0;
}
