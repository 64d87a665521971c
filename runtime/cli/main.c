#include <stdio.h>

int main(void)
{
    printf("vmrun %s\n", VMRUN_VERSION);
    return 0;
}
