/* AWS: takes numbers from a client, has each backend reduce a third of them, reduces their results. */
#include "common.h"

/* The job at hand, and what the backends have said about it. */
static int64_t job;
static int64_t have[3], done[3];
static wide x[3];

/* Takes in one reply. Returns 0 if none came for a second. */
static int hear(int udp)
{
    struct reply reply;
    struct sockaddr_in from;
    socklen_t length = sizeof from;
    if (recvfrom(udp, &reply, sizeof reply, 0, (struct sockaddr *)&from, &length) < 0)
        return 0;
    if (reply.job != job)
        return 1;
    /* Replies come in any order: the port says from whom. */
    int i = ntohs(from.sin_port) == PORT_A ? 0 : ntohs(from.sin_port) == PORT_B ? 1 : 2;
    have[i] = reply.have;
    if (reply.done) {
        done[i] = 1;
        x[i] = reply.x;
    }
    return 1;
}

/* Sends a third to backend i, chunk by chunk. The next one waits for the acknowledgement of the last, so
 * that no buffer overflows; what is not acknowledged is sent again. */
static void share(int udp, int i, int function, const int64_t *numbers, long count)
{
    static const int ports[3] = {PORT_A, PORT_B, PORT_C};
    struct sockaddr_in to = localhost(ports[i]);
    static struct chunk c;
    c.job = job;
    c.total = count;
    strcpy(c.name, names[function]);
    for (c.first = 0; c.first < count; c.first += c.count) {
        c.count = count - c.first < CHUNK ? count - c.first : CHUNK;
        memcpy(c.numbers, numbers + c.first, c.count * sizeof *numbers);
        size_t bytes = offsetof(struct chunk, numbers) + c.count * sizeof *numbers;
        do {
            sendto(udp, &c, bytes, 0, (struct sockaddr *)&to, sizeof to);
            while (have[i] < c.first + c.count && hear(udp))
                ;
        } while (have[i] < c.first + c.count);
    }
}

/* Table 2. */
static wide reduce(int function)
{
    wide total = x[0];
    for (int i = 1; i < 3; i++)
        switch (function) {
        case MIN: total = x[i] < total ? x[i] : total; break;
        case MAX: total = x[i] > total ? x[i] : total; break;
        default: total = (unsigned __int128)total + x[i]; break;
        }
    return total;
}

/* One client, from its first byte to its answer. Whatever it does wrong only ends its own job. */
static void serve(int udp, int client)
{
    char name[4];
    int64_t count;
    static int64_t numbers[MOST];
    if (!recv_all(client, name, sizeof name) || !recv_all(client, &count, sizeof count))
        return;
    name[3] = 0;
    int function = lookup(name);
    if (function < 0 || count < 3 || count > MOST || count % 3 != 0)
        return;
    if (!recv_all(client, numbers, count * sizeof *numbers))
        return;
    say("The AWS has received %ld numbers from the client using TCP over port %d", (long)count, AWS_TCP);

    struct timeval now;
    gettimeofday(&now, NULL);
    job = now.tv_sec * 1000000LL + now.tv_usec;
    memset(have, 0, sizeof have);
    memset(done, 0, sizeof done);
    long third = count / 3;
    for (int i = 0; i < 3; i++) {
        share(udp, i, function, numbers + i * third, third);
        say("The AWS sent %ld numbers to Backend-Server %c", third, 'A' + i);
    }
    while (!done[0] || !done[1] || !done[2])
        hear(udp);
    for (int i = 0; i < 3; i++)
        say("The AWS received reduction result of %s from Backend-Server %c using UDP over port %d and it is %s",
            names[function], 'A' + i, AWS_UDP, decimal(x[i]));

    wide total = reduce(function);
    say("The AWS has successfully finished the reduction %s: %s", names[function], decimal(total));
    if (send_all(client, &total, sizeof total))
        say("The AWS has successfully finished sending the reduction value to client.");
}

int main(void)
{
    struct timeval second = {.tv_sec = 1};
    int udp = bound(SOCK_DGRAM, AWS_UDP);
    setsockopt(udp, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof second);
    int tcp = bound(SOCK_STREAM, AWS_TCP);
    listen(tcp, 8);
    say("The AWS is up and running.");
    for (;;) {
        int client = accept(tcp, NULL, NULL);
        serve(udp, client);
        close(client);
    }
}
