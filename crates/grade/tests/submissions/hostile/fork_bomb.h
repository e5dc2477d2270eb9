/* Forks as fast as it can: 200 children, 15 seconds each, no grandchildren. */
#include <unistd.h>

static void attack(void)
{
    for (int i = 0; i < 200; i++) {
        pid_t child = fork();
        if (child == 0) {
            sleep(15);
            _exit(0);
        }
        if (child < 0)
            break;
    }
}
