#include "machine/outward.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter_ipv4.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "machine/answer.h"

enum { QUESTION = 1500 };

struct vr_caller {
    struct vr_caller *next;
    json_int_t number;
    int fd;
};

void vr_outward_init(struct vr_outward *outward, int epoll, const struct vr_network *network,
                     struct vr_relays *relays)
{
    *outward = (struct vr_outward){.epoll = epoll, .network = network, .relays = relays};
    outward->callers_in.fd = outward->questions.fd = -1;
}

static void on_callers(struct vr_watch *watch, unsigned events)
{
    (void)events;
    struct vr_outward *outward = watch->owner;
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
        struct vr_caller *caller = vr_alloc(sizeof(*caller));
        caller->number = ++outward->last_number;
        caller->fd = fd;
        caller->next = outward->callers;
        outward->callers = caller;
        vr_answer(json_pack("{s:s, s:I, s:s, s:s, s:i}", "event", "connection", "connection",
                            caller->number, "from", from, "host", host, "port",
                            (int)ntohs(wanted.sin_port)));
        length = sizeof(peer);
    }
}

void vr_outward_answer(struct vr_outward *outward, const json_t *message, bool wanted)
{
    json_int_t number = json_integer_value(json_object_get(message, "connection"));
    struct vr_caller **at = &outward->callers;
    while (*at && (*at)->number != number)
        at = &(*at)->next;
    struct vr_caller *caller = *at;
    if (!caller)
        return;
    *at = caller->next;
    int server =
        wanted ? vr_network_connect(outward->network, -1, NULL, vr_message_text(message, "host"),
                                    vr_message_number(message, "port"))
               : -1;
    if (server >= 0)
        vr_relay_start(outward->relays, caller->fd, server);
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

void vr_outward_reply(struct vr_outward *outward, const json_t *message)
{
    const char *hex = vr_message_text(message, "hex");
    unsigned char data[QUESTION];
    char address[INET_ADDRSTRLEN];
    int port;
    size_t length = strlen(hex) / 2;
    struct sockaddr_in where = {.sin_family = AF_INET};
    if (length > sizeof(data) || outward->questions.fd < 0 ||
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
    sendto(outward->questions.fd, data, length, MSG_DONTWAIT, (struct sockaddr *)&where,
           sizeof(where));
}

void vr_outward_serve(struct vr_outward *outward, const json_t *id, const json_t *message)
{
    struct vr_error err = {0};
    const char *address = vr_message_text(message, "address");
    int port = vr_message_number(message, "redirect");
    int questions = -1;
    /* Without a router it would be the emulator's own network; a second pair of sockets would take
     * the first one's watches, which nothing could close any more. */
    if (outward->network->router < 0)
        vr_error_set(&err, "machine", "there is no router yet that could listen on %s", address);
    else if (outward->callers_in.fd >= 0)
        vr_error_set(&err, "machine", "the router listens already");
    if (err.message) {
        vr_answer_error(id, &err);
        return;
    }
    int callers = vr_network_listen(outward->network, outward->network->router, "0.0.0.0", port);
    if (callers >= 0)
        questions = vr_network_datagrams(outward->network, outward->network->router, address, 53);
    if (questions < 0) {
        vr_error_system(&err, errno, "the router cannot listen on %s", address);
        vr_answer_error(id, &err);
        if (callers >= 0)
            close(callers);
        return;
    }
    vr_watch_begin(&outward->callers_in, outward->epoll, callers, outward, on_callers);
    vr_watch_begin(&outward->questions, outward->epoll, questions, outward, on_questions);
    vr_answer_ok(id);
}

void vr_outward_end(struct vr_outward *outward)
{
    while (outward->callers) {
        struct vr_caller *caller = outward->callers;
        outward->callers = caller->next;
        vr_relay_reset(caller->fd);
        free(caller);
    }
    vr_watch_end(&outward->callers_in);
    vr_watch_end(&outward->questions);
}
