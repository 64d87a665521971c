#include "wire/ssh_offer.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

#define ENOUGH 65536 /* a host that has not come to the point by now never will */
#define KEXINIT 20

static uint32_t number_at(const char *data)
{
    const unsigned char *b = (const unsigned char *)data;
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static void read_lists(struct ssh_offer *offer, const char *at, const char *end)
{
    for (int i = 0; i < OFFER_COUNT && end - at >= 4; i++) {
        uint32_t size = number_at(at);
        at += 4;
        if (size > (size_t)(end - at))
            return;
        offer->lists[i] = vr_strndup(at, size);
        at += size;
    }
}

/* Drops lines up to the one that names the software; false: not there yet. */
static bool read_software(struct ssh_offer *offer)
{
    while (!offer->software) {
        char *line = offer->seen.data, *end = line ? memchr(line, '\n', offer->seen.length) : NULL;
        if (!end)
            return false;
        size_t length = (size_t)(end - line);
        if (length > 4 && memcmp(line, "SSH-", 4) == 0)
            offer->software = vr_strndup(line, length - (line[length - 1] == '\r'));
        vr_buf_consume(&offer->seen, length + 1);
    }
    return true;
}

static void finish(struct ssh_offer *offer)
{
    offer->done = true;
    vr_buf_free(&offer->seen);
}

void ssh_offer_feed(struct ssh_offer *offer, const void *data, size_t length)
{
    if (offer->done)
        return;
    vr_buf_add(&offer->seen, data, length);
    if (offer->seen.length > ENOUGH) {
        finish(offer);
        return;
    }
    /* packet: length, padding length, type, cookie of 16 bytes, lists */
    if (!read_software(offer) || offer->seen.length < 5)
        return;
    uint32_t size = number_at(offer->seen.data);
    if (size > ENOUGH) {
        finish(offer);
        return;
    }
    if (offer->seen.length < size + 4)
        return;
    if (size > 18 && offer->seen.data[5] == KEXINIT)
        read_lists(offer, offer->seen.data + 6 + 16, offer->seen.data + 4 + size);
    finish(offer);
}

void ssh_offer_free(struct ssh_offer *offer)
{
    vr_buf_free(&offer->seen);
    free(offer->software);
    for (int i = 0; i < OFFER_COUNT; i++)
        free(offer->lists[i]);
    *offer = (struct ssh_offer){0};
}

bool ssh_offer_common(const char *a, const char *b)
{
    for (const char *p = a; *p; p += *p == ',') {
        size_t size = strcspn(p, ",");
        for (const char *q = b; *q; q += *q == ',') {
            size_t other = strcspn(q, ",");
            if (size == other && memcmp(p, q, size) == 0)
                return true;
            q += other;
        }
        p += size;
    }
    return false;
}
