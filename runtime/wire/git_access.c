/* An SSH URL is rewritten when the connection is to go elsewhere: libgit2 knows no other way. For
 * HTTP the name in the URL matters to the server, so there it is the TCP stream that is replaced.
 * Either way host keys are looked up under the declared name. */
#include "wire/git_access.h"

#include <errno.h>
#include <git2/sys/stream.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"

/* --- URLs --- */

struct url {
    char *scheme, *user, *host, *path; /* scheme NULL: a path on this machine */
    int port;
};

static void url_free(struct url *url)
{
    free(url->scheme);
    free(url->user);
    free(url->host);
    free(url->path);
}

/* "[user@]host[:port]" between start and end. */
static void parse_authority(struct url *url, const char *start, const char *end)
{
    const char *at = memrchr(start, '@', (size_t)(end - start));
    if (at) {
        const char *colon = memchr(start, ':', (size_t)(at - start));
        url->user = vr_strndup(start, (size_t)((colon ? colon : at) - start));
        start = at + 1;
    }
    const char *host_end = start[0] == '[' ? memchr(start, ']', (size_t)(end - start)) : NULL;
    const char *colon =
        memchr(host_end ? host_end : start, ':', (size_t)(end - (host_end ? host_end : start)));
    if (colon)
        url->port = atoi(colon + 1);
    if (host_end)
        url->host = vr_strndup(start + 1, (size_t)(host_end - start - 1));
    else
        url->host = vr_strndup(start, (size_t)((colon ? colon : end) - start));
}

static void parse_url(struct url *url, const char *text)
{
    const char *sep = strstr(text, "://"), *colon = strchr(text, ':'), *slash = strchr(text, '/');
    if (sep) {
        const char *start = sep + 3, *end = start + strcspn(start, "/");
        url->scheme = vr_strndup(text, (size_t)(sep - text));
        parse_authority(url, start, end);
        url->path = vr_strdup(end);
    } else if (colon && (!slash || colon < slash)) { /* user@host:path, relative to the user's home
                                                        unless it begins with / */
        url->scheme = vr_strdup("ssh");
        parse_authority(url, text, colon);
        url->path = colon[1] == '/' ? vr_strdup(colon + 1) : vr_format("/~/%s", colon + 1);
    } else {
        url->path = vr_strdup(text);
    }
}

static bool is_ssh(const char *scheme)
{
    return scheme && (strcmp(scheme, "ssh") == 0 || strcmp(scheme, "ssh+git") == 0 ||
                      strcmp(scheme, "git+ssh") == 0);
}

static bool is_http(const char *scheme)
{
    return scheme && (strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0);
}

/* --- a TCP stream to another place than the URL says --- */

static struct {
    char *host, *port;
} elsewhere;

struct detour {
    git_stream parent;
    int fd;
};

static int detour_failed(const char *what, const char *why)
{
    char *text = vr_format("%s %s port %s: %s", what, elsewhere.host, elsewhere.port, why);
    git_error_set_str(GIT_ERROR_NET, text);
    free(text);
    return -1;
}

static int detour_connect(git_stream *stream)
{
    struct detour *d = (struct detour *)stream;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    int rc = getaddrinfo(elsewhere.host, elsewhere.port, &hints, &list);
    if (rc != 0)
        return detour_failed("failed to resolve", gai_strerror(rc));
    int number = 0;
    for (struct addrinfo *a = list; a && d->fd < 0; a = a->ai_next) {
        d->fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (d->fd >= 0 && connect(d->fd, a->ai_addr, a->ai_addrlen) == 0)
            break;
        number = errno;
        if (d->fd >= 0)
            close(d->fd);
        d->fd = -1;
    }
    freeaddrinfo(list);
    if (d->fd < 0)
        return detour_failed("failed to connect to", strerror(number));
    setsockopt(d->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    return 0;
}

static ssize_t detour_read(git_stream *stream, void *data, size_t length)
{
    ssize_t size = recv(((struct detour *)stream)->fd, data, length, 0);
    return size < 0 ? detour_failed("error receiving from", strerror(errno)) : size;
}

static ssize_t detour_write(git_stream *stream, const char *data, size_t length, int flags)
{
    (void)flags;
    ssize_t size = send(((struct detour *)stream)->fd, data, length, MSG_NOSIGNAL);
    return size < 0 ? detour_failed("error sending to", strerror(errno)) : size;
}

static int detour_close(git_stream *stream)
{
    struct detour *d = (struct detour *)stream;
    if (d->fd >= 0)
        close(d->fd);
    d->fd = -1;
    return 0;
}

static void detour_free(git_stream *stream)
{
    detour_close(stream);
    free(stream);
}

static int detour_new(git_stream **out, const char *host, const char *port)
{
    (void)host;
    (void)port;
    struct detour *d = vr_alloc(sizeof(*d));
    d->fd = -1;
    d->parent = (git_stream){
        .version = GIT_STREAM_VERSION,
        .connect = detour_connect,
        .read = detour_read,
        .write = detour_write,
        .close = detour_close,
        .free = detour_free,
    };
    *out = &d->parent;
    return 0;
}

/* --- opening --- */

static bool split_address(const char *text, char **host, char **port, struct vr_error *err)
{
    const char *colon = strrchr(text, ':');
    if (!colon || colon == text || atoi(colon + 1) < 1)
        return vr_error_set(err, "unreachable", "connect_to must be address:port, got '%s'", text);
    bool brackets = text[0] == '[' && colon[-1] == ']';
    *host = vr_strndup(text + brackets, (size_t)(colon - text) - 2 * brackets);
    *port = vr_strdup(colon + 1);
    return true;
}

static bool redirect(struct git_access *access, const struct url *url, const char *address,
                     struct vr_error *err)
{
    if (!is_ssh(url->scheme) && !is_http(url->scheme))
        return true;
    if (!split_address(address, &elsewhere.host, &elsewhere.port, err))
        return false;
    access->direct = true;
    if (is_ssh(url->scheme)) {
        bool v6 = strchr(elsewhere.host, ':') != NULL;
        free(access->dialled);
        access->dialled =
            vr_format("ssh://%s%s%s%s%s:%s%s", url->user ? url->user : "", url->user ? "@" : "",
                      v6 ? "[" : "", elsewhere.host, v6 ? "]" : "", elsewhere.port, url->path);
        return true;
    }
    git_stream_registration registration = {.version = GIT_STREAM_VERSION, .init = detour_new};
    return git_stream_register(GIT_STREAM_STANDARD, &registration) == 0 ||
           git_failed(access, -1, err);
}

static const char *text_of(json_t *request, const char *name)
{
    return json_string_value(json_object_get(request, name));
}

/* libgit2 asks a host for the kind of key that it finds in ~/.ssh/known_hosts; and reads no other
 * configuration. */
static bool make_home(struct git_access *access, const char *tmp, const char *ca,
                      struct vr_error *err)
{
    struct url dialled = {0};
    parse_url(&dialled, access->dialled);
    struct vr_buf lines = {0};
    int port = dialled.port ? dialled.port : 22;
    char *name = port == 22 ? vr_strdup(dialled.host ? dialled.host : "-")
                            : vr_format("[%s]:%d", dialled.host ? dialled.host : "-", port);
    if (access->ssh)
        vr_known_hosts_write(access->known, access->host, access->port, name, &lines);
    char *folder = vr_format("%s/.ssh", tmp), *file = vr_format("%s/known_hosts", folder),
         *ca_file = vr_format("%s/ca.pem", tmp);
    mkdir(folder, 0700);
    FILE *out = fopen(file, "we");
    bool ok = out && fwrite(lines.data ? lines.data : "", 1, lines.length, out) == lines.length;
    ok = out && fclose(out) == 0 && ok;
    if (ok && ca) {
        out = fopen(ca_file, "we");
        ok = out && fputs(ca, out) >= 0;
        ok = out && fclose(out) == 0 && ok;
        ok = ok && git_libgit2_opts(GIT_OPT_SET_SSL_CERT_LOCATIONS, ca_file, NULL) == 0;
    }
    if (!ok)
        vr_error_set(err, "git", "cannot write to the temporary folder %s: %s", tmp,
                     strerror(errno));
    setenv("HOME", tmp, 1);
    vr_buf_free(&lines);
    free(folder);
    free(file);
    free(ca_file);
    free(name);
    url_free(&dialled);
    return ok;
}

static bool check_ssh(const struct git_access *access, struct vr_error *err)
{
    if (vr_known_hosts_count(access->known) == 0) {
        vr_error_set(err, "hostkey", "%s: no host key to compare with was given", access->url);
        vr_error_hint(err, "give the server's public keys as known_hosts lines");
        return false;
    }
    if (!access->key && !access->password)
        return vr_error_set(err, "auth", "%s: neither a private key nor a password was given",
                            access->url);
    return true;
}

bool git_access_open(struct git_access *access, json_t *request, struct vr_error *err)
{
    *access = (struct git_access){.url = text_of(request, "url"),
                                  .password = text_of(request, "password")};
    const char *tmp = text_of(request, "tmp"), *key = text_of(request, "key"),
               *to = text_of(request, "connect_to");
    if (!access->url || !tmp)
        return vr_error_set(err, "git", "the request has no '%s'", tmp ? "url" : "tmp");
    json_t *lines = json_object_get(request, "known_hosts");
    size_t count = json_array_size(lines);
    const char **known = vr_alloc(sizeof(*known) * (count + 1));
    for (size_t i = 0; i < count; i++) {
        const char *line = json_string_value(json_array_get(lines, i));
        known[i] = line ? line : "";
    }
    access->known = vr_known_hosts_new(known, count);
    free(known);
    if (key &&
        !(access->key = vr_ssh_key_new(key, strlen(key), text_of(request, "passphrase"), err)))
        return false;
    struct url url = {0};
    parse_url(&url, access->url);
    access->ssh = is_ssh(url.scheme);
    access->host = vr_strdup(url.host);
    access->port = url.port ? url.port : 22;
    access->user = vr_strdup(url.user ? url.user : text_of(request, "username"));
    access->dialled = vr_strdup(access->url);
    bool ok = !access->ssh || check_ssh(access, err);
    ok = ok && (!to || redirect(access, &url, to, err)) &&
         make_home(access, tmp, text_of(request, "ca"), err);
    url_free(&url);
    return ok;
}

void git_access_free(struct git_access *access)
{
    vr_ssh_key_free(access->key);
    vr_known_hosts_free(access->known);
    vr_error_clear(&access->reason);
    free(access->dialled);
    free(access->host);
    free(access->user);
    free(elsewhere.host);
    free(elsewhere.port);
    elsewhere.host = elsewhere.port = NULL;
}

/* --- what libgit2 asks while it connects --- */

static int check_certificate(git_cert *cert, int valid, const char *host, void *payload)
{
    struct git_access *access = payload;
    if (cert->cert_type != GIT_CERT_HOSTKEY_LIBSSH2) {
        if (valid)
            return 0;
        vr_error_set(&access->reason, "tls",
                     "%s: nobody who is trusted vouches for the certificate of %s", access->url,
                     host);
        vr_error_hint(&access->reason, "give the authority that signed it with ca=");
        return GIT_ECERTIFICATE;
    }
    const git_cert_hostkey *key = (const git_cert_hostkey *)cert;
    char *label = access->port == 22 ? vr_strdup(access->host)
                                     : vr_format("%s:%d", access->host, access->port);
    bool ok = (key->type & GIT_CERT_SSH_RAW) &&
              vr_known_hosts_check(access->known, access->host, access->port, key->hostkey,
                                   key->hostkey_len, label, &access->reason);
    free(label);
    return ok ? 0 : GIT_ECERTIFICATE;
}

static int give_key(git_credential **out, const struct git_access *access, const char *user)
{
    size_t length = 0;
    const unsigned char *blob = vr_ssh_key_blob(access->key, &length);
    struct vr_buf offer = {0};
    vr_ssh_offer_as(blob, length, vr_ssh_key_algorithm(vr_ssh_key_type(access->key)), &offer);
    int rc =
        git_credential_ssh_custom_new(out, user, offer.data, offer.length,
                                      (git_credential_sign_cb)vr_ssh_key_callback, access->key);
    vr_buf_free(&offer);
    return rc;
}

static int give_credentials(git_credential **out, const char *url, const char *url_user,
                            unsigned int allowed, void *payload)
{
    (void)url;
    struct git_access *access = payload;
    const char *user = url_user && *url_user ? url_user
                       : access->user        ? access->user
                       : access->ssh         ? "git"
                                             : "";
    if (allowed & GIT_CREDENTIAL_USERNAME)
        return git_credential_username_new(out, user);
    if (access->asked++ > 0) {
        vr_error_set(&access->reason, "auth", "%s refused user '%s'%s%s", access->url, user,
                     access->key ? " with key " : "",
                     access->key ? vr_ssh_key_name(access->key) : " and the password");
        return GIT_EAUTH;
    }
    if (access->key && (allowed & GIT_CREDENTIAL_SSH_CUSTOM))
        return give_key(out, access, user);
    if (access->password && (allowed & GIT_CREDENTIAL_USERPASS_PLAINTEXT))
        return git_credential_userpass_plaintext_new(out, user, access->password);
    vr_error_set(&access->reason, "auth", "%s wants to know who it is, and no %s was given",
                 access->url, access->ssh ? "key" : "user name and password");
    return GIT_EAUTH;
}

void git_access_callbacks(struct git_access *access, git_remote_callbacks *callbacks)
{
    access->asked = 0;
    callbacks->certificate_check = check_certificate;
    callbacks->credentials = give_credentials;
    callbacks->payload = access;
}

void git_access_proxy(const struct git_access *access, git_proxy_options *proxy)
{
    proxy->type = access->direct ? GIT_PROXY_NONE : GIT_PROXY_AUTO;
}

/* --- failures --- */

static bool has(const char *text, const char *part)
{
    return strcasestr(text, part) != NULL;
}

static const char *code_of(int rc, const git_error *last, const char *text)
{
    if (rc == GIT_EAUTH || has(text, "401") || has(text, "403") || has(text, "authenticat"))
        return "auth";
    if (has(text, "not found") || has(text, "does not exist") ||
        has(text, "not appear to be a git") || has(text, "404") ||
        has(text, "could not find repository") || has(text, "failed to resolve path"))
        return "notfound";
    if (rc == GIT_ECERTIFICATE)
        return "tls";
    if (last && (last->klass == GIT_ERROR_NET || last->klass == GIT_ERROR_OS ||
                 last->klass == GIT_ERROR_SSH || last->klass == GIT_ERROR_HTTP ||
                 last->klass == GIT_ERROR_SSL))
        return "unreachable";
    return "git";
}

bool git_failed(struct git_access *access, int rc, struct vr_error *err)
{
    if (access && access->reason.message) {
        vr_error_move(err, &access->reason);
        return false;
    }
    const git_error *last = git_error_last();
    const char *text = last && last->message && *last->message ? last->message : "no reason given";
    size_t length = strcspn(text, "\n");
    const char *code = code_of(rc, last, text);
    if (access && access->url)
        return vr_error_set(err, code, "%s: %.*s", access->url, (int)length, text);
    return vr_error_set(err, code, "%.*s", (int)length, text);
}
