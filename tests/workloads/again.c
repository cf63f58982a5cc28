/* again: begins itself again and again in the same process, each time as another service (OTEL_SERVICE_NAME is gone-NUMBER), until
 * it is killed. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int count, char **arguments) {
    char name[32], next[24];
    long number = count > 1 ? atol(arguments[1]) : 0;
    snprintf(next, sizeof next, "%ld", number + 1);
    snprintf(name, sizeof name, "gone-%ld", number + 1);
    setenv("OTEL_SERVICE_NAME", name, 1);
    /* Long enough to be read in between, mostly. */
    usleep(500);
    execl("/proc/self/exe", arguments[0], next, (char *)0);
    perror("again");
    return 1;
}
