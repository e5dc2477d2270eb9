/* Backend-Server A. */
#include "backend.h"

int main(void)
{
    int udp = boot('A', PORT_A);
    backend(udp, 'A');
}
