/* Runs all suites of one folder and says how it went in the line that script/test reads. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

extern Suite *(*const suites[])(void);
extern const char *const suite_name;

int main(void)
{
    if (!suites[0])
        return EXIT_FAILURE;
    SRunner *runner = srunner_create(suites[0]());
    for (size_t i = 1; suites[i]; i++)
        srunner_add_suite(runner, suites[i]());
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    printf("%s: %d passed, %d failed, 0 skipped\n", suite_name, srunner_ntests_run(runner) - failed,
           failed);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
