/* Tests that not every machine can run. */
#ifndef VR_TEST_SKIP_H
#define VR_TEST_SKIP_H

/* Counts the test that calls it as skipped, and says why; where CI is set, fails it instead. The
 * test is to return then. */
void unit_skip(const char *test, const char *why);

#endif
