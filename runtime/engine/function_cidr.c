/* Functions of ranges of addresses. */
#include "engine/function_internal.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

/* Addresses are 128-bit numbers. */

struct range {
    unsigned __int128 first;
    unsigned bits, prefix; /* 32 or 128; length of the prefix */
};

static bool range_arg(const json_t *args, size_t i, struct range *range, struct vr_error *err)
{
    const char *text = vr_text_arg(args, i, err);
    if (!text)
        return false;
    char address[INET6_ADDRSTRLEN];
    const char *slash = strchr(text, '/');
    unsigned char bytes[16];
    char *end = NULL;
    size_t length = slash ? (size_t)(slash - text) : 0;
    bool ok = slash && length < sizeof(address) && isdigit((unsigned char)slash[1]);
    if (ok) {
        memcpy(address, text, length);
        address[length] = '\0';
        range->bits = strchr(address, ':') ? 128 : 32;
        unsigned long prefix = strtoul(slash + 1, &end, 10);
        ok = !*end && prefix <= range->bits &&
             inet_pton(range->bits == 32 ? AF_INET : AF_INET6, address, bytes) == 1;
        range->prefix = (unsigned)prefix;
    }
    if (!ok)
        return vr_error_set(err, "function", "'%s' is not an address range such as 10.0.0.0/16",
                            text);
    range->first = 0;
    for (unsigned b = 0; b < range->bits / 8; b++)
        range->first = range->first << 8 | bytes[b];
    unsigned host = range->bits - range->prefix;
    range->first = host >= 128 ? 0 : range->first >> host << host;
    return true;
}

static const char *print_address(unsigned __int128 address, unsigned bits, char *text)
{
    unsigned char bytes[16];
    for (unsigned b = bits / 8; b-- > 0; address >>= 8)
        bytes[b] = (unsigned char)address;
    return inet_ntop(bits == 32 ? AF_INET : AF_INET6, bytes, text, INET6_ADDRSTRLEN);
}

/* 2^bits, or the largest number when that does not fit. */
static unsigned __int128 power(unsigned bits)
{
    return bits < 128 ? (unsigned __int128)1 << bits : ~(unsigned __int128)0;
}

json_t *vr_f_cidr_host(const json_t *args, struct vr_error *err)
{
    struct range range;
    json_int_t n;
    if (!range_arg(args, 0, &range, err) || !vr_integer_arg(args, 1, &n, err))
        return NULL;
    unsigned __int128 size = power(range.bits - range.prefix);
    unsigned __int128 distance = n < 0 ? (unsigned __int128)(-(n + 1)) + 1 : (unsigned __int128)n;
    if (n < 0 ? distance > size : distance >= size) {
        vr_error_set(err, "function", "%s has no host %" JSON_INTEGER_FORMAT,
                     json_string_value(json_array_get(args, 0)), n);
        return NULL;
    }
    char text[INET6_ADDRSTRLEN];
    unsigned __int128 end = range.first + (range.bits - range.prefix < 128 ? size : 0);
    return json_string(
        print_address(n < 0 ? end - distance : range.first + distance, range.bits, text));
}

json_t *vr_f_cidr_subnet(const json_t *args, struct vr_error *err)
{
    struct range range;
    json_int_t bits, n;
    if (!range_arg(args, 0, &range, err) || !vr_integer_arg(args, 1, &bits, err) ||
        !vr_integer_arg(args, 2, &n, err))
        return NULL;
    const char *given = json_string_value(json_array_get(args, 0));
    if (bits < 0 || bits > (json_int_t)(range.bits - range.prefix)) {
        vr_error_set(err, "function",
                     "%s has no room for %" JSON_INTEGER_FORMAT " more bits of prefix", given,
                     bits);
        return NULL;
    }
    if (n < 0 || (unsigned __int128)n >= power((unsigned)bits)) {
        vr_error_set(err, "function",
                     "%s has no subnet %" JSON_INTEGER_FORMAT " with %" JSON_INTEGER_FORMAT
                     " more bits",
                     given, n, bits);
        return NULL;
    }
    unsigned prefix = range.prefix + (unsigned)bits, host = range.bits - prefix;
    char text[INET6_ADDRSTRLEN];
    print_address(range.first | (host < 128 ? (unsigned __int128)n << host : 0), range.bits, text);
    return vr_give_text(vr_format("%s/%u", text, prefix));
}
