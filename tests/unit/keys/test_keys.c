#include <check.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "keys/keys.h"
#include "keys/x509.h"

/* What `command` prints, with the private key in the file that %s names: OpenSSH itself is the
 * judge of our format. */
static char *judge(const char *private_key, const char *command)
{
    char path[] = "/tmp/vmrun-key-XXXXXX";
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq((int)write(fd, private_key, strlen(private_key)), (int)strlen(private_key));
    close(fd);
    chmod(path, 0600);
    char *line = vr_format(command, path);
    FILE *pipe = popen(line, "r");
    char text[4096] = "";
    size_t length = fread(text, 1, sizeof(text) - 1, pipe);
    text[length] = '\0';
    ck_assert_int_eq(pclose(pipe), 0);
    free(line);
    unlink(path);
    text[strcspn(text, "\n")] = '\0';
    return vr_strdup(text);
}

static void check_pair(const char *type, int bits)
{
    struct vr_keypair pair = {0};
    struct vr_error err = {0};
    ck_assert(vr_keypair_new(type, bits, "ops@demo", &pair, &err));
    char *line = judge(pair.private_key, "ssh-keygen -y -f %s");
    ck_assert_str_eq(line, pair.public_key);
    free(line);
    line = judge(pair.private_key, "ssh-keygen -l -f %s");
    ck_assert_ptr_nonnull(strstr(line, pair.fingerprint));
    free(line);
    char *public = vr_public_key(pair.private_key, &err);
    ck_assert_str_eq(public, pair.public_key);
    char *print = vr_fingerprint(public);
    ck_assert_str_eq(print, pair.fingerprint);
    free(print);
    free(public);
    vr_keypair_free(&pair);
}

START_TEST(openssh_reads_our_keys)
{
    check_pair("ed25519", 0);
    check_pair("rsa", 2048);
}
END_TEST

START_TEST(bad_keys_are_refused)
{
    struct vr_keypair pair = {0};
    struct vr_error err = {0};
    ck_assert(!vr_keypair_new("dsa", 0, NULL, &pair, &err));
    ck_assert_str_eq(err.message, "no key type 'dsa'; there are ed25519 and rsa");
    ck_assert(!vr_keypair_new("rsa", 512, NULL, &pair, &err));
    ck_assert_ptr_null(vr_public_key("nonsense", &err));
    ck_assert_ptr_null(
        vr_public_key("-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n"
                      "-----END OPENSSH PRIVATE KEY-----\n",
                      &err));
    ck_assert_str_eq(err.message, "the private key is damaged");
    vr_error_clear(&err);
}
END_TEST

START_TEST(certificates)
{
    struct vr_error err = {0};
    struct vr_pem_pair ca = {0}, leaf = {0};
    const char *dns[] = {"api.demo", NULL}, *ips[] = {"10.0.1.4", NULL},
               *usage[] = {"server", NULL};
    const char *groups[] = {"system:masters", NULL};
    ck_assert(vr_x509_ca(&(struct vr_x509_subject){.cn = "kubernetes"}, "rsa", &ca, &err));
    struct vr_x509_subject subject = {.cn = "kube-apiserver",
                                      .organizations = groups,
                                      .dns = dns,
                                      .ips = ips,
                                      .usage = usage,
                                      .days = 1};
    ck_assert_msg(vr_x509_issue(&ca, &subject, NULL, &leaf, &err), "%s", err.message);
    ck_assert_msg(vr_x509_verify(leaf.cert, ca.cert, &err), "%s", err.message);
    ck_assert(!vr_x509_verify(ca.cert, leaf.cert, &err));

    json_t *told = vr_x509_read(leaf.cert, &err);
    ck_assert_str_eq(json_string_value(json_object_get(told, "cn")), "kube-apiserver");
    ck_assert_str_eq(json_string_value(json_object_get(told, "issuer")), "kubernetes");
    ck_assert_str_eq(json_string_value(json_array_get(json_object_get(told, "ip"), 0)), "10.0.1.4");
    ck_assert_str_eq(json_string_value(json_array_get(json_object_get(told, "dns"), 0)),
                     "api.demo");
    ck_assert_str_eq(json_string_value(json_array_get(json_object_get(told, "o"), 0)),
                     "system:masters");
    ck_assert_str_eq(json_string_value(json_array_get(json_object_get(told, "usage"), 0)),
                     "server");
    ck_assert(json_is_false(json_object_get(told, "is_ca")));
    json_decref(told);

    char *csr = vr_x509_csr(&subject, leaf.key, &err);
    ck_assert_ptr_nonnull(csr);
    char *cert = vr_x509_sign_csr(&ca, csr, &(struct vr_x509_subject){.days = 1}, &err);
    ck_assert_msg(cert != NULL, "%s", err.message);
    ck_assert(vr_x509_verify(cert, ca.cert, &err));
    free(cert);
    free(csr);
    vr_pem_pair_free(&ca);
    vr_pem_pair_free(&leaf);
    vr_error_clear(&err);
}
END_TEST

static void check_token(char *key)
{
    struct vr_error err = {0};
    json_t *claims = json_pack("{s:s, s:I}", "aud", "arm", "exp", (json_int_t)4102444800);
    char *token = vr_jwt_sign(claims, key, "k1", NULL, &err);
    json_t *back = vr_jwt_verify(token, key, &err);
    ck_assert_msg(back != NULL, "%s", err.message);
    ck_assert(json_equal(claims, back));
    json_decref(back);
    token[strlen(token) - 5] ^= 1;
    ck_assert_ptr_null(vr_jwt_verify(token, key, &err));
    ck_assert_str_eq(err.code, "token");
    free(token);
    json_object_set_new(claims, "exp", json_integer(1));
    token = vr_jwt_sign(claims, key, NULL, NULL, &err);
    ck_assert_ptr_null(vr_jwt_verify(token, key, &err));
    ck_assert_str_eq(err.code, "expired");
    free(token);
    json_decref(claims);
    vr_error_clear(&err);
    vr_secret_free(key);
}

START_TEST(tokens)
{
    check_token(vr_ec_key_new());
    check_token(vr_rsa_key_new(2048, NULL));
}
END_TEST

Suite *keys_suite(void);
Suite *keys_suite(void)
{
    Suite *suite = suite_create("keys");
    TCase *tcase = tcase_create("all");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, openssh_reads_our_keys);
    tcase_add_test(tcase, bad_keys_are_refused);
    tcase_add_test(tcase, certificates);
    tcase_add_test(tcase, tokens);
    suite_add_tcase(suite, tcase);
    return suite;
}
