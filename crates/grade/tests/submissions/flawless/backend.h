/* What the three backends share: they differ in letter and port only. */
#include "common.h"

static inline int boot(char letter, int port)
{
    int udp = bound(SOCK_DGRAM, port);
    say("The Server %c is up and running using UDP on port %d.", letter, port);
    return udp;
}

/* Table 1. */
static inline wide map(int function, const int64_t *n, long count)
{
    wide x = function == MIN || function == MAX ? n[0] : 0;
    for (long i = 0; i < count; i++) {
        switch (function) {
        case MIN: x = n[i] < x ? n[i] : x; break;
        case MAX: x = n[i] > x ? n[i] : x; break;
        case SUM: x += n[i]; break;
        /* Unsigned, since 128 bits are too few for many squares near 2^126. */
        case SOS: x = (unsigned __int128)x + (wide)n[i] * n[i]; break;
        }
    }
    return x;
}

/* Job after job, for ever. */
static inline void backend(int udp, char letter)
{
    static struct chunk c;
    static int64_t numbers[MOST / 3];
    const ssize_t head = offsetof(struct chunk, numbers);
    struct reply reply = {0};
    for (;;) {
        struct sockaddr_in from;
        socklen_t length = sizeof from;
        ssize_t bytes = recvfrom(udp, &c, sizeof c, 0, (struct sockaddr *)&from, &length);
        int function = lookup(c.name);
        if (bytes < head || bytes != head + c.count * 8 || function < 0)
            continue;

        if (c.job != reply.job)
            reply = (struct reply){.job = c.job};
        /* A chunk whose acknowledgement was late comes twice: it is acknowledged again, not kept again. */
        if (c.first == reply.have) {
            memcpy(numbers + c.first, c.numbers, c.count * sizeof *numbers);
            reply.have += c.count;
        }
        if (reply.have == c.total && !reply.done)
            say("The Server %c has received %ld numbers", letter, (long)c.total);
        struct reply acknowledgement = {.job = reply.job, .have = reply.have};
        sendto(udp, &acknowledgement, sizeof acknowledgement, 0, (struct sockaddr *)&from, length);
        if (reply.have < c.total || reply.done)
            continue;

        reply.x = map(function, numbers, c.total);
        reply.done = 1;
        say("The Server %c has successfully finished the reduction %s: %s", letter, names[function],
            decimal(reply.x));
        sendto(udp, &reply, sizeof reply, 0, (struct sockaddr *)&from, length);
        say("The Server %c has successfully finished sending the reduction value to AWS server.", letter);
    }
}
