/* Leaves a process behind that is nobody's child and has no terminal, for 20 seconds. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void attack(void)
{
    pid_t child = fork();
    if (child != 0) {
        if (child > 0)
            waitpid(child, NULL, 0);
        return;
    }
    setsid();
    if (fork() != 0)
        _exit(0);
    signal(SIGHUP, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    for (int fd = 0; fd < 64; fd++)
        close(fd);
    for (int i = 0; i < 20; i++)
        sleep(1);
    _exit(0);
}
