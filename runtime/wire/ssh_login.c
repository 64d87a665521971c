/* From the handshake on: what both sides have in common, whose key the host shows, and which of
 * ours it takes. libssh2 is called until it has an answer; who signs may take their time. */
#include "wire/ssh_internal.h"

#include <libssh2.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

/* Only what is cheap: a key exchange over a large prime group would hold up the loop for tens of
 * milliseconds. OpenSSH's curve25519 is plain C, its P-256 OpenSSL's, which costs a host less. */
static const char *const our_kex =
    "ecdh-sha2-nistp256,curve25519-sha256,curve25519-sha256@libssh.org";
static const char *const our_ciphers = "aes128-ctr,aes256-ctr,aes192-ctr";
static const char *const our_macs = "hmac-sha2-256,hmac-sha2-512";
static const char *const our_host_keys =
    "ssh-ed25519,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521,ssh-rsa";

static void say_no_common(struct vr_ssh *ssh, const char *what, const char *ours,
                          const char *theirs)
{
    vr_error_set(&ssh->err, "handshake",
                 "%s and vmrun have no %s in common: the host has %s, vmrun has %s", ssh->label,
                 what, *theirs ? theirs : "none", ours);
    vr_error_hint(&ssh->err,
                  "say transport = \"openssh\" for this host, or allow one of vmrun's in "
                  "its sshd_config");
    ssh_lose(ssh);
}

static void handshake_failed(struct vr_ssh *ssh)
{
    char *const *theirs = ssh->offer.lists;
    struct {
        int list;
        const char *what, *ours;
    } checks[] = {
        {OFFER_KEX, "key exchange", our_kex},    {OFFER_HOST_KEY, "host key type", ssh->asked},
        {OFFER_CIPHER, "cipher", our_ciphers},   {OFFER_CIPHER_BACK, "cipher", our_ciphers},
        {OFFER_MAC, "message digest", our_macs}, {OFFER_MAC_BACK, "message digest", our_macs},
    };
    for (size_t i = 0; i < sizeof(checks) / sizeof(*checks); i++) {
        const char *list = theirs[checks[i].list];
        if (list && !ssh_offer_common(checks[i].ours, list)) {
            say_no_common(ssh, checks[i].what, checks[i].ours, list);
            return;
        }
    }
    if (ssh->gone)
        ssh_lose_because(ssh, "unreachable",
                         "%s ended the connection before the key exchange was done: %s", ssh->label,
                         ssh_how_it_ended(ssh));
    else
        ssh_lose_because(ssh, "unreachable", "the key exchange with %s failed: %s", ssh->label,
                         ssh_last_error(ssh));
}

static const char *known_name(const struct vr_ssh *ssh)
{
    return ssh->known_as ? ssh->known_as : ssh->host;
}

static int known_port(const struct vr_ssh *ssh)
{
    return ssh->known_as ? 22 : ssh->port;
}

/* True: go on with the login. */
static bool check_host_key(struct vr_ssh *ssh)
{
    size_t length = 0;
    int type = 0;
    const char *blob = libssh2_session_hostkey(ssh->raw, &length, &type);
    ssh->host_key = blob ? vr_host_key_line(blob, length) : NULL;
    if (!ssh->host_key) {
        ssh_lose_because(ssh, "handshake", "%s has shown no host key", ssh->label);
        return false;
    }
    if (ssh->scan) {
        ssh_end_login(ssh, SCANNED);
        return false;
    }
    if (!vr_known_hosts_check(ssh->known, known_name(ssh), known_port(ssh), blob, length,
                              ssh->label, &ssh->err)) {
        ssh_lose(ssh);
        return false;
    }
    return true;
}

static const char *algorithm_of(const struct vr_ssh *ssh)
{
    const char *type = ssh->identities[ssh->at].type;
    return ssh->old_rsa ? type : vr_ssh_key_algorithm(type);
}

/* What the owner signs, which takes as long as it takes: libssh2 asks again. */
static int ask_owner(struct vr_ssh *ssh, unsigned char **out, size_t *out_length, const void *data,
                     size_t length)
{
    if (!ssh->asks) {
        ssh->asks = ssh->news = true;
        vr_buf_free(&ssh->wanted);
        vr_buf_add(&ssh->wanted, data, length);
    }
    if (!ssh->answered)
        return LIBSSH2_ERROR_EAGAIN;
    ssh->asks = ssh->answered = false;
    *out_length = ssh->answer.length;
    *out = (unsigned char *)vr_buf_steal(&ssh->answer);
    if (*out_length > 0)
        return 0;
    free(*out);
    *out = NULL;
    return -1;
}

static LIBSSH2_USERAUTH_PUBLICKEY_SIGN_FUNC(sign)
{
    (void)session;
    struct vr_ssh *ssh = *abstract;
    const struct vr_ssh_key *key = ssh->identities[ssh->at].key;
    if (ssh->torn)
        return -1;
    if (!key)
        return ask_owner(ssh, sig, sig_len, data, data_len);
    return vr_ssh_key_sign(key, algorithm_of(ssh), data, data_len, sig, sig_len) ? 0 : -1;
}

static int authenticate(struct vr_ssh *ssh)
{
    struct ssh_identity *identity = &ssh->identities[ssh->at];
    struct vr_buf offer = {0};
    vr_ssh_offer_as(identity->blob.data, identity->blob.length, algorithm_of(ssh), &offer);
    ssh->self = ssh;
    int rc = libssh2_userauth_publickey(ssh->raw, ssh->user, (unsigned char *)offer.data,
                                        offer.length, sign, &ssh->self);
    vr_buf_free(&offer);
    return rc;
}

static void put_names(const struct vr_ssh *ssh, struct vr_buf *out)
{
    for (size_t i = 0; i < ssh->identity_count; i++) {
        const struct ssh_identity *identity = &ssh->identities[i];
        vr_buf_printf(out, "%s%s", i ? ", " : "", identity->name);
        if (identity->unsigned_why)
            vr_buf_printf(out, " (%s)", identity->unsigned_why);
    }
}

/* Whether the host had nothing to refuse: none of the owners has signed. */
static bool nobody_signed(const struct vr_ssh *ssh)
{
    for (size_t i = 0; i < ssh->identity_count; i++) {
        if (!ssh->identities[i].unsigned_why)
            return false;
    }
    return true;
}

/* All were refused, or (cut) the host has had enough of them. */
static void refused(struct vr_ssh *ssh, bool cut)
{
    struct vr_buf names = {0};
    bool many = ssh->identity_count > 1;
    put_names(ssh, &names);
    if (cut) {
        vr_error_set(&ssh->err, "auth",
                     "%s refused user '%s' with %zu of %zu keys and heard no more: %s", ssh->label,
                     ssh->user, ssh->at, ssh->identity_count, names.data);
        vr_error_hint(&ssh->err, "name the right key: the host has a limit (MaxAuthTries)");
    } else if (nobody_signed(ssh)) {
        vr_error_set(&ssh->err, "auth", "%s: user '%s' cannot log in: nobody has signed with %s %s",
                     ssh->label, ssh->user, many ? "any of the keys" : "key", names.data);
        vr_error_hint(&ssh->err,
                      "is the ssh-agent locked (ssh-add -X unlocks it), or does it wait for "
                      "somebody to confirm the key's use?");
    } else {
        vr_error_set(&ssh->err, "auth", "%s refused user '%s' with %s %s", ssh->label, ssh->user,
                     many ? "each of the keys" : "key", names.data);
        vr_error_hint(&ssh->err,
                      "is the key's public half in the user's authorized_keys on the host? A host "
                      "that wants certificates needs transport = \"openssh\" and `certificate`");
    }
    vr_buf_free(&names);
    ssh_lose(ssh);
}

/* Whether no answer came: libssh2 has the same code for that as for a refusal. */
static bool is_cut(const struct vr_ssh *ssh, int rc)
{
    return ssh_is_fatal(ssh, rc) || strncmp(ssh_last_error(ssh), "Waiting for", 11) == 0;
}

static void login_failed(struct vr_ssh *ssh, int rc)
{
    if (is_cut(ssh, rc)) {
        if (ssh->at > 0)
            refused(ssh, true);
        else
            ssh_lose_because(ssh, "unreachable", "%s ended the connection while '%s' logged in: %s",
                             ssh->label, ssh->user, ssh_how_it_ended(ssh));
        return;
    }
    ssh->asks = ssh->answered = false;
    if (!ssh->old_rsa && ssh->identities[ssh->at].key &&
        strcmp(ssh->identities[ssh->at].type, "ssh-rsa") == 0) {
        ssh->old_rsa = true;
    } else if (ssh->at + 1 < ssh->identity_count) {
        ssh->at++;
        ssh->old_rsa = false;
    } else {
        refused(ssh, false);
        return;
    }
    ssh_kick(ssh);
}

/* libssh2 wants to see a socket, though it never uses it: that of the outermost connection. */
static int shake_hands(struct vr_ssh *ssh)
{
    const struct vr_ssh *bottom = ssh;
    while (bottom->tunnel && bottom->tunnel->ssh)
        bottom = bottom->tunnel->ssh;
    return libssh2_session_handshake(ssh->raw, bottom->fd);
}

void ssh_login_go_on(struct vr_ssh *ssh)
{
    if (ssh->phase == HANDSHAKE) {
        int rc = shake_hands(ssh);
        ssh->halfway = rc == LIBSSH2_ERROR_EAGAIN;
        if (ssh->halfway)
            return;
        if (rc < 0) {
            handshake_failed(ssh);
            return;
        }
        if (!check_host_key(ssh))
            return;
        ssh->phase = LOGIN;
    }
    int rc = authenticate(ssh);
    ssh->halfway = rc == LIBSSH2_ERROR_EAGAIN;
    if (rc == 0)
        ssh_end_login(ssh, READY);
    else if (rc != LIBSSH2_ERROR_EAGAIN)
        login_failed(ssh, rc);
    else if (ssh->news && ssh->changed)
        ssh->changed(ssh->payload);
    ssh->news = false;
}

void ssh_login_give_up(struct vr_ssh *ssh)
{
    if (!ssh->halfway)
        return;
    if (ssh->phase == HANDSHAKE)
        shake_hands(ssh);
    else if (ssh->phase == LOGIN)
        authenticate(ssh);
}

void ssh_login_begin(struct vr_ssh *ssh)
{
    struct vr_buf order = {0};
    if (ssh->scan)
        vr_buf_puts(&order, ssh->scan);
    else
        vr_known_hosts_order(ssh->known, known_name(ssh), known_port(ssh), our_host_keys, &order);
    ssh->asked = vr_buf_steal(&order);
    libssh2_session_method_pref(ssh->raw, LIBSSH2_METHOD_KEX, our_kex);
    libssh2_session_method_pref(ssh->raw, LIBSSH2_METHOD_HOSTKEY, ssh->asked);
    libssh2_session_method_pref(ssh->raw, LIBSSH2_METHOD_CRYPT_CS, our_ciphers);
    libssh2_session_method_pref(ssh->raw, LIBSSH2_METHOD_CRYPT_SC, our_ciphers);
    libssh2_session_method_pref(ssh->raw, LIBSSH2_METHOD_MAC_CS, our_macs);
    libssh2_session_method_pref(ssh->raw, LIBSSH2_METHOD_MAC_SC, our_macs);
    ssh->phase = HANDSHAKE;
}

const void *vr_ssh_wanted(const struct vr_ssh *ssh, size_t *identity, size_t *length)
{
    if (!ssh->asks || ssh->answered || ssh->phase != LOGIN)
        return NULL;
    *identity = ssh->at;
    *length = ssh->wanted.length;
    return ssh->wanted.data;
}

static bool take_answer(struct vr_ssh *ssh)
{
    if (!ssh->asks || ssh->answered)
        return false;
    ssh->answered = true;
    vr_buf_free(&ssh->answer);
    ssh_kick(ssh);
    return true;
}

void vr_ssh_refuse(struct vr_ssh *ssh, const char *why)
{
    if (!take_answer(ssh))
        return;
    free(ssh->identities[ssh->at].unsigned_why);
    ssh->identities[ssh->at].unsigned_why = vr_strdup(why);
}

void vr_ssh_sign(struct vr_ssh *ssh, const void *signature, size_t length)
{
    if (length == 0)
        vr_ssh_refuse(ssh, "an empty signature was given");
    else if (take_answer(ssh))
        vr_buf_add(&ssh->answer, signature, length);
}
