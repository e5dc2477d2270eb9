/* The client: sends nums.csv to AWS and prints the answer. */
#include "common.h"

static int64_t numbers[MOST];

/* Reads nums.csv, one number a line. What is wrong with the file ends the program before AWS hears of it. */
static int64_t read_numbers(void)
{
    char line[64], *end;
    int64_t count = 0;
    FILE *file = fopen("nums.csv", "r");
    if (file == NULL)
        die("nums.csv");
    while (count < MOST && fgets(line, sizeof line, file) != NULL) {
        errno = 0;
        numbers[count++] = strtol(line, &end, 10);
        if (errno != 0 || end == line || end[strspn(end, " \t\r\n")] != 0) {
            fprintf(stderr, "nums.csv, line %ld is not a 64-bit number\n", (long)count);
            exit(1);
        }
    }
    fclose(file);
    if (count == 0 || count % 3 != 0) {
        fprintf(stderr, "nums.csv has %ld numbers: that is not a multiple of 3\n", (long)count);
        exit(1);
    }
    return count;
}

int main(int argc, char **argv)
{
    int function = argc == 2 ? lookup(argv[1]) : -1;
    if (function < 0) {
        fprintf(stderr, "usage: ./client min|max|sum|sos\n");
        return 1;
    }
    say("The client is up and running.");
    int64_t count = read_numbers();

    struct sockaddr_in address = localhost(AWS_TCP);
    int aws = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(aws, (struct sockaddr *)&address, sizeof address) < 0)
        die("AWS");
    if (!send_all(aws, names[function], sizeof names[function]))
        die("AWS");
    say("The client has sent the reduction type %s to AWS.", names[function]);
    if (!send_all(aws, &count, sizeof count) || !send_all(aws, numbers, count * sizeof *numbers))
        die("AWS");
    say("The client has sent %ld numbers to AWS", (long)count);

    wide total;
    if (!recv_all(aws, &total, sizeof total)) {
        fprintf(stderr, "AWS: no answer\n");
        return 1;
    }
    say("The client has received reduction %s: %s", names[function], decimal(total));
    close(aws);
    return 0;
}
