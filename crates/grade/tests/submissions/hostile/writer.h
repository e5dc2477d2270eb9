/* Writes outside its folder: over the decoy, and new files of 7 bytes named offload-decoy. */
#include <stdio.h>
#include <stdlib.h>

static void deface(const char *path)
{
    FILE *file = fopen(path, "w");
    int written = file != NULL && fputs("caught\n", file) >= 0;
    if (file != NULL && fclose(file) != 0)
        written = 0;
    printf("writer: %s: %s\n", path, written ? "written" : "refused");
}

static void attack(void)
{
    char path[4096];
    const char *home = getenv("HOME");
    deface("@DECOY_FILE@");
    deface("/tmp/offload-decoy");
    deface("/etc/offload-decoy");
    snprintf(path, sizeof path, "%s/offload-decoy", home != NULL ? home : "");
    deface(path);
    fflush(stdout);
}
