/* Reads a file of the TA's and prints it. */
#include <stdio.h>

static void attack(void)
{
    char text[4096];
    FILE *file = fopen("@DECOY_FILE@", "r");
    if (file == NULL) {
        printf("reader: refused\n");
    } else {
        size_t n = fread(text, 1, sizeof text, file);
        printf("reader: %.*s\n", (int)n, text);
        fclose(file);
    }
    fflush(stdout);
}
