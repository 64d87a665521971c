/* A request, from its first line to the last byte of its answer. libmicrohttpd calls
 * vr_exchange_on_request with the head, with each piece of the body, and once more at its end: then
 * the connection is suspended and the exchange goes to its owner. The owner's answer resumes the
 * connection, and the next call queues the response.
 *
 * An exchange has two holders, the connection (until vr_exchange_on_completed) and the owner (until
 * vr_exchange_free); the last one frees it. A suspended connection does not see its peer leave, so
 * a stream has a watcher of its own for that. */
#include <ctype.h>
#include <gnutls/x509.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <uv.h>

#include "base/alloc.h"
#include "wire/http_server_private.h"

enum { MAX_BODY = 64 << 20, HIGH_WATER = 256 * 1024, LOW_WATER = 64 * 1024, BLOCK = 32 * 1024 };

struct vr_exchange {
    struct vr_server *server;   /* NULL when the connection is done with it */
    struct MHD_Connection *mhd; /* likewise */
    struct vr_exchange *next, *prev;
    struct vr_request request;
    struct vr_buf body;
    char *peer, *client_name;
    char **client_groups;
    bool begun, too_large;
    bool owned;  /* by whom on_request gave it to */
    bool handed; /* was given to the owner */
    bool suspended;
    struct vr_pair *headers; /* of the answer */
    size_t header_count;
    struct MHD_Response *response;
    int status;
    bool queued;
    bool streaming, ended, broken, left;
    struct vr_buf out;
    size_t sent;        /* bytes of out that are gone */
    bool full;          /* the owner was told to wait */
    uv_poll_t *watcher; /* sees the peer leave */
    void (*changed)(void *payload);
    void *payload;
};

/* Small helpers */

static void pair_free(struct vr_pair *pairs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(pairs[i].name);
        free(pairs[i].value);
    }
    free(pairs);
}

static struct vr_pair *pair_add(struct vr_pair **pairs, size_t *count)
{
    if ((*count & (*count - 1)) == 0) /* full at each power of two */
        *pairs = vr_realloc(*pairs, (*count ? *count * 2 : 1) * sizeof **pairs);
    struct vr_pair *added = &(*pairs)[(*count)++];
    *added = (struct vr_pair){0};
    return added;
}

static char *lower(const char *text)
{
    char *copy = vr_strdup(text);
    for (char *at = copy; *at; at++)
        *at = (char)tolower((unsigned char)*at);
    return copy;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* %41 to A; what is no escape stays. */
static char *decode(const char *text, size_t length, bool plus, size_t *decoded)
{
    char *out = vr_alloc(length + 1);
    size_t n = 0;
    for (size_t i = 0; i < length; i++) {
        bool escape = text[i] == '%' && i + 2 < length && hex_digit(text[i + 1]) >= 0 &&
                      hex_digit(text[i + 2]) >= 0;
        if (escape) {
            out[n++] = (char)(hex_digit(text[i + 1]) << 4 | hex_digit(text[i + 2]));
            i += 2;
        } else {
            out[n++] = plus && text[i] == '+' ? ' ' : text[i];
        }
    }
    *decoded = n;
    return out;
}

static struct vr_connection *connection_of(struct MHD_Connection *mhd)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info ? info->socket_context : NULL;
}

/* The request */

static void read_query(struct vr_request *request, const char *text)
{
    while (*text) {
        size_t length = strcspn(text, "&");
        const char *equals = memchr(text, '=', length);
        size_t name_length = equals ? (size_t)(equals - text) : length;
        if (length > 0) {
            struct vr_pair *pair = pair_add(&request->query, &request->query_count);
            pair->name = decode(text, name_length, true, &pair->name_length);
            const char *value = equals ? equals + 1 : text + length;
            pair->value = decode(value, (size_t)(text + length - value), true, &pair->value_length);
        }
        text += length + (text[length] == '&');
    }
}

/* A proxy's client sends the whole URL: what stands before the path is skipped. */
static const char *path_of(const char *target)
{
    const char *scheme = strstr(target, "://");
    if (*target == '/' || !scheme)
        return target;
    const char *slash = strchr(scheme + 3, '/');
    return slash ? slash : "/";
}

static void read_target(struct vr_request *request)
{
    const char *path = path_of(request->target);
    size_t length = strcspn(path, "?#");
    request->path = decode(path, length, false, &request->path_length);
    if (path[length] == '?')
        read_query(request, path + length + 1);
}

static enum MHD_Result add_header(void *cls, enum MHD_ValueKind kind, const char *name,
                                  const char *value)
{
    (void)kind;
    struct vr_request *request = cls;
    char *key = lower(name);
    if (!value)
        value = "";
    for (size_t i = 0; i < request->header_count; i++) {
        struct vr_pair *old = &request->headers[i];
        if (strcmp(old->name, key) != 0)
            continue;
        char *both = vr_format("%s, %s", old->value, value);
        free(old->value);
        old->value = both;
        old->value_length = strlen(both);
        free(key);
        return MHD_YES;
    }
    struct vr_pair *pair = pair_add(&request->headers, &request->header_count);
    *pair = (struct vr_pair){key, vr_strdup(value), strlen(key), strlen(value)};
    return MHD_YES;
}

static void read_host(struct vr_request *request, struct MHD_Connection *connection)
{
    const char *value =
        MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_HOST);
    request->host = lower(value ? value : "");
    char *start = request->host, *stop;
    if (*start == '[' && (stop = strchr(start, ']'))) {
        memmove(start, start + 1, (size_t)(stop - start - 1));
        stop[-1] = '\0';
    } else {
        start[strcspn(start, ":")] = '\0';
    }
}

static char *name_part(gnutls_x509_crt_t cert, const char *oid, unsigned index)
{
    char text[1024];
    size_t size = sizeof text;
    int status = gnutls_x509_crt_get_dn_by_oid(cert, oid, index, 0, text, &size);
    return status < 0 ? NULL : vr_strndup(text, size);
}

static void read_names(struct vr_connection *c, gnutls_x509_crt_t cert)
{
    char *name = name_part(cert, GNUTLS_OID_X520_COMMON_NAME, 0);
    c->client_name = name ? name : vr_strdup("");
    unsigned count = 0;
    c->client_groups = vr_alloc(sizeof *c->client_groups);
    while ((name = name_part(cert, GNUTLS_OID_X520_ORGANIZATION_NAME, count))) {
        c->client_groups = vr_realloc(c->client_groups, (count + 2) * sizeof *c->client_groups);
        c->client_groups[count++] = name;
        c->client_groups[count] = NULL;
    }
}

/* Once a connection: whose certificate the client showed, if it verifies for the use as a client.
 */
static void check_client(struct vr_connection *c, struct MHD_Connection *mhd)
{
    if (c->client_checked || !c->server->options.client_ca)
        return;
    c->client_checked = true;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    if (!info)
        return;
    gnutls_session_t session = info->tls_session;
    unsigned count = 0, status = 0;
    const gnutls_datum_t *chain = gnutls_certificate_get_peers(session, &count);
    if (!chain || count == 0)
        return;
    gnutls_typed_vdata_st use = {.type = GNUTLS_DT_KEY_PURPOSE_OID,
                                 .data = (unsigned char *)GNUTLS_KP_TLS_WWW_CLIENT};
    c->client_refused =
        gnutls_certificate_verify_peers(session, &use, 1, &status) < 0 || status != 0;
    if (c->client_refused)
        return;
    gnutls_x509_crt_t cert;
    if (gnutls_x509_crt_init(&cert) < 0)
        return;
    if (gnutls_x509_crt_import(cert, &chain[0], GNUTLS_X509_FMT_DER) >= 0)
        read_names(c, cert);
    gnutls_x509_crt_deinit(cert);
}

/* The owner may outlive the connection: it gets copies. */
static void read_connection(struct vr_exchange *x)
{
    struct vr_connection *c = connection_of(x->mhd);
    check_client(c, x->mhd);
    x->peer = vr_strdup(c->peer);
    x->client_name = vr_strdup(c->client_name);
    size_t count = 0;
    while (c->client_groups && c->client_groups[count])
        count++;
    x->client_groups = vr_alloc((count + 1) * sizeof *x->client_groups);
    for (size_t i = 0; i < count; i++)
        x->client_groups[i] = vr_strdup(c->client_groups[i]);
    x->request.peer = x->peer;
    x->request.client_name = x->client_name;
    x->request.client_refused = c->client_refused;
    x->request.client_groups = (const char *const *)x->client_groups;
}

/* Life */

static void unlink_exchange(struct vr_exchange *x)
{
    if (x->prev)
        x->prev->next = x->next;
    else
        x->server->exchanges = x->next;
    if (x->next)
        x->next->prev = x->prev;
}

static void exchange_free(struct vr_exchange *x)
{
    struct vr_request *request = &x->request;
    free(request->method);
    free(request->target);
    free(request->path);
    free(request->host);
    pair_free(request->headers, request->header_count);
    pair_free(request->query, request->query_count);
    pair_free(x->headers, x->header_count);
    for (char **group = x->client_groups; group && *group; group++)
        free(*group);
    free(x->client_groups);
    free(x->client_name);
    free(x->peer);
    vr_buf_free(&x->body);
    vr_buf_free(&x->out);
    if (x->response)
        MHD_destroy_response(x->response);
    free(x);
}

static void suspend(struct vr_exchange *x)
{
    MHD_suspend_connection(x->mhd);
    x->suspended = true;
}

static void resume(struct vr_exchange *x)
{
    if (!x->mhd || !x->suspended)
        return;
    x->suspended = false;
    MHD_resume_connection(x->mhd);
    vr_server_kick(x->server);
}

static void watcher_closed(uv_handle_t *handle)
{
    free(handle);
}

static void stop_watcher(struct vr_exchange *x)
{
    if (x->watcher)
        uv_close((uv_handle_t *)x->watcher, watcher_closed);
    x->watcher = NULL;
}

static void leave(struct vr_exchange *x)
{
    stop_watcher(x);
    if (x->left)
        return;
    x->left = true;
    if (x->owned && x->changed)
        x->changed(x->payload);
    resume(x);
}

static void on_disconnect(uv_poll_t *watcher, int status, int events)
{
    (void)status;
    (void)events;
    leave(watcher->data);
}

static void start_watcher(struct vr_exchange *x)
{
    struct vr_connection *c = connection_of(x->mhd);
    uv_poll_t *watcher = vr_alloc(sizeof *watcher);
    if (uv_poll_init(vr_loop_uv(x->server->loop), watcher, c->fd) < 0) {
        free(watcher);
        return;
    }
    watcher->data = x;
    x->watcher = watcher;
    uv_poll_start(watcher, UV_DISCONNECT, on_disconnect);
}

/* libmicrohttpd's side */

void *vr_exchange_on_target(void *cls, const char *target, struct MHD_Connection *connection)
{
    struct vr_server *server = cls;
    struct vr_exchange *x = vr_alloc(sizeof *x);
    x->server = server;
    x->mhd = connection;
    connection_of(connection)->busy = true;
    x->request.target = vr_strdup(target);
    x->next = server->exchanges;
    if (x->next)
        x->next->prev = x;
    server->exchanges = x;
    return x;
}

static enum MHD_Result queue_error(struct vr_exchange *x, int status, const char *text)
{
    vr_exchange_reset(x);
    vr_exchange_header(x, "Content-Type", "application/json", NULL);
    vr_exchange_header(x, "Connection", "close", NULL);
    char *body = vr_format("{\"error\":{\"code\":\"%d\",\"message\":\"%s\"}}\n", status, text);
    vr_exchange_answer(x, status, body, strlen(body));
    free(body);
    x->queued = true;
    return MHD_queue_response(x->mhd, (unsigned)x->status, x->response);
}

static enum MHD_Result begin(struct vr_exchange *x, const char *method)
{
    x->begun = true;
    x->request.method = vr_strdup(method);
    const char *length =
        MHD_lookup_connection_value(x->mhd, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);
    if (length && strtoull(length, NULL, 10) > x->server->options.max_body)
        return queue_error(x, 413, "the body of the request is too large");
    if (x->server->closing)
        return queue_error(x, MHD_HTTP_SERVICE_UNAVAILABLE, "the server is closing");
    return MHD_YES;
}

static enum MHD_Result take_body(struct vr_exchange *x, const char *data, size_t *length)
{
    if (x->body.length + *length > x->server->options.max_body) {
        x->too_large = true;
        vr_buf_free(&x->body);
    }
    if (!x->too_large)
        vr_buf_add(&x->body, data, *length);
    *length = 0;
    return MHD_YES;
}

static enum MHD_Result hand_over(struct vr_exchange *x)
{
    struct vr_request *request = &x->request;
    read_target(request);
    read_host(request, x->mhd);
    MHD_get_connection_values(x->mhd, MHD_HEADER_KIND, add_header, request);
    read_connection(x);
    request->body = x->body.data ? x->body.data : "";
    request->body_length = x->body.length;
    x->handed = x->owned = true;
    suspend(x);
    x->server->options.on_request(x->server->options.payload, x);
    return MHD_YES;
}

static enum MHD_Result queue_response(struct vr_exchange *x)
{
    if (x->server->closing)
        MHD_add_response_header(x->response, MHD_HTTP_HEADER_CONNECTION, "close");
    x->queued = true;
    return MHD_queue_response(x->mhd, (unsigned)x->status, x->response);
}

enum MHD_Result vr_exchange_on_request(void *cls, struct MHD_Connection *connection,
                                       const char *url, const char *method, const char *version,
                                       const char *upload, size_t *upload_size, void **context)
{
    (void)connection;
    (void)url;
    (void)version;
    struct vr_exchange *x = *context;
    ((struct vr_server *)cls)->progress++;
    if (!x->begun)
        return begin(x, method);
    if (*upload_size > 0)
        return take_body(x, upload, upload_size);
    if (x->queued)
        return MHD_YES;
    if (x->response)
        return queue_response(x);
    if (x->too_large)
        return queue_error(x, 413, "the body of the request is too large");
    if (!x->handed)
        return hand_over(x);
    if (!x->owned || x->left)
        return MHD_NO; /* nobody will answer: the connection is closed */
    suspend(x);
    return MHD_YES;
}

void vr_exchange_on_completed(void *cls, struct MHD_Connection *connection, void **context,
                              enum MHD_RequestTerminationCode why)
{
    (void)why;
    struct vr_server *server = cls;
    struct vr_exchange *x = *context;
    *context = NULL;
    if (!x)
        return;
    struct vr_connection *c = connection_of(connection);
    c->busy = false;
    if (server->closing)
        shutdown(c->fd, SHUT_RDWR); /* it is not kept for a next request */
    stop_watcher(x);
    unlink_exchange(x);
    x->mhd = NULL;
    x->server = NULL;
    vr_server_settle(server);
    if (!x->owned) {
        exchange_free(x);
        return;
    }
    leave(x);
}

static size_t waiting(const struct vr_exchange *x)
{
    return x->out.length - x->sent;
}

static size_t take_out(struct vr_exchange *x, char *to, size_t max)
{
    size_t count = waiting(x) < max ? waiting(x) : max;
    memcpy(to, x->out.data + x->sent, count);
    x->sent += count;
    if (waiting(x) == 0) {
        if (x->out.room > HIGH_WATER)
            vr_buf_free(&x->out);
        x->out.length = x->sent = 0;
    }
    if (x->full && waiting(x) < LOW_WATER) {
        x->full = false;
        if (x->owned && x->changed)
            x->changed(x->payload);
    }
    return count;
}

static ssize_t read_stream(void *cls, uint64_t position, char *to, size_t max)
{
    (void)position;
    struct vr_exchange *x = cls;
    x->server->progress++;
    if (x->broken || (x->left && !x->ended))
        return MHD_CONTENT_READER_END_WITH_ERROR;
    if (waiting(x) > 0)
        return (ssize_t)take_out(x, to, max);
    if (x->ended)
        return MHD_CONTENT_READER_END_OF_STREAM;
    suspend(x);
    return 0;
}

/* A body that is there as a whole. */
static ssize_t read_whole(void *cls, uint64_t position, char *to, size_t max)
{
    struct vr_exchange *x = cls;
    x->server->progress++;
    size_t count = x->out.length - (size_t)position;
    if (count > max)
        count = max;
    memcpy(to, x->out.data + position, count);
    return (ssize_t)count;
}

/* The owner's side */

const struct vr_request *vr_exchange_request(const struct vr_exchange *x)
{
    return &x->request;
}

static bool is_token(const char *text)
{
    return *text &&
           strspn(
               text,
               "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`|~") ==
               strlen(text);
}

static bool is_ours(const char *name, const char *value)
{
    return strcasecmp(name, "Content-Length") == 0 || strcasecmp(name, "Transfer-Encoding") == 0 ||
           (strcasecmp(name, "Connection") == 0 && strcasecmp(value, "close") != 0);
}

bool vr_exchange_header(struct vr_exchange *x, const char *name, const char *value,
                        struct vr_error *err)
{
    if (!is_token(name))
        return vr_error_set(err, "header", "'%s' is not a header's name", name);
    if (strpbrk(value, "\r\n"))
        return vr_error_set(err, "header", "the value of header '%s' has a line break in it", name);
    if (is_ours(name, value))
        return true;
    struct vr_pair *pair = pair_add(&x->headers, &x->header_count);
    *pair = (struct vr_pair){vr_strdup(name), vr_strdup(value), strlen(name), strlen(value)};
    return true;
}

void vr_exchange_reset(struct vr_exchange *x)
{
    pair_free(x->headers, x->header_count);
    x->headers = NULL;
    x->header_count = 0;
}

static void set_response(struct vr_exchange *x, int status, struct MHD_Response *response)
{
    x->status = status;
    x->response = response;
    for (size_t i = 0; i < x->header_count; i++)
        MHD_add_response_header(response, x->headers[i].name, x->headers[i].value);
}

void vr_exchange_answer(struct vr_exchange *x, int status, const void *body, size_t length)
{
    if (!x->mhd || x->response)
        return;
    struct MHD_Response *response;
    if (length == 0 || status == MHD_HTTP_NO_CONTENT || status == MHD_HTTP_NOT_MODIFIED) {
        response = MHD_create_response_from_buffer(0, (void *)"", MHD_RESPMEM_PERSISTENT);
    } else {
        vr_buf_add(&x->out, body, length);
        response = MHD_create_response_from_callback(length, BLOCK, read_whole, x, NULL);
    }
    set_response(x, status, response);
    resume(x);
}

void vr_exchange_stream(struct vr_exchange *x, int status, void (*changed)(void *payload),
                        void *payload)
{
    x->streaming = true;
    if (!x->mhd || x->response) {
        x->left = true;
        return;
    }
    x->changed = changed;
    x->payload = payload;
    set_response(x, status,
                 MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK, read_stream, x, NULL));
    start_watcher(x);
    resume(x);
}

bool vr_exchange_write(struct vr_exchange *x, const void *data, size_t length)
{
    if (x->left || x->ended || x->broken)
        return false;
    if (length == 0)
        return true;
    vr_buf_add(&x->out, data, length);
    x->full = waiting(x) >= HIGH_WATER;
    resume(x);
    return true;
}

bool vr_exchange_is_full(const struct vr_exchange *x)
{
    return x->full && !x->left;
}

bool vr_exchange_left(const struct vr_exchange *x)
{
    return x->left;
}

void vr_exchange_end(struct vr_exchange *x, bool complete)
{
    x->ended = complete;
    x->broken = !complete;
    resume(x);
}

void vr_exchange_free(struct vr_exchange *x)
{
    x->owned = false;
    if (!x->mhd) {
        exchange_free(x);
        return;
    }
    if (x->streaming && !x->ended)
        x->broken = true;
    resume(x);
}

void vr_exchange_close_all(struct vr_server *server, bool streams_only)
{
    struct vr_exchange *next;
    for (struct vr_exchange *x = server->exchanges; x; x = next) {
        next = x->next;
        if (streams_only && !x->streaming)
            continue;
        if (streams_only && !x->left) {
            /* What was written goes out, then the stream ends as a whole. */
            x->ended = true;
            leave(x);
        } else if (!streams_only) {
            x->broken = true;
            x->left = true;
            if (x->owned && x->changed)
                x->changed(x->payload);
            resume(x);
        }
    }
}
