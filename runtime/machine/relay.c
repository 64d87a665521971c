#include "machine/relay.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "machine/watch.h"

enum { ROOM = 65536, ROUNDS = 16 };

/* One side, and what came in on it and is not yet out on the other. */
struct side {
    struct vr_watch watch;
    size_t from, to;
    bool ended; /* nothing more comes in */
    bool told;  /* the other side knows */
    char data[ROOM];
};

struct vr_relay {
    struct vr_relays *all;
    struct vr_relay *next;
    bool connected;
    struct side sides[2]; /* client, server */
};

void vr_relay_reset(int client)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    setsockopt(client, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    close(client);
}

static void end(struct vr_relay *relay, bool reset)
{
    struct vr_relay **at = &relay->all->first;
    while (*at != relay)
        at = &(*at)->next;
    *at = relay->next;
    for (int i = 0; i < 2; i++) {
        struct linger now = {.l_onoff = 1, .l_linger = 0};
        if (reset)
            setsockopt(relay->sides[i].watch.fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
        vr_watch_end(&relay->sides[i].watch);
    }
    free(relay);
}

static bool is_over(int error)
{
    return error != EAGAIN && error != EINTR;
}

/* Moves what can be moved from one side to the other, and then the others' turn comes; false: a
 * side broke. */
static bool move(struct side *in, struct side *out)
{
    for (int round = 0; round < ROUNDS; round++) {
        if (in->from == in->to && !in->ended) {
            ssize_t got = recv(in->watch.fd, in->data, sizeof(in->data), 0);
            if (got < 0)
                return !is_over(errno);
            in->from = 0, in->to = (size_t)got;
            in->ended = got == 0;
        }
        if (in->from == in->to) {
            if (in->ended && !in->told)
                in->told = shutdown(out->watch.fd, SHUT_WR) == 0 || errno == ENOTCONN;
            return true;
        }
        ssize_t put = send(out->watch.fd, in->data + in->from, in->to - in->from, MSG_NOSIGNAL);
        if (put < 0)
            return !is_over(errno);
        in->from += (size_t)put;
    }
    return true;
}

/* A side is asked for input when it has none waiting, for room when the other's does not fit. Each
 * tells once: one that is of no use now would tell of its end again and again. */
static void ask(struct side *side, const struct side *other)
{
    unsigned events = 0;
    if (side->from == side->to && !side->ended)
        events |= EPOLLIN;
    if (other->from != other->to)
        events |= EPOLLOUT;
    if (events != 0)
        vr_watch_for(&side->watch, events | EPOLLONESHOT);
}

static void on_side(struct vr_watch *watch, unsigned events)
{
    struct vr_relay *relay = watch->owner;
    struct side *client = &relay->sides[0], *server = &relay->sides[1];
    if (!relay->connected) {
        int error = 0;
        socklen_t length = sizeof(error);
        if (watch != &server->watch ||
            getsockopt(watch->fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0 || error != 0) {
            end(relay, true);
            return;
        }
        relay->connected = true;
    }
    bool broken = (events & EPOLLERR) != 0;
    if (broken || !move(client, server) || !move(server, client)) {
        end(relay, true);
        return;
    }
    if (client->told && server->told) {
        end(relay, false);
        return;
    }
    ask(client, server);
    ask(server, client);
}

void vr_relay_start(struct vr_relays *relays, int client, int server)
{
    struct vr_relay *relay = vr_alloc(sizeof(*relay));
    relay->all = relays;
    relay->next = relays->first;
    relays->first = relay;
    vr_watch_begin(&relay->sides[0].watch, relays->epoll, client, relay, on_side);
    vr_watch_begin(&relay->sides[1].watch, relays->epoll, server, relay, on_side);
    vr_watch_for(&relay->sides[0].watch, 0); /* until the other side is there */
    vr_watch_for(&relay->sides[1].watch, EPOLLOUT);
}

void vr_relay_end_all(struct vr_relays *relays)
{
    while (relays->first)
        end(relays->first, true);
}
