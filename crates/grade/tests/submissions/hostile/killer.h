/* Kills the decoy, its parent, and everything that it can see. The last two are no decoys: they are tried
 * only in a process tree of its own, so that nobody else's processes can be among them. The test writes
 * the name of its own tree here. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static void attack(void)
{
    char tree[128] = "";
    ssize_t n = readlink("/proc/self/ns/pid", tree, sizeof tree - 1);
    int own_tree = n > 0 && strcmp(tree, "@PID_NAMESPACE@") != 0;
    int killed = kill(@DECOY_PID@, SIGKILL) == 0;
    printf("killer: decoy %s, %s\n", killed ? "killed" : "spared", own_tree ? "goes on" : "stops here");
    fflush(stdout);
    if (own_tree) {
        /* A parent outside the tree shows as 0, and kill(0) would reach the whole process group. */
        if (getppid() > 0)
            kill(getppid(), SIGKILL);
        kill(-1, SIGKILL);
    }
}
