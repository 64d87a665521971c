#include "machine/door.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "machine/answer.h"
#include "machine/watch.h"

enum { TRY_MS = 3000 };

struct vr_door {
    struct vr_watch listener;
    struct vr_doors *all;
    struct vr_door *next;
    char *address, *from, *host;
    int number, port;
};

/* A connection that is tried, to tell whether somebody is there. */
struct attempt {
    struct vr_watch socket, deadline;
    json_t *id;
    char *where;
};

static void on_door(struct vr_watch *watch, unsigned events)
{
    (void)events;
    struct vr_door *door = watch->owner;
    struct vr_doors *doors = door->all;
    for (int fd; (fd = accept4(watch->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0;) {
        int server = vr_network_connect(doors->network, doors->network->router, door->from,
                                        door->host, door->port);
        if (server >= 0)
            vr_relay_start(doors->relays, fd, server);
        else
            vr_relay_reset(fd);
    }
}

static bool open_door(struct vr_doors *doors, const json_t *message, struct vr_error *err)
{
    const char *address = vr_message_text(message, "address");
    int number = vr_message_number(message, "listen");
    for (struct vr_door *door = doors->first; door; door = door->next)
        if (door->number == number && strcmp(door->address, address) == 0)
            return true;
    int fd = vr_network_listen(doors->network, -1, address, number);
    if (fd < 0)
        return vr_error_system(err, errno, "cannot listen on %s:%d", address, number);
    struct vr_door *door = vr_alloc(sizeof(*door));
    door->all = doors;
    door->address = vr_strdup(address);
    door->from = vr_strdup(vr_message_text(message, "from"));
    door->host = vr_strdup(vr_message_text(message, "host"));
    door->number = number;
    door->port = vr_message_number(message, "port");
    door->next = doors->first;
    doors->first = door;
    vr_watch_begin(&door->listener, doors->epoll, fd, door, on_door);
    return true;
}

static void end_attempt(struct attempt *attempt, int error)
{
    struct vr_error err = {0};
    if (error != 0)
        vr_error_system(&err, error, "%s", attempt->where);
    vr_answer_once(&attempt->id, error != 0 ? &err : NULL);
    vr_error_clear(&err);
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

void vr_door_reach(struct vr_doors *doors, const json_t *id, const json_t *message)
{
    struct vr_error err = {0};
    const char *host = vr_message_text(message, "host");
    int port = vr_message_number(message, "port");
    if (!open_door(doors, message, &err)) {
        vr_answer_error(id, &err);
        return;
    }
    int fd = vr_network_connect(doors->network, doors->network->router,
                                vr_message_text(message, "from"), host, port);
    int why = errno;
    struct attempt *attempt = vr_alloc(sizeof(*attempt));
    attempt->id = json_incref((json_t *)id);
    attempt->where = vr_format("%s:%d", host, port);
    if (fd < 0) {
        end_attempt(attempt, why);
        return;
    }
    vr_watch_begin(&attempt->socket, doors->epoll, fd, attempt, on_attempt);
    vr_watch_for(&attempt->socket, EPOLLOUT);
    vr_watch_timer(&attempt->deadline, doors->epoll, TRY_MS, attempt, on_attempt);
}

void vr_doors_close(struct vr_doors *doors)
{
    while (doors->first) {
        struct vr_door *door = doors->first;
        doors->first = door->next;
        vr_watch_end(&door->listener);
        free(door->address);
        free(door->from);
        free(door->host);
        free(door);
    }
}
