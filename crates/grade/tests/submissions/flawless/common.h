/* What all five programs share. Everything is in headers, so that each program compiles from its one
 * source by the assignment's own command line: gcc -o aws aws.c */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

/* Table 3, for an ID that ends in 319. */
#define PORT_A 21319
#define PORT_B 22319
#define PORT_C 23319
#define AWS_UDP 24319
#define AWS_TCP 25319

#define CHUNK 1000         /* numbers in one datagram */
#define MOST 3000000       /* numbers in one job */

enum { MIN, MAX, SUM, SOS, FUNCTIONS };
static const char names[FUNCTIONS][4] = {"MIN", "MAX", "SUM", "SOS"};

/* Sums and sums of squares of 64-bit numbers need more than 64 bits. */
typedef __int128 wide;

/* From AWS to a backend: part of its third, with the function's name. */
struct chunk {
    int64_t job;           /* differs from job to job */
    int64_t total;         /* numbers in this backend's third */
    int64_t first;         /* how many of them came before these */
    int64_t count;         /* how many these are */
    char name[8];
    int64_t numbers[CHUNK];
};

/* From a backend to AWS, after each chunk, and once more with the result. */
struct reply {
    int64_t job;
    int64_t have;          /* numbers that have arrived so far: an acknowledgement */
    int64_t done;          /* 1 if x is the result */
    wide x;
};

/* Prints one line. The flush matters where stdout is not a terminal. */
__attribute__((format(printf, 1, 2))) static inline void say(const char *format, ...)
{
    va_list values;
    va_start(values, format);
    vprintf(format, values);
    va_end(values);
    putchar('\n');
    fflush(stdout);
}

static inline void die(const char *what)
{
    perror(what);
    exit(1);
}

/* The function of that name, in either case, or -1. */
static inline int lookup(const char *name)
{
    for (int f = 0; f < FUNCTIONS; f++)
        if (strcasecmp(name, names[f]) == 0)
            return f;
    return -1;
}

/* printf has no format for 128 bits. The text is good until the next call. */
static inline const char *decimal(wide x)
{
    static char text[48];
    char *at = text + sizeof text - 1;
    unsigned __int128 rest = x < 0 ? -(unsigned __int128)x : (unsigned __int128)x;
    do
        *--at = '0' + (int)(rest % 10);
    while (rest /= 10);
    if (x < 0)
        *--at = '-';
    return at;
}

static inline struct sockaddr_in localhost(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct hostent *host = gethostbyname("localhost");
    if (host == NULL)
        die("localhost");
    memcpy(&address.sin_addr, host->h_addr_list[0], sizeof address.sin_addr);
    return address;
}

/* A socket that is bound to a static port. */
static inline int bound(int type, int port)
{
    struct sockaddr_in address = localhost(port);
    int yes = 1, s = socket(AF_INET, type, 0);
    /* Without this a TCP port cannot be had again for a minute after a job. */
    if (type == SOCK_STREAM)
        setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(s, (struct sockaddr *)&address, sizeof address) < 0)
        die("bind");
    return s;
}

/* TCP is a stream: one send or recv may move less than was asked for. Both return 1 if all was moved. */
static inline int send_all(int s, const void *from, size_t bytes)
{
    for (ssize_t n; bytes > 0; bytes -= n, from = (const char *)from + n)
        if ((n = send(s, from, bytes, MSG_NOSIGNAL)) <= 0)
            return 0;
    return 1;
}

static inline int recv_all(int s, void *into, size_t bytes)
{
    for (ssize_t n; bytes > 0; bytes -= n, into = (char *)into + n)
        if ((n = recv(s, into, bytes, 0)) <= 0)
            return 0;
    return 1;
}
