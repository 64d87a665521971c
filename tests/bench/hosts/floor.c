/* floor LIST RUNS: what it costs at least: one thread, one epoll, libssh2, and nothing but
 * the bytes that vmrun sent. A line of LIST is `ADDRESS PORT USER KEY FOLDER`; the FOLDER has the
 * RUNS programs of the host, each as N.command and N.stdin. All hosts at once, one session each,
 * the programs one after the other. */
#include <arpa/inet.h>
#include <errno.h>
#include <libssh2.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

enum step { CONNECT, HANDSHAKE, LOGIN, OPEN, EXEC, WRITE, END_INPUT, READ, CLOSE, DISCONNECT };

struct host {
    char address[64], user[64], key[512], folder[512];
    int port, fd, run, mask;
    enum step step;
    LIBSSH2_SESSION *session;
    LIBSSH2_CHANNEL *channel;
    char *command, *input;
    size_t length, sent;
};

static int epoll, runs, left, bad;

static char *slurp(const struct host *h, const char *what, size_t *length)
{
    char path[600];
    struct stat info;
    snprintf(path, sizeof(path), "%s/%d.%s", h->folder, h->run + 1, what);
    FILE *file = fopen(path, "r");
    if (!file || fstat(fileno(file), &info) != 0)
        perror(path), exit(1);
    char *text = calloc(1, (size_t)info.st_size + 1);
    *length = fread(text, 1, (size_t)info.st_size, file);
    fclose(file);
    return text;
}

static void start(struct host *h)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)h->port)};
    inet_pton(AF_INET, h->address, &to.sin_addr);
    h->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(h->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    if (connect(h->fd, (struct sockaddr *)&to, sizeof(to)) != 0 && errno != EINPROGRESS)
        perror(h->address), exit(1);
    struct epoll_event event = {.events = h->mask = EPOLLOUT, .data.ptr = h};
    epoll_ctl(epoll, EPOLL_CTL_ADD, h->fd, &event);
}

static void begin_session(struct host *h)
{
    static const int methods[] = {LIBSSH2_METHOD_KEX, LIBSSH2_METHOD_CRYPT_CS,
                                  LIBSSH2_METHOD_CRYPT_SC, LIBSSH2_METHOD_MAC_CS,
                                  LIBSSH2_METHOD_MAC_SC};
    static const char *const names[] = {"ecdh-sha2-nistp256", "aes128-ctr", "aes128-ctr",
                                        "hmac-sha2-256", "hmac-sha2-256"};
    h->session = libssh2_session_init();
    libssh2_session_set_blocking(h->session, 0);
    for (int i = 0; i < 5; i++)
        libssh2_session_method_pref(h->session, methods[i], names[i]);
}

/* Does one call; its result, and in *step what comes next. */
static ssize_t call(struct host *h, enum step *next)
{
    static char sink[65536];
    ssize_t rc = 0;
    switch (h->step) {
    case CONNECT:
        begin_session(h);
        break;
    case HANDSHAKE:
        return libssh2_session_handshake(h->session, h->fd);
    case LOGIN:
        return libssh2_userauth_publickey_fromfile(h->session, h->user, NULL, h->key, NULL);
    case OPEN:
        h->channel = libssh2_channel_open_session(h->session);
        if (!h->channel)
            return libssh2_session_last_errno(h->session);
        h->command = slurp(h, "command", &h->length), h->input = slurp(h, "stdin", &h->length),
        h->sent = 0;
        break;
    case EXEC:
        return libssh2_channel_exec(h->channel, h->command);
    case WRITE:
        if ((rc = libssh2_channel_write(h->channel, h->input + h->sent, h->length - h->sent)) > 0)
            h->sent += (size_t)rc;
        *next = h->sent == h->length ? END_INPUT : WRITE;
        break;
    case END_INPUT:
        return libssh2_channel_send_eof(h->channel);
    case READ:
        while ((rc = libssh2_channel_read_stderr(h->channel, sink, sizeof(sink))) > 0)
            ;
        if (rc == 0 || rc == LIBSSH2_ERROR_EAGAIN)
            rc = libssh2_channel_read(h->channel, sink, sizeof(sink));
        *next = libssh2_channel_eof(h->channel) ? CLOSE : READ;
        return rc == 0 && *next == READ ? LIBSSH2_ERROR_EAGAIN : rc;
    case CLOSE:
        if ((rc = libssh2_channel_close(h->channel)) < 0 ||
            (rc = libssh2_channel_wait_closed(h->channel)) < 0)
            return rc;
        bad += libssh2_channel_get_exit_status(h->channel) != 0;
        libssh2_channel_free(h->channel), free(h->command), free(h->input);
        *next = ++h->run < runs ? OPEN : DISCONNECT;
        break;
    case DISCONNECT:
        libssh2_session_disconnect(h->session, "done"), libssh2_session_free(h->session),
            close(h->fd);
        left--;
        return LIBSSH2_ERROR_EAGAIN;
    }
    return rc;
}

static void go_on(struct host *h)
{
    for (;;) {
        enum step next = h->step == DISCONNECT ? DISCONNECT : h->step + 1;
        ssize_t rc = call(h, &next);
        if (rc == LIBSSH2_ERROR_EAGAIN)
            break;
        if (rc < 0) {
            char *text = NULL;
            libssh2_session_last_error(h->session, &text, NULL, 0);
            fprintf(stderr, "%s: step %d: %s\n", h->address, h->step, text), exit(1);
        }
        h->step = next;
    }
    if (h->step == DISCONNECT)
        return;
    int mask = libssh2_session_block_directions(h->session) & LIBSSH2_SESSION_BLOCK_OUTBOUND
                   ? EPOLLOUT
                   : EPOLLIN;
    struct epoll_event event = {.events = (uint32_t)mask, .data.ptr = h};
    if (mask != h->mask)
        epoll_ctl(epoll, EPOLL_CTL_MOD, h->fd, &event);
    h->mask = mask;
}

int main(int argc, char **argv)
{
    FILE *list = argc == 3 ? fopen(argv[1], "r") : NULL;
    if (!list)
        return fprintf(stderr, "usage: floor LIST RUNS\n"), 2;
    runs = atoi(argv[2]);
    epoll = epoll_create1(0);
    struct host h = {0};
    while (fscanf(list, "%63s %d %63s %511s %511s", h.address, &h.port, h.user, h.key, h.folder) ==
           5) {
        struct host *made = malloc(sizeof(h));
        *made = h;
        start(made);
        left++;
    }
    while (left > 0) {
        struct epoll_event events[64];
        for (int i = 0, count = epoll_wait(epoll, events, 64, -1); i < count; i++)
            go_on(events[i].data.ptr);
    }
    return bad != 0;
}
