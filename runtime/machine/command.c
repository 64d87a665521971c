#include "machine/command.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "machine/answer.h"
#include "machine/watch.h"

enum { MOST_OUTPUT = 4 << 20 };

struct vr_command {
    struct vr_watch out, err;
    struct vr_commands *all;
    struct vr_command *next;
    json_t *id;
    pid_t pid;
    struct vr_buf text[2]; /* stdout, stderr */
    int open;              /* pipes that have not ended */
    int status;
    bool ended;
};

char *const vr_command_environment[] = {
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME=/root",
    "LANG=C.UTF-8",
    "USER=root",
    "LOGNAME=root",
    NULL};

static json_t *clean_text(const struct vr_buf *buf)
{
    json_t *text = buf->data ? json_stringn(buf->data, buf->length) : json_string("");
    return text ? text : json_string("(output that is not UTF-8)");
}

static void settle(struct vr_command *command)
{
    if (command->open > 0 || !command->ended)
        return;
    int code =
        WIFEXITED(command->status) ? WEXITSTATUS(command->status) : 128 + WTERMSIG(command->status);
    vr_answer(json_pack("{s:o, s:i, s:o, s:o}", "id", command->id, "code", code, "stdout",
                        clean_text(&command->text[0]), "stderr", clean_text(&command->text[1])));
    struct vr_command **at = &command->all->first;
    while (*at != command)
        at = &(*at)->next;
    *at = command->next;
    vr_buf_free(&command->text[0]);
    vr_buf_free(&command->text[1]);
    free(command);
}

bool vr_command_ended(struct vr_commands *commands, pid_t pid, int status)
{
    struct vr_command *ended = commands->first;
    while (ended && ended->pid != pid)
        ended = ended->next;
    if (!ended)
        return false;
    ended->status = status;
    ended->ended = true;
    settle(ended);
    return true;
}

static void on_output(struct vr_watch *watch, unsigned events)
{
    (void)events;
    struct vr_command *command = watch->owner;
    struct vr_buf *text = &command->text[watch == &command->err];
    char chunk[16384];
    ssize_t got;
    while ((got = read(watch->fd, chunk, sizeof(chunk))) > 0)
        if (text->length < MOST_OUTPUT)
            vr_buf_add(text, chunk, (size_t)got);
    if (got < 0 && errno == EAGAIN)
        return;
    vr_watch_end(watch);
    command->open--;
    settle(command);
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

void vr_command_child(void)
{
    sigset_t none;
    sigemptyset(&none);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL);
    setsid();
}

static void close_all(const int *fds, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

void vr_command_start(struct vr_commands *commands, const json_t *id, const json_t *message,
                      vr_enter *enter, const void *place)
{
    json_t *list = json_object_get(message, "argv"), *text = json_object_get(message, "stdin");
    int out[2] = {-1, -1}, errors[2] = {-1, -1}, in = -1;
    pid_t pid = -1;
    char **argv = argv_of(list);
    errno = EINVAL;
    if (json_array_size(list) > 0 && pipe2(out, O_CLOEXEC) == 0 && pipe2(errors, O_CLOEXEC) == 0 &&
        (in = input_of(text ? json_string_value(text) : "", json_string_length(text))) >= 0)
        pid = fork();
    if (pid < 0) {
        struct vr_error err = {0};
        vr_error_system(&err, errno, "cannot run a command");
        close_all((int[]){out[0], out[1], errors[0], errors[1], in}, 5);
        free(argv);
        vr_answer_error(id, &err);
        return;
    }
    if (pid == 0) {
        vr_command_child();
        if (!enter(place) || dup2(in, 0) < 0 || dup2(out[1], 1) < 0 || dup2(errors[1], 2) < 0)
            _exit(126);
        execvpe(argv[0], argv, vr_command_environment);
        _exit(127);
    }
    free(argv);
    close(in), close(out[1]), close(errors[1]);
    struct vr_command *started = vr_alloc(sizeof(*started));
    started->pid = pid;
    started->all = commands;
    started->id = json_incref((json_t *)id);
    started->open = 2;
    fcntl(out[0], F_SETFL, O_NONBLOCK), fcntl(errors[0], F_SETFL, O_NONBLOCK);
    vr_watch_begin(&started->out, commands->epoll, out[0], started, on_output);
    vr_watch_begin(&started->err, commands->epoll, errors[0], started, on_output);
    started->next = commands->first;
    commands->first = started;
}
