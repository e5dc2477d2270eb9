/* Backend-Server B. */
#include "backend.h"

int main(void)
{
    int udp = boot('B', PORT_B);
    backend(udp, 'B');
}
