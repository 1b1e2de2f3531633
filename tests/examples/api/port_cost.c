/*
 * What GetTeredoPort costs a C program: calls it as often as the argument says and prints the
 * nanoseconds of one call. Whoever serves writes only ports whose two bytes are equal, so that a
 * port that nobody wrote is seen.
 */
#include <netioapi.h>

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

int main(int argc, char **argv)
{
    long calls = argc > 1 ? atol(argv[1]) : 1;
    unsigned failed = 0, torn = 0;
    USHORT port = 0;
    /* The first call fetches the page. */
    failed |= GetTeredoPort(&port);
    double start = now_ns();
    for (long i = 0; i < calls; i++) {
        failed |= GetTeredoPort(&port);
        torn |= (unsigned)(port >> 8) ^ (unsigned)(port & 0xff);
    }
    printf("%f\n", (now_ns() - start) / (double)calls);
    return failed || torn;
}
