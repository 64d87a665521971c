/* One curl multi handle for the process, driven by the loop (curl calls this the socket interface).
 * A request is one easy handle: its name is looked up first (curl's own resolver would take a
 * thread a name and cannot be cancelled) and handed over as CURLOPT_RESOLVE, so that curl still
 * tries all addresses and still knows the connection by its name. */
#include "wire/http.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <curl/curl.h>
#include <openssl/x509_vfy.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "net/resolve.h"

#define MAX_BODY ((size_t)256 << 20)
enum { HIGH_WATER = 256 * 1024, MAX_HEAD = 1 << 20, MAX_LINES = 1000, KEPT_CONNECTIONS = 512 };
static const double default_timeout = 300, default_connect_timeout = 30;

struct client {
    struct vr_loop *loop;
    CURLM *multi;
    struct vr_timer *timer;
};

struct vr_http {
    struct client *client;
    CURL *easy;
    bool added; /* to the multi handle */
    struct curl_slist *headers;
    struct curl_slist *resolved;
    struct curl_slist *connect_to;
    char *who; /* "host:port (at address:port)", for messages */
    char *dial_host, *dial_port;
    char *name; /* what the certificate must be for */
    bool proxied;
    bool stream;
    double timeout, connect_timeout;
    size_t max_body;
    struct vr_resolve *lookup;
    struct vr_timer *timer;
    int status;
    json_t *head;
    size_t head_length, head_lines;
    bool head_ended, ended, paused;
    struct vr_buf body;
    struct vr_error err;
    vr_http_cb cb;
    void *payload;
    char detail[CURL_ERROR_SIZE];
};

static struct client *client;

/* The loop and curl */

static void collect(struct client *c);

static void on_socket(void *payload, int events)
{
    void **bound = payload; /* {client, poll, fd} */
    struct client *c = bound[0];
    int what = (events & VR_POLL_READ ? CURL_CSELECT_IN : 0) |
               (events & VR_POLL_WRITE ? CURL_CSELECT_OUT : 0);
    int running;
    curl_multi_socket_action(c->multi, (curl_socket_t)(intptr_t)bound[2], what, &running);
    collect(c);
}

static int watch_socket(CURL *easy, curl_socket_t fd, int what, void *payload, void *socket_data)
{
    (void)easy;
    struct client *c = payload;
    void **bound = socket_data;
    if (what == CURL_POLL_REMOVE) {
        if (bound) {
            vr_poll_free(bound[1]);
            free(bound);
            curl_multi_assign(c->multi, fd, NULL);
        }
        return 0;
    }
    if (!bound) {
        bound = vr_alloc(3 * sizeof *bound);
        bound[0] = c;
        bound[2] = (void *)(intptr_t)fd;
        bound[1] = vr_poll_new(c->loop, fd, on_socket, bound);
        curl_multi_assign(c->multi, fd, bound);
    }
    vr_poll_set(bound[1], (what & CURL_POLL_IN ? VR_POLL_READ : 0) |
                              (what & CURL_POLL_OUT ? VR_POLL_WRITE : 0));
    return 0;
}

static void on_timer(void *payload)
{
    struct client *c = payload;
    c->timer = NULL;
    int running;
    curl_multi_socket_action(c->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    collect(c);
}

static int set_timer(CURLM *multi, long ms, void *payload)
{
    (void)multi;
    struct client *c = payload;
    vr_timer_cancel(c->timer);
    c->timer = ms < 0 ? NULL : vr_timer_start(c->loop, (double)ms / 1000, on_timer, c);
    return 0;
}

static struct client *client_of(struct vr_loop *loop)
{
    static bool initialised;
    if (!initialised) {
        curl_global_init(CURL_GLOBAL_DEFAULT);
        signal(SIGPIPE, SIG_IGN);
        initialised = true;
    }
    if (client)
        return client;
    client = vr_alloc(sizeof *client);
    client->loop = loop;
    client->multi = curl_multi_init();
    curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, watch_socket);
    curl_multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client);
    curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, set_timer);
    curl_multi_setopt(client->multi, CURLMOPT_TIMERDATA, client);
    curl_multi_setopt(client->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
    curl_multi_setopt(client->multi, CURLMOPT_MAXCONNECTS, (long)KEPT_CONNECTIONS);
    return client;
}

void vr_http_shutdown(struct vr_loop *loop)
{
    if (!client || client->loop != loop)
        return;
    curl_multi_cleanup(client->multi);
    vr_timer_cancel(client->timer);
    free(client);
    client = NULL;
}

/* Failures */

static void end(struct vr_http *http)
{
    vr_timer_cancel(http->timer);
    http->timer = NULL;
    vr_resolve_cancel(http->lookup);
    http->lookup = NULL;
    if (http->added)
        curl_multi_remove_handle(http->client->multi, http->easy);
    http->added = false;
    http->ended = true;
    http->cb(http->payload);
}

static void fail_connect(struct vr_http *http)
{
    long number = 0;
    curl_easy_getinfo(http->easy, CURLINFO_OS_ERRNO, &number);
    const char *why = number ? strerror((int)number) : http->detail;
    char *text = vr_strdup(why);
    if (number)
        text[0] = (char)tolower((unsigned char)text[0]);
    vr_error_set(&http->err, "connect", "%s: cannot connect: %s", http->who, text);
    free(text);
}

static void fail_verify(struct vr_http *http)
{
    long result = 0;
    curl_easy_getinfo(http->easy, CURLINFO_SSL_VERIFYRESULT, &result);
    switch (result) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        vr_error_set(&http->err, "tls", "%s: the server's certificate has expired", http->who);
        return;
    case X509_V_ERR_CERT_NOT_YET_VALID:
        vr_error_set(&http->err, "tls",
                     "%s: the server's certificate is not valid yet; compare the clocks",
                     http->who);
        return;
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
        vr_error_set(
            &http->err, "tls",
            "%s: the server's certificate is signed by an authority that is not trusted here",
            http->who);
        return;
    case X509_V_OK:
    case X509_V_ERR_UNSPECIFIED: /* curl's own look at the name */
        vr_error_set(&http->err, "tls", "%s: the server's certificate is not for '%s'", http->who,
                     http->name);
        return;
    default:
        vr_error_set(&http->err, "tls", "%s: the server's certificate is not acceptable: %s",
                     http->who, X509_verify_cert_error_string(result));
    }
}

/* The peer's TLS alert comes inside a receive error when it rejects our certificate after the
 * handshake (TLS 1.3). */
static bool is_tls_alert(const struct vr_http *http)
{
    return strstr(http->detail, "alert") && strstr(http->detail, "error:");
}

static void fail_tls(struct vr_http *http)
{
    const char *text = http->detail;
    if (strstr(text, "certificate required"))
        vr_error_set(&http->err, "tls", "%s: the server wants a client certificate", http->who);
    else if (strstr(text, "alert"))
        vr_error_set(&http->err, "tls", "%s: the server broke the TLS handshake off: %s", http->who,
                     text);
    else if (strstr(text, "wrong version number") || strstr(text, "packet length too long"))
        vr_error_set(&http->err, "tls", "%s: the server does not speak TLS", http->who);
    else if (!*text || strstr(text, "SSL_ERROR_SYSCALL") || strstr(text, "unexpected eof"))
        vr_error_set(&http->err, "tls", "%s: the server closed the connection in the TLS handshake",
                     http->who);
    else
        vr_error_set(&http->err, "tls", "%s: the TLS handshake failed: %s", http->who, text);
}

static bool is_connected(struct vr_http *http)
{
    curl_off_t micros = 0;
    curl_easy_getinfo(http->easy, CURLINFO_PRETRANSFER_TIME_T, &micros);
    return micros > 0;
}

static void fail_timeout(struct vr_http *http, double seconds)
{
    const char *stage = http->lookup          ? "the name was not resolved"
                        : !http->added        ? "nothing happened"
                        : !is_connected(http) ? "no connection"
                        : http->head_ended    ? "the answer did not end"
                                              : "no answer";
    vr_error_set(&http->err, "timeout", "%s: %s after %g s", http->who, stage, seconds);
}

static void fail_reset(struct vr_http *http)
{
    if (http->head_ended)
        vr_error_set(&http->err, "reset", "%s: the connection was lost in the middle of the answer",
                     http->who);
    else
        vr_error_set(&http->err, "reset", "%s: the connection was lost before an answer",
                     http->who);
}

static bool proxy_refused(struct vr_http *http)
{
    long status = 0;
    curl_easy_getinfo(http->easy, CURLINFO_HTTP_CONNECTCODE, &status);
    if (!http->proxied || status < 300)
        return false;
    vr_error_set(&http->err, "connect",
                 "%s: the proxy %s:%s refused the connection with status %ld", http->who,
                 http->dial_host, http->dial_port, status);
    return true;
}

/* Turns curl's result into one error; what a callback of ours found is in http->err already. */
static void fail(struct vr_http *http, CURLcode code)
{
    if (http->err.message)
        return;
    switch (code) {
    case CURLE_URL_MALFORMAT:
        vr_error_set(&http->err, "url", "%s: not an http or https URL", http->who);
        return;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
        vr_error_set(&http->err, "resolve", "%s: no such host", http->who);
        return;
    case CURLE_COULDNT_CONNECT:
        fail_connect(http);
        return;
    case CURLE_OPERATION_TIMEDOUT:
        fail_timeout(http, http->connect_timeout);
        return;
    case CURLE_PEER_FAILED_VERIFICATION:
        fail_verify(http);
        return;
    case CURLE_SSL_CERTPROBLEM:
        vr_error_set(&http->err, "tls", "%s: the client certificate or its key cannot be used: %s",
                     http->who, http->detail);
        return;
    case CURLE_SSL_CACERT_BADFILE:
        vr_error_set(&http->err, "tls", "%s: 'ca' is not a certificate in PEM form", http->who);
        return;
    case CURLE_SSL_CONNECT_ERROR:
        fail_tls(http);
        return;
    case CURLE_GOT_NOTHING:
    case CURLE_PARTIAL_FILE:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
        if (proxy_refused(http))
            return;
        if (is_tls_alert(http))
            fail_tls(http);
        else if (strstr(http->detail, "large response headers"))
            vr_error_set(&http->err, "too_large", "%s: the head of the answer is too large",
                         http->who);
        else if (strstr(http->detail, "in chunked-encoding"))
            vr_error_set(&http->err, "protocol", "%s: the chunks of the answer are broken",
                         http->who);
        else
            fail_reset(http);
        return;
    case CURLE_UNSUPPORTED_PROTOCOL:
        vr_error_set(&http->err, "protocol", "%s: the server does not speak HTTP", http->who);
        return;
    default:
        vr_error_set(&http->err, "protocol", "%s: %s", http->who,
                     *http->detail ? http->detail : curl_easy_strerror(code));
    }
}

/* Takes the requests that ended off curl's list. */
static void collect(struct client *c)
{
    CURLMsg *message;
    int left;
    while ((message = curl_multi_info_read(c->multi, &left))) {
        if (message->msg != CURLMSG_DONE)
            continue;
        struct vr_http *http;
        CURLcode code = message->data.result; /* the message dies with the removal */
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&http);
        if (code == CURLE_OK && !http->head_ended)
            code = CURLE_GOT_NOTHING; /* curl is content with half a head */
        if (code != CURLE_OK)
            fail(http, code);
        end(http);
    }
}

static void on_timeout(void *payload)
{
    struct vr_http *http = payload;
    http->timer = NULL;
    fail_timeout(http, http->timeout);
    end(http);
}

/* The answer */

/* A header's value as JSON: bytes that are not UTF-8 are Latin-1, as HTTP once said. */
static json_t *header_value(const struct vr_buf *text)
{
    json_t *value = json_stringn(text->data, text->length);
    if (value)
        return value;
    struct vr_buf wide = {0};
    for (size_t i = 0; i < text->length; i++) {
        unsigned char c = (unsigned char)text->data[i];
        const char two[2] = {(char)(0xC0 | c >> 6), (char)(0x80 | (c & 0x3F))};
        if (c < 0x80)
            vr_buf_add(&wide, &c, 1);
        else
            vr_buf_add(&wide, two, 2);
    }
    value = json_stringn(wide.data, wide.length);
    vr_buf_free(&wide);
    return value;
}

static void add_header(struct vr_http *http, const char *line, size_t length)
{
    const char *colon = memchr(line, ':', length);
    if (!colon || colon == line)
        return;
    char *name = vr_strndup(line, (size_t)(colon - line));
    for (char *at = name; *at; at++)
        *at = (char)tolower((unsigned char)*at);
    const char *value = colon + 1, *stop = line + length;
    while (value < stop && (*value == ' ' || *value == '\t'))
        value++;
    while (stop > value && isspace((unsigned char)stop[-1]))
        stop--;
    const char *old = json_string_value(json_object_get(http->head, name));
    struct vr_buf text = {0};
    if (old)
        vr_buf_printf(&text, "%s, ", old);
    vr_buf_add(&text, value, (size_t)(stop - value));
    json_object_set_new(http->head, name,
                        header_value(&text)); /* refuses a name that is not UTF-8: dropped */
    vr_buf_free(&text);
    free(name);
}

static void end_head(struct vr_http *http)
{
    http->head_ended = true;
    if (!http->stream)
        return;
    vr_timer_cancel(http->timer);
    http->timer = NULL;
    http->cb(http->payload);
}

static size_t on_header(char *line, size_t size, size_t count, void *payload)
{
    struct vr_http *http = payload;
    size_t length = size * count;
    if (http->head_ended) /* trailers */
        return length;
    http->head_length += length;
    if (http->head_length > MAX_HEAD || ++http->head_lines > MAX_LINES) {
        vr_error_set(&http->err, "too_large", "%s: the head of the answer is too large", http->who);
        return 0;
    }
    if (length >= 5 && memcmp(line, "HTTP/", 5) == 0) {
        const char *space = memchr(line, ' ', length);
        http->status = space ? atoi(space + 1) : 0;
        json_object_clear(http->head);
    } else if (*line == '\r' || *line == '\n') {
        if (http->status >= 200)
            end_head(http);
    } else {
        add_header(http, line, length);
    }
    return length;
}

static size_t on_body(char *data, size_t size, size_t count, void *payload)
{
    struct vr_http *http = payload;
    size_t length = size * count;
    if (http->stream && http->body.length >= HIGH_WATER) {
        http->paused = true;
        return CURL_WRITEFUNC_PAUSE;
    }
    if (!http->stream && http->body.length + length > http->max_body) {
        vr_error_set(&http->err, "too_large", "%s: the answer is larger than %zu bytes", http->who,
                     http->max_body);
        return 0;
    }
    vr_buf_add(&http->body, data, length);
    if (http->stream)
        http->cb(http->payload);
    return length;
}

/* Proxies */

static const char *environment(const char *lower, const char *upper)
{
    const char *value = getenv(lower);
    if (!value || !*value)
        value = getenv(upper);
    return value && *value ? value : NULL;
}

/* "10.0.0.0/8" holds 10.1.2.3. */
static bool in_network(const char *network, const char *host)
{
    const char *slash = strchr(network, '/');
    struct in_addr net, address;
    if (!slash || inet_pton(AF_INET, host, &address) != 1)
        return false;
    char *base = vr_strndup(network, (size_t)(slash - network));
    bool ok = inet_pton(AF_INET, base, &net) == 1;
    free(base);
    int bits = atoi(slash + 1);
    if (!ok || bits < 0 || bits > 32)
        return false;
    uint32_t mask = bits == 0 ? 0 : UINT32_MAX << (32 - bits);
    return (ntohl(net.s_addr) & mask) == (ntohl(address.s_addr) & mask);
}

/* One entry of NO_PROXY: "*", a host, a domain with or without a dot before it, a network; each may
 * end in ":port". */
static bool bypasses(char *entry, const char *host, const char *port)
{
    char *colon = strrchr(entry, ':');
    if (colon && strchr(entry, ':') == colon) {
        if (strcmp(colon + 1, port) != 0)
            return false;
        *colon = '\0';
    }
    if (strcmp(entry, "*") == 0 || in_network(entry, host))
        return true;
    while (*entry == '*' || *entry == '.')
        entry++;
    size_t length = strlen(entry), all = strlen(host);
    if (length == 0 || length > all || strcasecmp(host + all - length, entry) != 0)
        return false;
    return length == all || host[all - length - 1] == '.';
}

static bool is_bypassed(const char *host, const char *port)
{
    const char *list = environment("no_proxy", "NO_PROXY");
    char *copy = vr_strdup(list), *rest = copy, *entry;
    bool found = false;
    while (!found && (entry = rest ? strsep(&rest, ", \t") : NULL))
        found = *entry && bypasses(entry, host, port);
    free(copy);
    return found;
}

static const char *choose_proxy(const struct vr_http_options *o, bool secure, const char *host,
                                const char *port)
{
    if (o->proxy)
        return *o->proxy ? o->proxy : NULL;
    if (vr_resolve_is_loopback(host) || is_bypassed(host, port))
        return NULL;
    const char *proxy = secure ? environment("https_proxy", "HTTPS_PROXY")
                               : environment("http_proxy", "HTTP_PROXY");
    return proxy ? proxy : environment("all_proxy", "ALL_PROXY");
}

/* The request */

struct place {
    char *host, *port;
};

static void place_free(struct place *place)
{
    free(place->host);
    free(place->port);
    *place = (struct place){0};
}

static char *url_part(CURLU *url, CURLUPart part, unsigned flags)
{
    char *text = NULL;
    if (curl_url_get(url, part, &text, flags) != CURLUE_OK)
        return NULL;
    char *copy = vr_strdup(text);
    curl_free(text);
    return copy;
}

/* "10.0.0.4:6443", "[::1]:80", "host:443". */
static bool split_place(const char *text, struct place *place)
{
    const char *colon = strrchr(text, ':');
    if (!colon || colon == text || !colon[1] || (strchr(text, ':') != colon && text[0] != '['))
        return false;
    place->host = vr_strndup(text, (size_t)(colon - text));
    place->port = vr_strdup(colon + 1);
    return true;
}

static bool proxy_place(const char *proxy, struct place *place, char **full)
{
    CURLU *url = curl_url();
    bool ok = curl_url_set(url, CURLUPART_URL, proxy,
                           CURLU_DEFAULT_SCHEME | CURLU_NON_SUPPORT_SCHEME) == CURLUE_OK;
    if (ok) {
        char *scheme = url_part(url, CURLUPART_SCHEME, 0);
        place->host = url_part(url, CURLUPART_HOST, 0);
        place->port = url_part(url, CURLUPART_PORT, 0);
        if (!place->port) {
            place->port = vr_strdup(strcmp(scheme, "https") == 0  ? "443"
                                    : strcmp(scheme, "http") == 0 ? "80"
                                                                  : "1080");
            curl_url_set(url, CURLUPART_PORT, place->port, 0);
        }
        if (strcmp(scheme, "https") == 0 && strncasecmp(proxy, "https:", 6) != 0)
            curl_url_set(url, CURLUPART_SCHEME, "http", 0);
        *full = url_part(url, CURLUPART_URL, CURLU_NO_DEFAULT_PORT);
        free(scheme);
    }
    curl_url_cleanup(url);
    return ok && place->host && *full;
}

static void add_line(struct curl_slist **list, const char *line)
{
    *list = curl_slist_append(*list, line);
}

static bool has_header(const char *const *headers, const char *name)
{
    size_t length = strlen(name);
    for (; headers && *headers; headers++) {
        if (strncasecmp(*headers, name, length) == 0 &&
            ((*headers)[length] == ':' || (*headers)[length] == ';'))
            return true;
    }
    return false;
}

static void set_blob(CURL *easy, CURLoption option, const char *text)
{
    struct curl_blob blob = {.data = (void *)text, .len = strlen(text), .flags = CURL_BLOB_COPY};
    curl_easy_setopt(easy, option, &blob);
}

static void set_method(struct vr_http *http, const struct vr_http_options *o)
{
    const char *method = o->method ? o->method : "GET";
    bool has_body = o->body || strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0 ||
                    strcmp(method, "PATCH") == 0;
    if (has_body) {
        curl_easy_setopt(http->easy, CURLOPT_POST, 1L);
        curl_easy_setopt(http->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)o->body_length);
        curl_easy_setopt(http->easy, CURLOPT_COPYPOSTFIELDS, o->body ? o->body : "");
        if (!has_header(o->headers, "Content-Type"))
            add_line(&http->headers, "Content-Type:");
        add_line(&http->headers, "Expect:");
    } else if (strcmp(method, "HEAD") == 0) {
        curl_easy_setopt(http->easy, CURLOPT_NOBODY, 1L);
    }
    curl_easy_setopt(http->easy, CURLOPT_CUSTOMREQUEST, method);
}

static void set_tls(struct vr_http *http, const struct vr_http_options *o)
{
    CURL *easy = http->easy;
    const char *authorities = getenv("SSL_CERT_FILE");
    if (!o->ca && authorities && *authorities)
        curl_easy_setopt(easy, CURLOPT_CAINFO, authorities);
    if (o->ca) {
        curl_easy_setopt(easy, CURLOPT_CAINFO, NULL);
        curl_easy_setopt(easy, CURLOPT_CAPATH,
                         NULL); /* else the system's authorities are trusted as well */
        set_blob(easy, CURLOPT_CAINFO_BLOB, o->ca);
    }
    if (o->cert)
        set_blob(easy, CURLOPT_SSLCERT_BLOB, o->cert);
    if (o->key)
        set_blob(easy, CURLOPT_SSLKEY_BLOB, o->key);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, o->insecure ? 0L : 1L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, o->insecure ? 0L : 2L);
    curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
}

static void set_common(struct vr_http *http, const struct vr_http_options *o)
{
    CURL *easy = http->easy;
    curl_easy_setopt(easy, CURLOPT_PRIVATE, http);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, http->detail);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)(http->connect_timeout * 1000));
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_DNS_CACHE_TIMEOUT, -1L); /* resolve.c knows how long */
    curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    curl_easy_setopt(easy, CURLOPT_USERAGENT,
                     o->user_agent ? o->user_agent : "vmrun/" VMRUN_VERSION);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, http);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, http);
}

/* curl takes name and SNI from the URL: with another name expected, the URL gets that name, the
 * socket the old place, and the Host header stays what it was. */
static void set_name(struct vr_http *http, const struct vr_http_options *o, CURLU *url,
                     const struct place *target)
{
    if (!o->server_name || strcasecmp(o->server_name, target->host) == 0)
        return;
    curl_url_set(url, CURLUPART_HOST, o->server_name, 0);
    free(http->name);
    http->name = vr_strdup(o->server_name);
    if (has_header(o->headers, "Host"))
        return;
    char *port = url_part(url, CURLUPART_PORT, 0);
    char *line = vr_format("Host: %s%s%s", target->host, port ? ":" : "", port ? port : "");
    add_line(&http->headers, line);
    free(line);
    free(port);
}

static bool set_dial(struct vr_http *http, const struct vr_http_options *o, bool secure,
                     const struct place *target)
{
    struct place dial = {0};
    if (o->connect_to && !split_place(o->connect_to, &dial))
        return vr_error_set(&http->err, "url", "'%s' is not an address and a port", o->connect_to);
    if (!o->connect_to)
        dial = (struct place){vr_strdup(target->host), vr_strdup(target->port)};
    http->who = o->connect_to
                    ? vr_format("%s:%s (at %s)", target->host, target->port, o->connect_to)
                    : vr_format("%s:%s", target->host, target->port);
    if (o->connect_to || strcasecmp(http->name, target->host) != 0) {
        char *line = vr_format("::%s:%s", dial.host, dial.port);
        add_line(&http->connect_to, line);
        free(line);
    }
    const char *proxy = choose_proxy(o, secure, dial.host, dial.port);
    char *full = NULL;
    bool ok = true;
    if (proxy) {
        place_free(&dial);
        ok = proxy_place(proxy, &dial, &full);
        if (!ok)
            vr_error_set(&http->err, "url", "%s: the proxy is not given as a URL", http->who);
        http->proxied = true;
    }
    curl_easy_setopt(http->easy, CURLOPT_PROXY, full ? full : "");
    curl_easy_setopt(http->easy, CURLOPT_NOPROXY, "");
    free(full);
    http->dial_host = dial.host;
    http->dial_port = dial.port;
    return ok;
}

static bool set_url(struct vr_http *http, const struct vr_http_options *o)
{
    CURLU *url = curl_url();
    struct place target = {0};
    char *scheme = NULL, *text = NULL;
    bool ok = false;
    if (curl_url_set(url, CURLUPART_URL, o->url, 0) != CURLUE_OK) {
        vr_error_set(&http->err, "url", "the URL cannot be understood");
        goto out;
    }
    scheme = url_part(url, CURLUPART_SCHEME, 0);
    if (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0) {
        vr_error_set(&http->err, "url", "'%s' is neither http nor https", scheme);
        goto out;
    }
    target.host = url_part(url, CURLUPART_HOST, 0);
    target.port = url_part(url, CURLUPART_PORT, CURLU_DEFAULT_PORT);
    http->name = vr_strdup(target.host);
    set_name(http, o, url, &target);
    if (!set_dial(http, o, strcmp(scheme, "https") == 0, &target))
        goto out;
    text = url_part(url, CURLUPART_URL, 0);
    curl_easy_setopt(http->easy, CURLOPT_URL, text);
    ok = true;
out:
    free(scheme);
    free(text);
    place_free(&target);
    curl_url_cleanup(url);
    return ok;
}

static void run(struct vr_http *http)
{
    curl_easy_setopt(http->easy, CURLOPT_HTTPHEADER, http->headers);
    curl_easy_setopt(http->easy, CURLOPT_RESOLVE, http->resolved);
    curl_easy_setopt(http->easy, CURLOPT_CONNECT_TO, http->connect_to);
    curl_multi_add_handle(http->client->multi, http->easy);
    http->added = true;
}

static void on_resolved(void *payload, const char *addresses, const struct vr_error *err)
{
    struct vr_http *http = payload;
    http->lookup = NULL;
    if (err) {
        vr_error_set(&http->err, "resolve", "%s: %s", http->who, err->message);
        end(http);
        return;
    }
    char *line = vr_format("+%s:%s:%s", http->dial_host, http->dial_port, addresses);
    add_line(&http->resolved, line);
    free(line);
    run(http);
}

static void on_refused(void *payload)
{
    struct vr_http *http = payload;
    http->timer = NULL;
    end(http);
}

struct vr_http *vr_http_start(struct vr_loop *loop, const struct vr_http_options *options,
                              vr_http_cb cb, void *payload)
{
    struct vr_http *http = vr_alloc(sizeof *http);
    http->client = client_of(loop);
    http->easy = curl_easy_init();
    http->head = json_object();
    http->cb = cb;
    http->payload = payload;
    http->stream = options->stream;
    http->max_body = options->max_body ? options->max_body : MAX_BODY;
    http->timeout = options->timeout > 0 ? options->timeout : default_timeout;
    http->connect_timeout =
        options->connect_timeout > 0 ? options->connect_timeout : default_connect_timeout;
    for (const char *const *line = options->headers; line && *line; line++)
        add_line(&http->headers, *line);
    set_common(http, options);
    set_tls(http, options);
    set_method(http, options);
    if (!set_url(http, options)) {
        http->timer = vr_timer_start(loop, 0, on_refused, http);
        return http;
    }
    http->timer = vr_timer_start(loop, http->timeout, on_timeout, http);
    if (vr_resolve_is_address(http->dial_host) || vr_resolve_is_loopback(http->dial_host))
        run(http);
    else
        http->lookup = vr_resolve_start(loop, http->dial_host, on_resolved, http);
    return http;
}

void vr_http_free(struct vr_http *http)
{
    if (!http)
        return;
    vr_timer_cancel(http->timer);
    vr_resolve_cancel(http->lookup);
    if (http->added)
        curl_multi_remove_handle(http->client->multi, http->easy);
    curl_easy_cleanup(http->easy);
    curl_slist_free_all(http->headers);
    curl_slist_free_all(http->resolved);
    curl_slist_free_all(http->connect_to);
    json_decref(http->head);
    vr_buf_free(&http->body);
    vr_error_clear(&http->err);
    free(http->who);
    free(http->name);
    free(http->dial_host);
    free(http->dial_port);
    free(http);
}

bool vr_http_ended(const struct vr_http *http)
{
    return http->ended;
}

const struct vr_error *vr_http_error(const struct vr_http *http)
{
    return http->err.message ? &http->err : NULL;
}

int vr_http_status(const struct vr_http *http)
{
    return http->head_ended ? http->status : 0;
}

const json_t *vr_http_headers(const struct vr_http *http)
{
    return http->head;
}

const char *vr_http_body(const struct vr_http *http, size_t *length)
{
    *length = http->body.length;
    return http->body.data ? http->body.data : "";
}

void vr_http_consume(struct vr_http *http)
{
    vr_buf_free(&http->body);
    if (http->paused && http->added) {
        http->paused = false;
        curl_easy_pause(http->easy, CURLPAUSE_CONT);
    }
}
