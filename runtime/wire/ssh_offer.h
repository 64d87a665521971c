/* What a host offers in its first message, read along from the bytes that go to libssh2, which does
 * not tell: so that a failed negotiation can say what each side has, and a scan knows which keys to
 * ask for. */
#ifndef VR_WIRE_SSH_OFFER_H
#define VR_WIRE_SSH_OFFER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

enum {
    OFFER_KEX,
    OFFER_HOST_KEY,
    OFFER_CIPHER,
    OFFER_CIPHER_BACK,
    OFFER_MAC,
    OFFER_MAC_BACK,
    OFFER_COUNT
};

struct ssh_offer {
    struct vr_buf seen;       /* until it is complete */
    bool done;                /* nothing more to learn */
    char *software;           /* "SSH-2.0-OpenSSH_9.2p1 ..." */
    char *lists[OFFER_COUNT]; /* names with commas between; NULL: not seen */
};

void ssh_offer_feed(struct ssh_offer *offer, const void *data, size_t length);
void ssh_offer_free(struct ssh_offer *offer);
/* Whether the two lists have a name in common. */
bool ssh_offer_common(const char *a, const char *b);

#endif
