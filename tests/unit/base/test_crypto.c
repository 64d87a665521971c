#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"

START_TEST(encodings)
{
    size_t length;
    char *text = vr_base64("any carnal pleas", 16);
    ck_assert_str_eq(text, "YW55IGNhcm5hbCBwbGVhcw==");
    free(text);
    unsigned char *bytes = vr_unbase64("YW55IGNh\ncm5hbCBwbGVhcw", &length);
    ck_assert_uint_eq(length, 16);
    ck_assert_mem_eq(bytes, "any carnal pleas", 16);
    free(bytes);
    ck_assert_ptr_null(vr_unbase64("a!b=", &length));
    ck_assert_ptr_null(vr_unbase64("abcde", &length));
    ck_assert_ptr_null(vr_unhex("abc", &length));
    char hex[65];
    vr_sha256_hex("abc", 3, hex);
    ck_assert_str_eq(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}
END_TEST

/* RFC 3174 and RFC 4231, test cases 1 and 6 (a key that is longer than a block). */
START_TEST(digests)
{
    unsigned char digest[VR_SHA256_SIZE], key[131];
    char hex[2 * VR_SHA256_SIZE + 1];
    vr_sha1("abc", 3, digest);
    vr_hex(digest, VR_SHA1_SIZE, hex);
    ck_assert_str_eq(hex, "a9993e364706816aba3e25717850c26c9cd0d89d");
    memset(key, 0x0b, 20);
    vr_hmac_sha256(key, 20, "Hi There", 8, digest);
    vr_hex(digest, sizeof(digest), hex);
    ck_assert_str_eq(hex, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    memset(key, 0xaa, sizeof(key));
    const char *text = "Test Using Larger Than Block-Size Key - Hash Key First";
    vr_hmac_sha256(key, sizeof(key), text, strlen(text), digest);
    vr_hex(digest, sizeof(digest), hex);
    ck_assert_str_eq(hex, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}
END_TEST

START_TEST(random_bytes_differ)
{
    unsigned char one[600] = {0}, other[600] = {0}; /* more than getrandom gives at once for sure */
    vr_random(one, sizeof(one));
    vr_random(other, sizeof(other));
    ck_assert_mem_ne(one, other, sizeof(one));
    ck_assert_mem_ne(one + 568, other + 568, 32);
}
END_TEST

Suite *crypto_suite(void);
Suite *crypto_suite(void)
{
    Suite *suite = suite_create("crypto");
    TCase *tcase = tcase_create("all");
    tcase_add_test(tcase, encodings);
    tcase_add_test(tcase, digests);
    tcase_add_test(tcase, random_bytes_differ);
    suite_add_tcase(suite, tcase);
    return suite;
}
