#include "net/loop.h"

#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct vr_loop *loop;
static char trace[64];

static void setup(void)
{
    loop = vr_loop_new();
    trace[0] = '\0';
}

static void teardown(void)
{
    vr_loop_free(loop);
}

static void note(void *payload)
{
    strcat(trace, payload);
}

START_TEST(timers_fire_in_their_order)
{
    vr_timer_start(loop, 0.02, note, "c");
    vr_timer_start(loop, 0.001, note, "a");
    vr_timer_start(loop, 0.01, note, "b");
    ck_assert_str_eq(trace, "");
    vr_loop_run(loop);
    ck_assert_str_eq(trace, "abc");
}
END_TEST

START_TEST(a_cancelled_timer_does_not_fire)
{
    vr_timer_cancel(vr_timer_start(loop, 0, note, "x"));
    vr_timer_cancel(NULL);
    vr_loop_run(loop);
    ck_assert_str_eq(trace, "");
}
END_TEST

START_TEST(a_timer_waits_at_least_its_time)
{
    uint64_t start = vr_loop_now(loop);
    vr_timer_start(loop, 0.0105, note, "x");
    vr_loop_run(loop);
    ck_assert_uint_ge(vr_loop_now(loop) - start, 10);
}
END_TEST

static void defer_more(void *payload)
{
    note(payload);
    vr_loop_defer(loop, note, "2");
}

static void cancel_timer(void *payload)
{
    vr_timer_cancel(*(struct vr_timer **)payload);
}

START_TEST(deferred_calls_come_in_order_and_new_ones_a_turn_later)
{
    vr_loop_defer(loop, defer_more, "1");
    vr_loop_defer(loop, note, "a");
    ck_assert_str_eq(trace, "");
    vr_loop_run(loop);
    ck_assert_str_eq(trace, "1a2");
}
END_TEST

START_TEST(a_deferred_call_does_not_wait_for_a_timer)
{
    struct vr_timer *timer = vr_timer_start(loop, 60, note, "never");
    vr_loop_defer(loop, note, "now");
    vr_loop_defer(loop, cancel_timer, &timer);
    vr_loop_run(loop);
    ck_assert_str_eq(trace, "now");
}
END_TEST

START_TEST(what_is_deferred_at_the_end_still_runs)
{
    struct vr_loop *other = vr_loop_new();
    vr_loop_defer(other, note, "x");
    vr_loop_free(other);
    ck_assert_str_eq(trace, "x");
}
END_TEST

struct polled {
    struct vr_poll *poll;
    int fd, events;
};

static void ready(void *payload, int events)
{
    struct polled *p = payload;
    char byte;
    p->events = events;
    ck_assert_int_eq(read(p->fd, &byte, 1), 1);
    vr_poll_set(p->poll, 0);
}

static void write_byte(void *payload)
{
    ck_assert_int_eq(write(*(int *)payload, "x", 1), 1);
}

START_TEST(polls_tell_readiness)
{
    int fds[2];
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    struct polled p = {.fd = fds[0]};
    p.poll = vr_poll_new(loop, fds[0], ready, &p);
    vr_poll_set(p.poll, VR_POLL_READ);
    vr_timer_start(loop, 0.001, write_byte, &fds[1]);
    vr_loop_run(loop);
    ck_assert_int_eq(p.events, VR_POLL_READ);
    vr_poll_free(p.poll);
    vr_poll_free(NULL);
    close(fds[0]);
    close(fds[1]);
}
END_TEST

START_TEST(what_cannot_be_polled_is_told)
{
    FILE *file = tmpfile();
    ck_assert_ptr_null(vr_poll_new(loop, fileno(file), ready, NULL));
    fclose(file);
}
END_TEST

static void signal_came(void *payload, int number)
{
    snprintf(trace, sizeof(trace), "%s%d", (char *)payload, number == SIGUSR1);
    vr_loop_stop(loop);
}

static void raise_it(void *payload)
{
    (void)payload;
    raise(SIGUSR1);
}

START_TEST(signals_come_on_the_loop_and_do_not_keep_it)
{
    struct vr_signal *signal = vr_signal_start(loop, SIGUSR1, signal_came, "usr");
    vr_loop_run(loop);
    ck_assert_str_eq(trace, "");
    struct vr_timer *timer = vr_timer_start(loop, 60, note, "never");
    vr_loop_defer(loop, raise_it, NULL);
    vr_loop_run(loop);
    ck_assert_str_eq(trace, "usr1");
    vr_timer_cancel(timer);
    vr_signal_stop(signal);
    vr_signal_stop(NULL);
}
END_TEST

Suite *loop_suite(void);
Suite *loop_suite(void)
{
    Suite *suite = suite_create("loop");
    TCase *tcase = tcase_create("all");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, timers_fire_in_their_order);
    tcase_add_test(tcase, a_cancelled_timer_does_not_fire);
    tcase_add_test(tcase, a_timer_waits_at_least_its_time);
    tcase_add_test(tcase, deferred_calls_come_in_order_and_new_ones_a_turn_later);
    tcase_add_test(tcase, a_deferred_call_does_not_wait_for_a_timer);
    tcase_add_test(tcase, what_is_deferred_at_the_end_still_runs);
    tcase_add_test(tcase, polls_tell_readiness);
    tcase_add_test(tcase, what_cannot_be_polled_is_told);
    tcase_add_test(tcase, signals_come_on_the_loop_and_do_not_keep_it);
    suite_add_tcase(suite, tcase);
    return suite;
}
