/* Touches up to 4 GiB in steps of 64 MiB, holds them for two seconds, gives them back. It stops where
 * malloc does, after ten seconds, and where the machine would be left with less than 2 GiB: that is for the
 * case that nothing shuts it in. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static long available_mib(void)
{
    char line[128];
    long kib = -1;
    FILE *file = fopen("/proc/meminfo", "r");
    if (file == NULL)
        return 0;
    while (kib < 0 && fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "MemAvailable: %ld", &kib) != 1)
            kib = -1;
    fclose(file);
    return kib / 1024;
}

static void attack(void)
{
    const size_t step = 64 << 20;
    char *held[64];
    int steps = 0;
    time_t end = time(NULL) + 10;
    while (steps < 64 && time(NULL) < end && available_mib() > 2048 && (held[steps] = malloc(step)) != NULL)
        memset(held[steps++], 1, step);
    printf("memory hog: %d MiB\n", steps * 64);
    fflush(stdout);
    sleep(2);
    while (steps > 0)
        free(held[--steps]);
}
