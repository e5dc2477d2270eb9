/* Sleeps for 30 seconds and hears no polite signal. */
#include <signal.h>
#include <unistd.h>

static void attack(void)
{
    const int polite[] = {SIGTERM, SIGHUP, SIGINT, SIGQUIT};
    for (int i = 0; i < 4; i++)
        signal(polite[i], SIG_IGN);
    for (int i = 0; i < 30; i++)
        sleep(1);
    for (int i = 0; i < 4; i++)
        signal(polite[i], SIG_DFL);
}
