/* SSH without blocking, over libssh2: sessions and their channels on the loop.
 *
 * Sessions and channels are objects with a state. Each has one `changed` callback, which says "look
 * at me again": it is called from the loop, never from inside a function of this header, and must
 * not free sessions or channels. All functions take effect at once or are queued; none waits.
 *
 * A session that is lost, closed or failed keeps its error; its channels get it too. Objects live
 * until their owner frees them, in any order. */
#ifndef VR_WIRE_SSH_H
#define VR_WIRE_SSH_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "net/loop.h"

struct vr_ssh;
struct vr_ssh_channel;
struct vr_ssh_key;
struct vr_known_hosts;

typedef void (*vr_ssh_changed)(void *payload);

/* Something to log in with: a key, or the public half of one that somebody else signs with. */
struct vr_ssh_identity {
    struct vr_ssh_key *key; /* NULL: see vr_ssh_wanted */
    const void *blob;       /* RSA, Ed25519 or ECDSA */
    size_t blob_length;
    const char *name; /* for messages */
};

struct vr_ssh_options {
    const char *host; /* as people know it: for messages, and whose key is checked */
    int port;         /* 0: 22 */
    const char *user;
    const struct vr_ssh_identity *identities; /* tried in this order */
    size_t identity_count;
    struct vr_known_hosts *known; /* one of its keys must be the host's; held, not taken */
    const char *known_as; /* the host's name there, whatever the port; NULL: host and port */
    struct vr_ssh *via;   /* jump host: the connection goes through it; NULL: direct */
    const char *address;  /* where the connection really goes; NULL: host and port */
    int address_port;
    double timeout;   /* seconds for all of it, waiting for a turn apart; 0: 30 */
    double keepalive; /* seconds of silence before the host is asked; 0: 15; negative: never */
    const char
        *scan; /* only learn the host's key, of one of these types (commas between); NULL: log in */
};

enum vr_ssh_state { VR_SSH_CONNECTING, VR_SSH_READY, VR_SSH_LOST };

/* Starts connecting. NULL with an error: the options can never work (no host, no key).
 * Texts are copied, keys are held; via must outlive nothing: if it goes, this session is lost.
 * Error codes later: "unreachable" (also "resolve" failures), "hostkey", "auth", "timeout",
 * "handshake"; afterwards "lost". */
struct vr_ssh *vr_ssh_connect(struct vr_loop *loop, const struct vr_ssh_options *options,
                              vr_ssh_changed changed, void *payload, struct vr_error *err);
void vr_ssh_close(struct vr_ssh *ssh); /* says good-bye and is lost at once, with its channels */
void vr_ssh_free(struct vr_ssh *ssh);  /* closes; NULL is fine */

enum vr_ssh_state vr_ssh_state(const struct vr_ssh *ssh);
const struct vr_error *vr_ssh_error(const struct vr_ssh *ssh); /* why it is lost */
const char *vr_ssh_label(const struct vr_ssh *ssh);            /* "host:port" */
/* "type base64"; NULL: not seen yet */
const char *vr_ssh_host_key(const struct vr_ssh *ssh);
/* what the host offers, commas between; NULL: not seen */
const char *vr_ssh_host_key_types(const struct vr_ssh *ssh);

/* A signature that the login waits for, of the identity of this number (from 0): the data to sign,
 * valid until the answer; NULL: none. */
const void *vr_ssh_wanted(const struct vr_ssh *ssh, size_t *identity, size_t *length);
/* The answer: a bare signature (for RSA: rsa-sha2-256; an empty one is none), or why there is none.
 */
void vr_ssh_sign(struct vr_ssh *ssh, const void *signature, size_t length);
void vr_ssh_refuse(struct vr_ssh *ssh, const char *why);

/* At most so many handshakes at once in this process (default 32), and logins at one address
 * (default 8: an sshd drops strangers from ten on); the others wait in line. 0: as before. */
void vr_ssh_limit(unsigned handshakes, unsigned at_address);

/* --- channels --- */

struct vr_ssh_pty {
    const char *term; /* NULL: "xterm-256color" */
    int columns, rows;
};

enum vr_ssh_channel_state {
    VR_SSH_OPENING,
    VR_SSH_OPEN,
    VR_SSH_FINISHED, /* closed by the host: what was received can still be read; exit code and
                        signal are known */
    VR_SSH_BROKEN,   /* could not be opened, or its session is lost */
};

/* A command (NULL: the user's shell), with a terminal if pty is not NULL. */
struct vr_ssh_channel *vr_ssh_exec(struct vr_ssh *ssh, const char *command,
                                   const struct vr_ssh_pty *pty, vr_ssh_changed changed,
                                   void *payload);
/* A TCP connection that the host makes. */
struct vr_ssh_channel *vr_ssh_forward(struct vr_ssh *ssh, const char *host, int port,
                                      vr_ssh_changed changed, void *payload);
/* The channel is closed in good order after its owner has left it: a command may go on on the host
 * if it ignores that its streams have gone. NULL is fine. */
void vr_ssh_channel_free(struct vr_ssh_channel *channel);

enum vr_ssh_channel_state vr_ssh_channel_state(const struct vr_ssh_channel *channel);
/* of a broken one: code "channel" or "lost" */
const struct vr_error *vr_ssh_channel_error(const struct vr_ssh_channel *channel);
/* NULL once the session is lost */
struct vr_ssh *vr_ssh_channel_session(const struct vr_ssh_channel *channel);

/* What was received and not taken yet, of stdout (0) or stderr (1). Data stays valid until the next
 * call that takes, or until the loop turns. About a megabyte is buffered; then the host has to
 * wait. */
const char *vr_ssh_channel_peek(struct vr_ssh_channel *channel, int stream, size_t *length);
void vr_ssh_channel_take(struct vr_ssh_channel *channel, int stream, size_t length);
/* nothing more will be received */
bool vr_ssh_channel_at_end(const struct vr_ssh_channel *channel);

/* Queues bytes for stdin; false: nobody reads them any more (broken, finished, or eof was said). */
bool vr_ssh_channel_write(struct vr_ssh_channel *channel, const void *data, size_t length);
size_t vr_ssh_channel_unsent(const struct vr_ssh_channel *channel); /* bytes still queued */
void vr_ssh_channel_eof(struct vr_ssh_channel *channel);            /* after what is queued */
void vr_ssh_channel_resize(struct vr_ssh_channel *channel, int columns, int rows);

int vr_ssh_channel_exit_code(const struct vr_ssh_channel *channel);
/* "KILL"; NULL: it exited */
const char *vr_ssh_channel_exit_signal(const struct vr_ssh_channel *channel);

#endif
