#include "machine/network.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* SYNs that are sent again when nobody answers: 7 seconds in all. */
enum { SYNS = 2 };

/* What comes after it would happen in the wrong network. */
static void go_back(const struct vr_network *network)
{
    if (setns(network->own, CLONE_NEWNET) != 0)
        abort();
}

/* A setting of the namespace that this process is in. */
static bool set(const char *path, const char *value)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool ok = fd >= 0 && write(fd, value, strlen(value)) > 0;
    if (fd >= 0)
        close(fd);
    return ok;
}

bool vr_network_new(struct vr_network *network, struct vr_error *err)
{
    *network = (struct vr_network){open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), -1};
    if (network->own < 0 || unshare(CLONE_NEWNET) != 0)
        return vr_error_system(err, errno, "a network namespace cannot be made");
    network->router = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    bool made = network->router >= 0 && set("/proc/sys/net/ipv4/ip_forward", "1");
    int why = errno;
    /* What a bridge carries is none of the router's: its rules are for what it routes. */
    set("/proc/sys/net/bridge/bridge-nf-call-iptables", "0");
    go_back(network);
    if (!made)
        vr_network_free(network);
    return made || vr_error_system(err, why, "a network namespace cannot be held");
}

void vr_network_free(struct vr_network *network)
{
    if (network->own >= 0)
        close(network->own);
    if (network->router >= 0)
        close(network->router);
    *network = (struct vr_network){-1, -1};
}

static int socket_in(const struct vr_network *network, int space, int type)
{
    if (space >= 0 && setns(space, CLONE_NEWNET) != 0)
        return -1;
    int fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), why = errno;
    if (space >= 0)
        go_back(network);
    errno = why;
    return fd;
}

static bool address_of(struct sockaddr_in *where, const char *address, int port)
{
    *where = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (inet_pton(AF_INET, address, &where->sin_addr) == 1)
        return true;
    errno = EINVAL;
    return false;
}

static int bound(const struct vr_network *network, int space, int type, const char *address,
                 int port)
{
    struct sockaddr_in where;
    if (!address_of(&where, address, port))
        return -1;
    int one = 1, fd = socket_in(network, space, type);
    if (fd >= 0 && (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
                    bind(fd, (struct sockaddr *)&where, sizeof(where)) != 0)) {
        int why = errno;
        close(fd);
        errno = why;
        return -1;
    }
    return fd;
}

int vr_network_listen(const struct vr_network *network, int space, const char *address, int port)
{
    int fd = bound(network, space, SOCK_STREAM, address, port);
    if (fd >= 0 && listen(fd, 128) != 0) {
        int why = errno;
        close(fd);
        errno = why;
        return -1;
    }
    return fd;
}

int vr_network_datagrams(const struct vr_network *network, int space, const char *address, int port)
{
    return bound(network, space, SOCK_DGRAM, address, port);
}

int vr_network_connect(const struct vr_network *network, int space, const char *from,
                       const char *address, int port)
{
    struct sockaddr_in where;
    int syns = SYNS;
    if (!address_of(&where, address, port))
        return -1;
    int fd =
        from ? bound(network, space, SOCK_STREAM, from, 0) : socket_in(network, space, SOCK_STREAM);
    if (fd < 0)
        return -1;
    setsockopt(fd, IPPROTO_TCP, TCP_SYNCNT, &syns, sizeof(syns));
    if (connect(fd, (struct sockaddr *)&where, sizeof(where)) == 0 || errno == EINPROGRESS)
        return fd;
    int why = errno;
    close(fd);
    errno = why;
    return -1;
}
