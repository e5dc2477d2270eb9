/* Connects to a listener outside. Nobody listening inside means a refusal at once. */
#include <arpa/inet.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static void attack(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(@DECOY_PORT@)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int s = socket(AF_INET, SOCK_STREAM, 0);
    int connected = connect(s, (struct sockaddr *)&to, sizeof to) == 0;
    if (connected && write(s, "caught\n", 7) < 0)
        connected = 0;
    printf("connector: %s\n", connected ? "connected" : "refused");
    fflush(stdout);
    close(s);
}
