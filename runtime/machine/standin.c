#include "machine/standin.h"

#include <arpa/inet.h>
#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"

static const char place[] = "/etc/vmrun-machine";

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

bool vr_standin_is(const char *name)
{
    return strncmp(base_name(name), "vmrun", 5) != 0 && access(place, R_OK) == 0;
}

static int reach(char token[128])
{
    char address[64];
    int port;
    FILE *file = fopen(place, "r");
    if (!file || fscanf(file, "%63s %d %127s", address, &port, token) != 3) {
        if (file)
            fclose(file);
        return -1;
    }
    fclose(file);
    struct sockaddr_in where = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || inet_pton(AF_INET, address, &where.sin_addr) != 1 ||
        connect(fd, (struct sockaddr *)&where, sizeof(where)) != 0) {
        if (fd >= 0)
            close(fd);
        return -1;
    }
    return fd;
}

static bool read_all(int fd, char *data, size_t length)
{
    while (length > 0) {
        ssize_t got = read(fd, data, length);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        data += got;
        length -= (size_t)got;
    }
    return true;
}

static bool send_call(int fd, const char *token, int argc, char **argv)
{
    static const char *const kept[] = {"HOME", "KUBECONFIG", "DEBIAN_FRONTEND", "USER", "PATH"};
    json_t *list = json_array(), *env = json_object();
    json_array_append_new(list, json_string(base_name(argv[0])));
    for (int i = 1; i < argc; i++) {
        json_t *text = json_string(argv[i]);
        json_array_append_new(list, text ? text : json_string("?"));
    }
    for (size_t i = 0; i < sizeof(kept) / sizeof(*kept); i++)
        if (getenv(kept[i]))
            json_object_set_new(env, kept[i], json_string(getenv(kept[i])));
    char *cwd = getcwd(NULL, 0);
    json_t *call = json_pack("{s:s, s:o, s:s, s:o, s:i}", "token", token, "argv", list, "cwd",
                             cwd ? cwd : "/", "env", env, "uid", (int)getuid());
    free(cwd);
    char *text = json_dumps(call, JSON_COMPACT);
    json_decref(call);
    bool ok = text && vr_file_write_all(fd, text, strlen(text)) && vr_file_write_all(fd, "\n", 1);
    free(text);
    return ok;
}

/* One frame: true while more may come; *code is set by the last. */
static bool take_frame(int fd, int *code)
{
    unsigned char head[5];
    if (!read_all(fd, (char *)head, sizeof(head)))
        return false;
    uint32_t length =
        (uint32_t)head[1] << 24 | (uint32_t)head[2] << 16 | (uint32_t)head[3] << 8 | head[4];
    if (length > 64u << 20)
        return false;
    char *data = vr_alloc(length + 1);
    bool ok = read_all(fd, data, length);
    if (ok && head[0] == 'x')
        *code = atoi(data);
    else if (ok)
        ok = vr_file_write_all(head[0] == 'e' ? STDERR_FILENO : STDOUT_FILENO, data, length);
    free(data);
    return ok && head[0] != 'x';
}

/* The input is passed on only while there is some; a command that is done does not wait for it. */
static int converse(int fd)
{
    struct pollfd polled[2] = {{.fd = fd, .events = POLLIN},
                               {.fd = STDIN_FILENO, .events = POLLIN}};
    int code = -1;
    while (poll(polled, 2, -1) >= 0 || errno == EINTR) {
        if (polled[1].fd >= 0 && polled[1].revents) {
            char chunk[65536];
            ssize_t got = read(STDIN_FILENO, chunk, sizeof(chunk));
            if (got <= 0 || !vr_file_write_all(fd, chunk, (size_t)got)) {
                shutdown(fd, SHUT_WR);
                polled[1].fd = -1;
            }
        }
        if (polled[0].revents && !take_frame(fd, &code))
            break;
    }
    return code;
}

int vr_standin_main(int argc, char **argv)
{
    char token[128];
    signal(SIGPIPE, SIG_IGN);
    int fd = reach(token);
    if (fd < 0 || !send_call(fd, token, argc, argv)) {
        fprintf(stderr, "%s: this machine's emulator does not answer\n", base_name(argv[0]));
        return 127;
    }
    int code = converse(fd);
    close(fd);
    if (code < 0)
        fprintf(stderr, "%s: the emulator ended in the middle of the command\n",
                base_name(argv[0]));
    return code < 0 ? 127 : code;
}
