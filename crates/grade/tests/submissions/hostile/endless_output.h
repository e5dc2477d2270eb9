/* Prints without end, as far as the reader can tell: 64 MiB. */
#include <string.h>
#include <unistd.h>

static void attack(void)
{
    static char block[64 * 1024];
    for (size_t at = 0; at < sizeof block; at += 64) {
        memset(block + at, 'x', 63);
        block[at + 63] = '\n';
    }
    for (int i = 0; i < 1024; i++)
        if (write(1, block, sizeof block) < 0)
            break;
}
