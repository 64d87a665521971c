/* What ssh_session.c, ssh_login.c, ssh_gate.c and ssh_channel.c share.
 *
 * libssh2 has two rules that shape this code. When a packet could be sent only in part, the very
 * same call must be made again before any other that sends: so a session has one `holder`, the
 * channel whose call it was, and nobody else is stepped until the packet is out. And what waits for
 * an answer may take another channel's answer of the same kind for a failure of its own: so one
 * channel at a time opens (`opener`) and one makes a request (`asker`), and an owner that leaves
 * meanwhile does not end that. */
#ifndef VR_WIRE_SSH_INTERNAL_H
#define VR_WIRE_SSH_INTERNAL_H

#include <libssh2.h>
#include <stdint.h>

#include "base/buf.h"
#include "wire/dial.h"
#include "wire/known_hosts.h"
#include "wire/ssh.h"
#include "wire/ssh_key.h"
#include "wire/ssh_offer.h"
#include "wire/turnstile.h"

/* Bytes that come in at one end and go out at the other. */
struct fifo {
    struct vr_buf buf;
    size_t head; /* of buf: already gone */
};

size_t fifo_length(const struct fifo *fifo);
const char *fifo_data(const struct fifo *fifo);
void fifo_add(struct fifo *fifo, const void *data, size_t length);
void fifo_drop(struct fifo *fifo, size_t length);
void fifo_free(struct fifo *fifo);

enum ssh_phase { GATE, DIAL, BANNER, LINE, HANDSHAKE, LOGIN, READY, SCANNED, LOST };

struct ssh_identity {
    struct vr_ssh_key *key; /* NULL: the owner signs */
    char *type, *name;
    struct vr_buf blob;
    char *unsigned_why; /* why its owner has not signed; NULL: has, or was not asked */
};

/* Those who log in at the same address, one behind the other if they are many. */
struct ssh_gate {
    struct ssh_gate *next;
    char *address;
    unsigned users;
    struct vr_turnstile turnstile;
};

struct vr_ssh {
    struct vr_loop *loop;
    vr_ssh_changed changed;
    void *payload;
    struct vr_timer *kick; /* the loop will call pump soon */

    enum ssh_phase phase;
    struct vr_error err;
    char *host, *user, *label;
    char *scan;  /* key types; NULL: log in */
    char *asked; /* key types that the host was asked for */
    int port;
    double keepalive, timeout;
    struct ssh_identity *identities;
    size_t identity_count, at; /* at: the one that is tried */
    bool old_rsa;              /* it was refused as rsa-sha2-256: try ssh-rsa */
    void *self;                /* this session, for libssh2's callback */
    struct vr_buf wanted;      /* what the owner is to sign */
    bool asks, answered, news; /* the owner is asked; has answered; does not know yet */
    struct vr_buf answer;      /* empty: refused */
    struct vr_known_hosts *known;
    char *known_as;
    char *host_key;
    struct ssh_offer offer;

    struct ssh_gate *gate;
    struct vr_turnstile_ticket pass;
    struct vr_timer *passing; /* after the login: it may leave the gate soon */
    bool through;             /* the connection goes through another's tunnel: */
    struct vr_ssh *via;       /* the other one until the tunnel is begun; NULL: it has gone */
    char *address;            /* where the connection goes */
    int address_port;
    struct vr_dial *dial;
    struct vr_timer *timer; /* of the whole login */
    double left;            /* seconds that it had when it was last started */
    uint64_t started;       /* the loop's milliseconds then */
    struct vr_turnstile_ticket ticket;

    int fd; /* -1: none */
    struct vr_poll *poll;
    int interest;                  /* what it polls for */
    struct vr_ssh_channel *tunnel; /* instead of fd: a channel of the jump host */
    LIBSSH2_SESSION *raw;
    bool send_blocked; /* a packet is out in part */
    bool received;     /* since it was last cleared */
    bool drained;      /* all that had come was read; what comes then is an event */
    int fatal;         /* what libssh2 ended the session with; 0: nothing */
    bool gone;         /* the peer has closed, or it failed: `io_error` says how */
    int io_error;      /* errno; 0: end of file */
    bool halfway;      /* a call of the login waits to be made again */
    bool torn;         /* libssh2 may not touch the connection any more */
    struct fifo early; /* read while no channel was there to read it */
    struct vr_timer *poke;
    struct vr_timer *alive; /* asks whether the host is still there */
    bool heard;             /* something has come since it last looked */
    int silent;             /* how often it has heard nothing */

    struct vr_ssh_channel *first; /* channels with work to do */
    struct vr_ssh_channel *opener, *asker, *holder;
};

enum channel_kind { SESSION, TCP, POKE };
enum channel_phase { WAIT, OPENING, PTY, START, OPEN, FREEING, CLOSED, BROKEN };

struct vr_ssh_channel {
    struct vr_ssh_channel *next; /* of the session's */
    struct vr_ssh *ssh;          /* NULL: the session is lost or the channel done */
    vr_ssh_changed changed;      /* NULL: its owner has left */
    void *payload;
    bool owned;
    bool news; /* `changed` is due */

    enum channel_kind kind;
    enum channel_phase phase;
    struct vr_error err;
    LIBSSH2_CHANNEL *raw;
    char *command; /* SESSION; NULL: shell */
    bool pty;
    char *term;
    int columns, rows;
    bool resize;
    char *host; /* TCP */
    int port;

    /* the call that must come first: its packet is out in part */
    int (*held)(struct vr_ssh_channel *);
    struct fifo in[2], out;
    char *chunk; /* the piece of `out` that libssh2 works on: it must not move */
    size_t chunk_length;
    bool eof_wanted, eof_sent, at_end;
    bool known; /* how it ended */
    int code;
    char *signal;
};

/* What a step of a channel came to. */
enum { STEP_NOTHING = 0, STEP_DONE = 1, STEP_WAIT = -1, STEP_OVER = 2 };

/* ssh_session.c */
void ssh_kick(struct vr_ssh *ssh); /* pump soon */
void ssh_lose(struct vr_ssh *ssh); /* it is over, because of ssh->err */
void ssh_lose_because(struct vr_ssh *ssh, const char *code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void ssh_end_login(struct vr_ssh *ssh, enum ssh_phase phase);
/* Whether rc (negative, of libssh2) is the end of the session rather than of one channel. */
bool ssh_is_fatal(const struct vr_ssh *ssh, int rc);
const char *ssh_last_error(const struct vr_ssh *ssh);   /* in libssh2's words */
const char *ssh_how_it_ended(const struct vr_ssh *ssh); /* the connection */

/* ssh_login.c */
void ssh_login_begin(struct vr_ssh *ssh);
void ssh_login_go_on(struct vr_ssh *ssh);
/* libssh2 gives back what a login in progress holds (the key exchange's secrets) only when that
 * fails by itself: so it is called once more, without a connection. */
void ssh_login_give_up(struct vr_ssh *ssh);

/* ssh_gate.c */
/* Whether it may go on at once; else it is let through later. Takes the address's text. */
bool ssh_gate_enter(struct vr_ssh *ssh, char *address, void (*let_through)(void *payload));
void ssh_gate_pass(struct vr_ssh *ssh); /* it has logged in: leaves soon */
void ssh_gate_leave(struct vr_ssh *ssh);
/* Those who stand in a line and wanted to go through this session. */
void ssh_gate_forget_via(const struct vr_ssh *ssh);
/* The line in front of the handshakes. */
bool ssh_line_enter(struct vr_ssh *ssh, void (*let_in)(void *payload));
void ssh_line_leave(struct vr_ssh *ssh);

/* ssh_channel.c */
int ssh_channel_step(struct vr_ssh_channel *channel); /* STEP_OVER: not the session's any more */
bool ssh_channel_wants_input(const struct vr_ssh_channel *channel);
/* Takes it out of its session: frees it if its owner has left. err NULL: it is done. */
void ssh_channel_drop(struct vr_ssh_channel *channel, const struct vr_error *err);
void ssh_channel_tell(struct vr_ssh_channel *channel);
struct vr_ssh_channel *ssh_channel_poke(struct vr_ssh *ssh);

#endif
